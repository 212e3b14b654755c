/** The model of a GPU's time: its terms one by one, and that what it chooses is sensible. */

import { expect } from 'chai';
import { GPUS, gpuOf } from '../../codegen/gpu.js';
import { seconds, terms, type Work } from '../../codegen/gpu_work.js';
import { LAYERS } from '../../codegen/presets.js';
import { LAYOUTS } from '../../codegen/problem.js';
import { parseProblem } from '../../codegen/problem_text.js';
import { candidates, choose, workOf } from '../../codegen/spec.js';
import { CUDA_ARCHITECTURES, DTYPES, type Target } from '../../codegen/target.js';

const A100 = GPUS.A100;
const TARGETS = CUDA_ARCHITECTURES.map((arch): Target => ({ kind: 'cuda', arch }));

/** As many blocks as there is room for, of which each keeps its multiprocessor busy for a thousand cycles. */
const work = (part: Partial<Work>): Work => ({
  blocks: A100.multiprocessors,
  threads: 256,
  resident: 1,
  instructions: 0,
  fma: 0,
  mma: null,
  sharedBytes: 0,
  l2Bytes: 0,
  dramBytes: 0,
  ...part,
});
const cycles = (...works: Work[]) => Math.round((seconds(works, A100) - works.length * A100.launch) * A100.clock);

describe('model', () => {
  it('takes the time of what a multiprocessor is busy with', () => {
    expect(cycles(work({ instructions: 4000 }))).equal(1000);
    expect(cycles(work({ fma: 64_000 }))).equal(1000);
    expect(cycles(work({ fma64: 32_000 }))).equal(1000);
    expect(cycles(work({ mma: { type: 'f16', multiplyAdds: 1024_000 } }))).equal(1000);
    expect(cycles(work({ mma: { type: 'tf32', multiplyAdds: 512_000 } }))).equal(1000);
    expect(cycles(work({ sharedBytes: 128_000 }))).equal(1000);
    expect(cycles(work({ fma: 64_000, sharedBytes: 128_000 }))).equal(1100);
  });

  it('takes the time of memory, of waves, of launches', () => {
    expect(seconds([work({ dramBytes: 2.04e9 })], A100)).closeTo(1e-3 + A100.launch, 1e-6);
    expect(cycles(work({ l2Bytes: 64_000, blocks: 1 }))).equal(1000);
    expect(terms(work({ l2Bytes: 512_000 }), A100).l2).closeTo((512_000 * 108) / 5120 / 1.41e9, 1e-9);
    const busy = { instructions: 4000 };
    expect(cycles(work({ ...busy, blocks: 1 }))).equal(1000);
    expect(cycles(work({ ...busy, blocks: 109 }))).equal(2000);
    expect(cycles(work({ ...busy, blocks: 216, resident: 2 }))).equal(2000);
    expect(cycles(work(busy), work(busy))).equal(2000);
  });

  it('hides waiting behind other blocks', () => {
    const waiting = { instructions: 4000, latency: 500 };
    expect(cycles(work(waiting))).equal(1000);
    expect(cycles(work({ ...waiting, latency: 5000 }))).equal(5500);
    expect(cycles(work({ ...waiting, latency: 5000, threads: 32 }))).equal(9000);
    expect(cycles(work({ ...waiting, latency: 5000, blocks: 864, resident: 8 }))).equal(8000);
  });

  it('counts the work of every kernel of this package for CUDA', () => {
    for (const [name, layer] of Object.entries(LAYERS)) {
      for (const pass of ['fwd', 'dgrad', 'wgrad', 'bgrad']) {
        const problem = parseProblem(`${layer} pass=${pass} layout=nhwc`);
        for (const { spec } of candidates(problem, { kind: 'cuda', arch: 90 })) {
          if (spec === null) continue;
          const counted = workOf(spec, problem)!;
          for (const each of counted) {
            const { mma, latency: _, join, ...figures } = each;
            for (const [what, figure] of Object.entries({
              ...figures,
              ...join,
              multiplyAdds: mma?.multiplyAdds ?? 0,
            })) {
              expect(figure, `${name} ${pass} ${spec.variant} ${what}`).least(0).below(1e15);
            }
            expect(Math.min(each.blocks, each.threads / 32, each.resident)).least(1);
          }
        }
      }
    }
  });

  it('knows a GPU for every target', () => {
    for (const target of TARGETS) expect(gpuOf(target).name).a('string');
    expect(gpuOf({ kind: 'ptx' }).name).equal(GPUS.H100.name);
  });

  it('never takes the fallback for a layer of a known network', () => {
    const wins: string[] = [];
    for (const [name, layer] of Object.entries(LAYERS))
      for (const layout of LAYOUTS)
        for (const dtype of DTYPES)
          for (const pass of ['fwd', 'dgrad', 'wgrad'])
            for (const target of TARGETS) {
              const text = `${layer} dtype=${dtype} layout=${layout} pass=${pass}`;
              if (choose(parseProblem(text), target).variant === 'gather') wins.push(`${name} ${text}`);
            }
    expect(wins).deep.equal([]);
  });
});
