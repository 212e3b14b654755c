/** Choosing among the catalogue, and names that stand for exactly one spec. */

import { expect } from 'chai';
import fc from 'fast-check';
import { FracstrideError } from '../../codegen/errors.js';
import { ACTIVATIONS, makeProblem, type Problem } from '../../codegen/problem.js';
import { formatProblem, parseProblem } from '../../codegen/problem_text.js';
import { candidates, choose, kernelName, launchGeometry, parseKernelName, specArguments } from '../../codegen/spec.js';
import { CPU_ISAS, CUDA_ARCHITECTURES, DTYPES, type Target } from '../../codegen/target.js';

const LAYER = 'convT2d n=16 c=256 k=128 h=8 w=8 r=4 stride=2 padding=1';

const up = (max: number, min = 1) => fc.integer({ min, max });
const pair = (max: number, min = 1) => fc.tuple(up(max, min), up(max, min));

const targets: fc.Arbitrary<Target> = fc.oneof(
  fc.constantFrom(...CUDA_ARCHITECTURES).map((arch): Target => ({ kind: 'cuda', arch })),
  fc.constant<Target>({ kind: 'ptx' }),
  fc.constantFrom(...CPU_ISAS).map((isa): Target => ({ kind: 'cpu', isa })),
);

const problems: fc.Arbitrary<Problem> = fc
  .record({
    op: fc.constantFrom('convT2d' as const, 'conv2d' as const),
    pass: fc.constantFrom('fwd' as const, 'dgrad' as const, 'wgrad' as const, 'bgrad' as const),
    dtype: fc.constantFrom(...DTYPES),
    layout: fc.constantFrom('nchw' as const, 'nhwc' as const),
    sizes: fc.tuple(up(40, 0), up(70), up(70), up(70), up(70), up(70), up(70)),
    kernel: pair(40),
    stride: pair(80),
    padding: pair(9, 0),
    dilation: pair(5),
    groups: up(5),
    bias: fc.boolean(),
    activation: fc.constantFrom(...ACTIVATIONS),
  })
  .map(({ op, pass, dtype, layout, sizes, kernel, stride, padding, dilation, groups, bias, activation }) => {
    const [n, cs, hs, ws, cl, hl, wl] = sizes;
    const [r, s] = kernel;
    const geometry = { n, cs: cs * groups, hs, ws, cl: cl * groups, hl, wl, r, s, stride, padding, dilation, groups };
    const forward = pass === 'fwd';
    const epilogue = { bias: forward && bias, activation: forward ? activation : 'none' } as const;
    return makeProblem({ op, pass, dtype, layout, geometry, ...epilogue });
  });

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof FracstrideError && error.code === 'ERR_ARGUMENT') return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('spec', () => {
  it('is chosen for every problem, and its name parses back to it', () => {
    fc.assert(
      fc.property(problems, targets, (problem, target) => {
        for (const { spec, cost, reason } of candidates(problem, target)) {
          expect(spec === null)
            .equal(cost === null)
            .equal(reason !== null);
          if (spec !== null) expect(parseKernelName(kernelName(spec))).deep.equal(spec);
          if (cost !== null) expect(cost).least(0).below(Infinity);
        }
        const chosen = choose(problem, target);
        const cheapest = Math.min(...candidates(problem, target).map((row) => row.cost ?? Infinity));
        const row = candidates(problem, target).find(({ spec }) => spec && kernelName(spec) === kernelName(chosen));
        expect(row?.cost).equal(cheapest);
      }),
      { seed: 2, numRuns: 300 },
    );
  });

  it('launches within the limits of a GPU', () => {
    fc.assert(
      fc.property(problems, (problem) => {
        for (const { spec } of candidates(problem, { kind: 'ptx' })) {
          if (spec === null) continue;
          const { grid, block, sharedBytes } = launchGeometry(spec, problem);
          expect(grid[0]).within(1, 2 ** 31 - 1);
          expect(grid[1]).within(1, 65535);
          expect(block[0] * block[1] * block[2]).within(1, 1024);
          expect(block[0] % 32).equal(0);
          expect(sharedBytes).equal(0);
        }
      }),
      { seed: 3, numRuns: 300 },
    );
  });

  it('has the names of the grammar', () => {
    const name = (text: string, target: Target) => kernelName(choose(parseProblem(text), target));
    expect(name(LAYER, { kind: 'cuda', arch: 90 })).match(/^ct2d_fwd_f32_nchw_k4s2p1__phase_t\dx\d_b\d+x\d+__sm90$/);
    const pairs = 'convT2d n=8 c=64 k=64 h=32 w=32 r=3x5 stride=2x1 padding=4x2 dilation=3x1 groups=2 bias=true';
    expect(name(`${pairs} activation=leaky_relu dtype=bfloat16 layout=nhwc`, { kind: 'ptx' })).match(
      /^ct2d_fwd_bf16_nhwc_k3x5s2x1p4x2d3x1g2_bias_leaky_relu__phase_[a-z0-9_]+__ptx$/,
    );
    const far = 'convT2d n=1 c=1 k=1 h=2 w=2 r=40';
    expect(name(`${far} pass=dgrad dtype=float16`, { kind: 'cuda', arch: 75 })).equal(
      'ct2d_dgrad_f16_nchw__gather__sm75',
    );
    expect(name(`${LAYER} pass=bgrad`, { kind: 'ptx' })).equal('ct2d_bgrad_f32_nchw__gather__ptx');
    expect(name(LAYER, { kind: 'cpu', isa: 'avx512' })).equal('ct2d_fwd_f32_nchw__igemm_px_t14x32__avx512');
  });

  it('tells why a candidate is refused', () => {
    const reasons = (text: string) => [
      ...new Set(candidates(parseProblem(text), { kind: 'ptx' }).flatMap(({ reason }) => reason ?? [])),
    ];
    expect(reasons(LAYER)).deep.equal([]);
    expect(reasons('convT2d n=1 c=1 k=1 h=2 w=2 r=33')).deep.equal(['it takes kernels of at most 32 by 32 taps']);
    expect(reasons('convT2d n=1 c=1 k=1 h=2 w=2 r=3 stride=65')).deep.equal(['it takes strides of at most 64']);
    expect(reasons('convT2d n=1 c=1 k=1 h=40000 w=40000 r=4 stride=2 padding=1')).deep.equal([
      'it indexes with 32 bits, and a tensor or what its taps reach has 2^31 elements or more',
    ]);
    expect(reasons('convT2d n=1 c=70000 k=70000 h=2 w=2 r=2 groups=70000')).deep.equal([
      'its grid has at most 65535 tiles of channels, and these are more',
    ]);
  });

  it('refuses names that are not of the catalogue', () => {
    const good = 'ct2d_fwd_f32_nchw_k4s2p1__phase_t4x8_b32x4__sm90';
    expect(kernelName(parseKernelName(good))).equal(good);
    const bad = [
      '',
      'ct2d',
      good.replace('fwd', 'bwd'),
      good.replace('f32', 'f8'),
      good.replace('nchw', 'chwn'),
      good.replace('k4s2p1', 'k4x4s2p1'),
      good.replace('k4s2p1', 'k04s2p1'),
      good.replace('k4s2p1', 'k4s0p1'),
      good.replace('k4s2p1', 'k4s2p1d1'),
      good.replace('_k4s2p1', ''),
      good.replace('t4x8', 't5x8'),
      good.replace('phase', 'stage'),
      good.replace('sm90', 'sm91'),
      good.replace('sm90', 'avx2'),
      `${good}__sm90`,
      ` ${good}`,
      `${good}\n`,
      good.replace('p1_', 'p1_none_'),
      'ct2d_wgrad_f32_nchw_k4s2p1_bias__phase_t4x2_b32x4__sm90',
      'ct2d_fwd_f32_nchw_bias__gather__sm90',
      'ct2d_fwd_f32_nchw_k4s2p1__gather__sm90',
      'ct2d_bgrad_f32_nchw_k4s2p1__phase_t4x8_b32x4__sm90',
      'ct2d_fwd_f32_nchw_k99999999999s2p1__phase_t4x8_b32x4__sm90',
    ];
    for (const name of bad)
      expect(
        refusal(() => parseKernelName(name)),
        name,
      ).match(/^kernel name: the name must be /);
  });

  it('takes the shape as arguments exactly where its text does not hold it', () => {
    const names = (name: string) => specArguments(parseKernelName(name)).map((arg) => arg.name);
    expect(names('ct2d_fwd_f32_nchw__gather__ptx')).include.members(['r', 'sh', 'groups', 'activation', 'slope']);
    const baked = names('ct2d_fwd_f32_nchw_k4s2p1__phase_t4x8_b32x4__ptx');
    expect(baked).include.members(['small', 'weight', 'bias', 'large', 'n', 'slope']);
    expect(baked).not.include.members(['r']).and.not.include.members(['activation']);
  });

  it('does not share what it froze', () => {
    const spec = choose(parseProblem(LAYER), { kind: 'ptx' });
    expect([spec, spec.tunables, spec.baked, spec.target].every(Object.isFrozen)).equal(true);
  });
});

describe('problem text', () => {
  it('reads back what it writes', () => {
    for (const text of [
      LAYER,
      'conv2d n=1 c=4 k=8 h=9 w=7 r=3x5 stride=2x1 padding=4x2 groups=2 dtype=float16 pass=wgrad',
    ])
      expect(formatProblem(parseProblem(text))).equal(text);
  });

  it('reads JSON', () => {
    const json = '{"op":"convT2d","n":16,"c":256,"k":128,"h":8,"w":8,"r":4,"stride":[2,2],"padding":1}';
    expect(parseProblem(json)).deep.equal(parseProblem(LAYER));
  });

  it('names the field that it refuses', () => {
    const bad: [string, RegExp][] = [
      ['convT3d n=1 c=1 k=1 h=1 w=1 r=1', /op must be one of convT2d, conv2d, got "convT3d"/],
      ['convT2d n=1 c=1 k=1 h=1 w=1', /r must be given/],
      ['convT2d n=1 c=1 k=1 h=1 w=1 r=1 r=2', /each field must be given once, got "r"/],
      ['convT2d n=1 c=1 k=1 h=1 w=1 r=1 stride=0', /stride must be an integer from 1/],
      ['convT2d n=1 c=1 k=1 h=1 w=1 r=1 stride=2x2x2', /stride must be one integer or two/],
      ['convT2d n=1 c=1 k=1 h=1 w=1 r=1;rm', /r must be an integer/],
      ['convT2d n=1 c=1 k=1 h=1 w=1 r=1 colour=red', /the field must be one of .*, got "colour"/],
      ['{"op":"convT2d"', /JSON must be one object/],
      ['convT2d n=1 c=3 k=4 h=1 w=1 r=1 groups=2', /channels must be divisible by 2 groups/],
    ];
    for (const [text, sentence] of bad)
      expect(
        refusal(() => parseProblem(text)),
        text,
      ).match(sentence);
  });
});
