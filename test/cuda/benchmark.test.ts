/** `backends.cudnn.benchmark`: the fastest way is found by trying, once, and kept on disk for everybody. */

import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseKernelName } from '../../codegen/spec.js';
import { openStore } from '../../codegen/store.js';
import { addTiming, readTiming, type Timing } from '../../src/timings.js';
import type { CudnnSummary } from '../support/cudnn_cli.js';
import { CUDNN_SIMULATOR, simulatedReport, simulatorOnly } from '../support/simulated.js';

describe('benchmark', function () {
  this.timeout(300_000);
  let folder = '';
  const file = (): string => join(folder, 'timings.jsonl');

  const child = (scenario: string, env: Readonly<Record<string, string>> = {}): Promise<CudnnSummary> =>
    simulatedReport<CudnnSummary>({
      program: 'cudnn_cli',
      args: [scenario, 'free'],
      env: { FRACSTRIDE_LIBCUDNN: CUDNN_SIMULATOR, FRACSTRIDE_CACHE_DIR: folder, ...env },
    });

  const lines = (): Timing[] =>
    fs
      .readFileSync(file(), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Timing);

  const waysOf = ({ kernels }: CudnnSummary): string[] => kernels.map((name) => name.split('__')[1]!);

  beforeEach(() => {
    folder = fs.mkdtempSync(join(tmpdir(), 'fracstride-benchmark-'));
  });
  afterEach(() => {
    fs.rmSync(folder, { recursive: true, force: true });
  });

  simulatorOnly('times our kernels and cuDNN together, and the next process takes the winner', async () => {
    const first = await child('benchmark');
    expect(first.notes.finds, 'measurements of cuDNN').to.equal(2);
    expect(first.liveAfter).to.equal(first.liveBefore);
    const timings = lines();
    expect(timings.length).to.be.at.least(2);
    for (const { question, words, microseconds } of timings) {
      expect(question).to.match(
        / 90 driver \d+ \| cudnn 91002 tf32 1 deterministic 0 \| convT2d (fwd|wgrad) float32 nchw /,
      );
      const variants = new Set(Object.keys(microseconds).map((each) => each.split('_')[0]));
      const own = question.includes('convT2d fwd')
        ? ['gather', 'head', 'igemm', 'joined', 'merged', 'phase', 'splitk']
        : ['gather', 'igemm', 'joined', 'pairwise', 'phase'];
      expect([...variants].sort()).to.deep.equal(['cudnn', ...own]);
      const [best] = Object.entries(microseconds).sort((a, b) => a[1] - b[1]);
      expect(words).to.equal(best![0]);
    }
    const second = await child('benchmark');
    expect(second.notes.finds, 'measurements of the second process').to.equal(0);
    expect(second.kernels).to.deep.equal(first.kernels);
    expect(fs.statSync(file()).mode & 0o077).to.equal(0);
  });

  simulatorOnly('does as it is told by what was kept', async () => {
    await child('benchmark');
    const changed = lines().map((timing) => ({ ...timing, words: 'gather' }));
    fs.writeFileSync(file(), changed.map((timing) => `${JSON.stringify(timing)}\n`).join(''), { mode: 0o600 });
    const found = await child('benchmark');
    expect(waysOf(found)).to.deep.equal(['gather', 'gather', 'gather']);
    expect(found.notes.finds).to.equal(0);
  });

  simulatorOnly('times deterministic algorithms only under the contract, and processes agree', async () => {
    const found = await Promise.all([1, 2].map(() => child('benchmark under the contract')));
    expect(found[0]!.kernels).to.deep.equal(found[1]!.kernels);
    expect(found[0]!.notes.sum).to.equal(found[1]!.notes.sum);
    for (const { notes } of found) expect(notes.up, 'results of 3 runs').to.equal(1);
    const [timing] = lines();
    expect(timing!.question).to.include('deterministic 1');
    expect(Object.keys(timing!.microseconds)).not.to.include('cudnn_algo0');
  });

  simulatorOnly('builds on no time under the contract that cannot be kept', async () => {
    fs.chmodSync(folder, 0o700);
    fs.mkdirSync(file());
    const found = await child('benchmark under the contract');
    const settled = await child('settings');
    // The cost model's choice, as without benchmark.
    expect(waysOf(found)[0]).to.equal(waysOf(settled)[2]);
    expect(found.notes.up).to.equal(1);
  });

  simulatorOnly('is not done while a graph is recorded, where what was kept counts', async () => {
    const before = await child('benchmark in a graph');
    expect(before.notes.finds).to.equal(0);
    expect(fs.existsSync(file())).to.equal(false);
    const timed = await child('benchmark');
    const after = await child('benchmark in a graph');
    expect(after.notes.finds).to.equal(0);
    expect(after.kernels[0]).to.equal(timed.kernels[0]);
    for (const name of [...before.kernels, ...after.kernels]) parseKernelName(name);
  });

  simulatorOnly('lets our own kernels compete where there is no cuDNN', async () => {
    const found = await child('benchmark without cuDNN', { FRACSTRIDE_LIBCUDNN: '/nowhere/libcudnn.so.9' });
    for (const way of waysOf(found))
      expect(way).to.match(/^(gather|(depthwise|folded|head|igemm|joined|merged|pairwise|phase|splitk)_)/);
    for (const { question, microseconds } of lines())
      expect(Object.keys(microseconds).length).to.equal(question.includes('convT2d fwd') ? 7 : 5);
  });
});

describe('timings', () => {
  let folder = '';
  let before: string | undefined;
  const file = (): string => join(folder, 'timings.jsonl');
  const answer = (words: string): Pick<Timing, 'words' | 'microseconds'> => ({ words, microseconds: { [words]: 1 } });

  beforeEach(() => {
    folder = fs.mkdtempSync(join(tmpdir(), 'fracstride-timings-'));
    before = process.env.FRACSTRIDE_CACHE_DIR;
    process.env.FRACSTRIDE_CACHE_DIR = folder;
  });
  afterEach(() => {
    if (before === undefined) delete process.env.FRACSTRIDE_CACHE_DIR;
    else process.env.FRACSTRIDE_CACHE_DIR = before;
    fs.rmSync(folder, { recursive: true, force: true });
  });

  it('are read back, and the first answer stays', () => {
    expect(readTiming('a')).to.equal(null);
    expect(addTiming('a', answer('phase_t4x8_b32x4'))?.words).to.equal('phase_t4x8_b32x4');
    expect(addTiming('a', answer('gather'))?.words).to.equal('phase_t4x8_b32x4');
    expect(readTiming('a')?.words).to.equal('phase_t4x8_b32x4');
    expect(readTiming('b')).to.equal(null);
    expect(fs.readdirSync(folder)).to.deep.equal(['timings.jsonl']);
  });

  it('leave out lines that cannot be read, and the next write drops them', () => {
    addTiming('a', answer('gather'));
    const bad = [
      '{"question":"c","words":"../x"',
      '[]',
      'null',
      '{"question":"b","words":"a b","microseconds":{},"used":1}',
    ];
    fs.writeFileSync(file(), `${bad.join('\n')}\n${fs.readFileSync(file(), 'utf8')}{"question":"d`, { mode: 0o600 });
    expect(readTiming('a')?.words).to.equal('gather');
    for (const question of ['b', 'c', 'd']) expect(readTiming(question)).to.equal(null);
    addTiming('e', answer('gather'));
    expect(fs.readFileSync(file(), 'utf8').trim().split('\n').length).to.equal(2);
  });

  it('are bounded: what was not asked for longest goes', () => {
    const line = (i: number) => JSON.stringify({ question: `q${i}`, ...answer('gather'), used: 1 });
    const text = Array.from({ length: 4096 }, (_, i) => `${line(i)}\n`).join('');
    fs.writeFileSync(file(), text, { mode: 0o600 });
    expect(readTiming('q0')?.words).to.equal('gather');
    addTiming('new', answer('gather'));
    expect(readTiming('q1'), 'the oldest').to.equal(null);
    expect(readTiming('q0'), 'one that was asked for').not.to.equal(null);
    expect(readTiming('new')).not.to.equal(null);
    expect(fs.readFileSync(file(), 'utf8').trim().split('\n').length).to.equal(4096);
  });

  it('of a file that others can write to are not believed', function () {
    if (process.geteuid === undefined) this.skip();
    addTiming('a', answer('gather'));
    fs.chmodSync(file(), 0o666);
    expect(readTiming('a')).to.equal(null);
    expect(addTiming('b', answer('gather'))).to.equal(null);
  });

  it('go with the cache when it is cleared', () => {
    addTiming('a', answer('gather'));
    openStore(folder).clear();
    expect(readTiming('a')).to.equal(null);
  });

  it('of a folder that cannot be one are none', () => {
    process.env.FRACSTRIDE_CACHE_DIR = join(folder, 'file', 'inside');
    fs.writeFileSync(join(folder, 'file'), '');
    expect(addTiming('a', answer('gather'))).to.equal(null);
    expect(readTiming('a')).to.equal(null);
  });
});
