/** `fracstride bench`: rows that can be kept, filters, and what it refuses. Times on a shared machine mean nothing here. */

import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { bytes, flops, usefulFlops } from '../../codegen/passes.js';
import { formatProblem, parseProblem } from '../../codegen/problem_text.js';
import { BENCH_LAYERS } from '../../src/bench/layers.js';
import { CUDNN_SIMULATOR, describeCuda, simulatedEnvironment, simulatorOnly } from '../support/simulated.js';
import { fracstride } from './children.js';

const ABSENT = { FRACSTRIDE_LIBCUDA: '/absent/libcuda.so.1' };

type Row = Readonly<Record<string, unknown>>;

function expectRow(row: Row): void {
  expect(row).to.include.all.keys('bench', 'layer', 'problem', 'pass', 'dtype', 'layout', 'device', 'device_name');
  expect(row).to.include.all.keys('kernel', 'variant', 'us_median', 'us_min', 'us_p90', 'tflops', 'gbs', 'cudnn_ratio');
  expect(row).to.include.all.keys('rounds', 'launches', 'copies', 'date', 'version', 'cpu', 'threads', 'node', 'load');
  const [median, min] = [row.us_median as number, row.us_min as number];
  expect(min).to.be.above(0).and.at.most(median);
  const work = flops(parseProblem(row.problem as string));
  expect(row.tflops as number).to.be.closeTo(work / median / 1e6, (0.01 * work) / median / 1e6);
}

function expectRoofline(row: Row): void {
  const number = (name: string): number => row[name] as number;
  expect(row).to.include.all.keys('threads', 'isa', 'triad_gbs', 'bound');
  const problem = parseProblem(row.problem as string);
  const gflops = flops(problem) / number('us_min') / 1e3;
  expect(number('gflops')).to.be.closeTo(gflops, 0.01 * gflops);
  expect(number('peak_share')).to.be.closeTo(gflops / number('peak_gflops'), 0.01 * number('peak_share'));
  const arithmetic = usefulFlops(problem) / number('peak_gflops') / 1e3;
  const memory = bytes(problem) / number('triad_streaming_gbs') / 1e3;
  expect(number('roof_us')).to.be.closeTo(Math.max(arithmetic, memory), 0.01 * number('roof_us'));
  expect(number('roof_share')).to.be.closeTo(number('roof_us') / number('us_min'), 0.01 * number('roof_share'));
}

describe('fracstride bench', function () {
  this.timeout(600_000);
  let root: string;
  beforeEach(() => {
    root = fs.mkdtempSync(join(tmpdir(), 'fracstride-bench-'));
  });
  afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

  it('has 32 layers, each a problem', () => {
    const problems = Object.values(BENCH_LAYERS);
    expect(problems).to.have.length(32);
    for (const text of problems) expect(formatProblem(parseProblem(text))).to.equal(text);
  });

  it('measures a layer on the CPU, and keeps the rows', async () => {
    const file = join(root, 'made/rows.jsonl');
    const words = ['bench', '--device', 'cpu', '--layer', 'dcgan_n16_l1', '--rounds', '2', '--json', '--store', file];
    const { code, out, err } = await fracstride(words, { env: ABSENT });
    expect(code, err).to.equal(0);
    const rows = JSON.parse(out) as Row[];
    expect(rows.map(({ pass }) => pass)).to.deep.equal(['fwd', 'dgrad', 'wgrad', 'bgrad']);
    for (const row of rows) {
      expectRow(row);
      expect(row).to.include({
        bench: 'layers',
        device: 'cpu',
        chosen: true,
        cudnn_ratio: null,
        rounds: 2,
      });
      expectRoofline(row);
      expect(row.kernel).to.match(new RegExp(`^ct2d_\\w+_f32_nchw__${row.variant as string}_`));
    }
    const kept = fs.readFileSync(file, 'utf8').trimEnd().split('\n');
    expect(kept.map((line) => JSON.parse(line) as Row)).to.deep.equal(rows);
    expect(err).to.match(/^dcgan_n16_l1_\S+ fwd: \w+ [\d.]+ µs$/m);
  });

  const linux = process.platform === 'linux' ? it : () => {};
  linux('fails where rows can be kept nowhere, and does not wait', async () => {
    const words = ['bench', '--device', 'cpu', '--layer', 'dcgan_n16_l1', '--pass', 'fwd', '--rounds', '1'];
    const { code, err } = await fracstride([...words, '--store', '/proc/none/rows.jsonl'], { env: ABSENT });
    expect(code).to.equal(1);
    expect(err).to.match(/^fracstride: ENOENT: .* '\/proc\/none'$/m);
  });

  it('measures with each number of threads that is asked for', async () => {
    const words = ['bench', '--device', 'cpu', '--layer', 'dcgan_n16_l1', '--pass', 'fwd', '--threads', '1,2'];
    const { code, out, err } = await fracstride([...words, '--rounds', '1'], { env: ABSENT });
    expect(code, err).to.equal(0);
    expect([...out.matchAll(/^dcgan\S+ +fwd +\w+ +(\d) /gm)].map(([, threads]) => threads)).to.deep.equal(['1', '2']);
    expect(out).to.match(/^2 threads: peak [\d.]+ GFLOP\/s, memory [\d.]+ GB\/s, streaming [\d.]+$/m);
  });

  it('takes a type, a layout and a pass, and prints a table', async () => {
    const words = ['bench', '--device', 'cpu', '--layer', 'l1_100', '--rounds', '1', '--pass', 'fwd'];
    const { code, out } = await fracstride([...words, '--dtype', 'bfloat16', '--layout', 'nhwc'], { env: ABSENT });
    expect(code).to.equal(0);
    expect(out).to.match(/^layer +pass +kernel +threads +µs +median/m);
    expect(out.match(/^dcgan_n(16|64)_l1\S+ +fwd +\w+ +[\d.]+ .*$/gm)).to.have.length(2);
  });

  it('refuses what it does not understand with 2, and a device that is not there with 4', async () => {
    for (const words of [
      ['--layer', '('],
      ['--layer', 'nothing_of_this_name'],
      ['--rounds', '0'],
      ['--pass', 'backward'],
      ['--threads', '0'],
      ['--threads', '1,'],
      ['--dtype', 'int8'],
      ['--device', 'tpu'],
    ]) {
      const { code, err, out } = await fracstride(['bench', ...words], { env: ABSENT });
      expect(code, words.join(' ')).to.equal(2);
      expect(err.trim().split('\n'), err).to.have.length(1);
      expect(out).to.equal('');
    }
    expect((await fracstride(['bench', '--device', 'cuda'], { env: ABSENT })).code).to.equal(4);
    const help = await fracstride(['bench', '--help']);
    expect(help.code).to.equal(0);
    expect(help.out).to.match(/--store/);
  });

  describeCuda('on a CUDA device', () => {
    simulatorOnly('measures the chosen kernel beside cuDNN, and every variant on request', async () => {
      const env = simulatedEnvironment({ env: { FRACSTRIDE_LIBCUDNN: CUDNN_SIMULATOR } });
      const words = [
        'bench',
        '--device',
        'cuda',
        '--layer',
        'dcgan_n16_l1',
        '--pass',
        'dgrad',
        '--rounds',
        '1',
        '--json',
      ];
      const chosen = await fracstride(words, { env });
      expect(chosen.code, chosen.err).to.equal(0);
      const rows = JSON.parse(chosen.out) as Row[];
      for (const row of rows) expectRow(row);
      expect(rows.map(({ library }) => library).sort()).to.deep.equal([false, true]);
      const [library, own] = [rows.find((row) => row.library)!, rows.find((row) => !row.library)!];
      expect(library).to.include({ variant: 'cudnn', chosen: false, cudnn_ratio: 1 });
      expect(library.kernel).to.match(/^ct2d_dgrad_f32_nchw__cudnn_/);
      const ratio = (library.us_median as number) / (own.us_median as number);
      expect(own.cudnn_ratio as number).to.be.closeTo(ratio, 0.01 * ratio);
      const all = await fracstride([...words, '--variants', 'all'], { env });
      const variants = (JSON.parse(all.out) as Row[]).map(({ variant }) => variant);
      expect(variants.sort()).to.deep.equal(['cudnn', 'gather', 'igemm', 'joined', 'phase', 'splitk']);
    });
  });
});
