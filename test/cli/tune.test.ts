/** `fracstride tune`: what is found fastest is what runs from then on, here and where it is taken to. */

import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { describeCuda, simulatedEnvironment, simulatorOnly } from '../support/simulated.js';
import type { TuneReport } from '../support/tune_child.js';
import { fracstride, type Told } from './children.js';

const ABSENT = { FRACSTRIDE_LIBCUDA: '/absent/libcuda.so.1' };
const PROBLEM = 'convT2d n=2 c=8 k=6 h=5 w=5 r=4 stride=2 padding=1';

interface Row {
  readonly fastest: string;
  readonly kept: boolean;
  readonly microseconds: Readonly<Record<string, number>>;
}

interface File {
  format: string;
  version: number;
  tunings: { device: string; problem: string; microseconds: Record<string, number> }[];
}

describe('fracstride tune', function () {
  this.timeout(300_000);
  let folder: string;
  let env: Record<string, string>;
  const cache = (name: string) => join(folder, name);
  const file = () => join(folder, 'tunings.json');
  const exported = (): File => JSON.parse(fs.readFileSync(file(), 'utf8')) as File;

  beforeEach(() => {
    folder = fs.mkdtempSync(join(tmpdir(), 'fracstride-tune-'));
    env = { ...ABSENT, FRACSTRIDE_CACHE_DIR: cache('one') };
  });
  afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

  const tune = (words: readonly string[], more: Record<string, string> = {}) =>
    fracstride(['tune', ...words], { env: { ...env, ...more } });
  const rowsOf = ({ code, out, err }: Told): Row[] => {
    expect(code, err).equal(0);
    return (JSON.parse(out) as { tuned: Row[] }).tuned;
  };

  /** The kernel that runs for a problem in another process. */
  async function ran(more: Record<string, string> = {}, words: readonly string[] = []): Promise<TuneReport> {
    const { report } = await import('../support/tune_child.js');
    return report([PROBLEM, ...words], { ...env, ...more });
  }

  it('takes the winner from then on, under the determinism contract too', async () => {
    const [row] = rowsOf(await tune(['--device', 'cpu', '--json', '--export', file(), PROBLEM]));
    expect(row!.kept).equal(true);
    expect(Object.keys(row!.microseconds)).to.include(row!.fastest).and.have.length.greaterThan(1);
    // Whatever was fastest here: what the file says is what runs.
    const { tunings } = exported();
    // A virtual machine may call every generation of a CPU the same.
    if (process.platform === 'linux' && process.arch === 'x64')
      expect(tunings[0]!.device).to.match(/^.+ \(family \d+ model \d+\) \w+ \d+ threads$/);
    const slowest = Object.entries(row!.microseconds).sort((a, b) => b[1] - a[1])[0]![0];
    tunings[0]!.microseconds = { ...tunings[0]!.microseconds, [slowest]: 0.001 };
    fs.writeFileSync(file(), JSON.stringify({ ...exported(), tunings }));
    expect((await ran()).kernel.split('__')[1]).equal(row!.fastest);
    const other = { FRACSTRIDE_CACHE_DIR: cache('two') };
    expect((await tune(['--import', file()], other)).code).equal(0);
    const [plain, contract] = await Promise.all([ran(other), ran(other, ['deterministic'])]);
    expect(plain.kernel.split('__')[1]).equal(slowest);
    expect(contract.kernel.split('__')[1]).equal(slowest);
    // One that was tuned is tuned anew.
    const [again] = rowsOf(await tune(['--device', 'cpu', '--json', PROBLEM], other));
    expect((await ran(other)).kernel.split('__')[1]).equal(again!.fastest);
  });

  it('refuses a file that is none of its own, with one sentence', async () => {
    await tune(['--device', 'cpu', '--export', file(), PROBLEM]);
    const good = exported();
    const [first] = good.tunings;
    const bad: [string, RegExp][] = [
      ['{', /must be JSON, got /],
      ['{"format": "another"}', /must be what fracstride tune --export wrote, got format "another"/],
      [JSON.stringify({ ...good, version: 2 }), /must be of version 1, got 2/],
      [JSON.stringify({ ...good, tunings: [] }), /must be tunings of a device of this machine \(.*\), got none/],
      [
        JSON.stringify({ ...good, tunings: [{ ...first, device: 'NVIDIA H100 sm_90' }] }),
        /must be tunings of a device of this machine \(.*\), got "NVIDIA H100 sm_90"/,
      ],
      [
        JSON.stringify({ ...good, tunings: [{ ...first, problem: 'rm' }] }),
        /tunings\[0\] must be of a problem, got "rm"/,
      ],
      [
        JSON.stringify({ ...good, tunings: [first, { ...first, microseconds: { evil_algo1: 1 } }] }),
        /tunings\[1\] must be of kernels of the catalogue, got "evil_algo1"/,
      ],
      [
        JSON.stringify({ ...good, tunings: [{ ...first, microseconds: { direct: -1 } }] }),
        /tunings\[0\] must be of positive microseconds, got -1/,
      ],
    ];
    for (const [text, sentence] of bad) {
      fs.writeFileSync(file(), text);
      const { code, out, err } = await tune(['--import', file(), '--json'], { FRACSTRIDE_CACHE_DIR: cache('two') });
      expect(code, err).equal(2);
      expect((JSON.parse(out) as { error: { code: string; message: string } }).error.code).equal('ERR_ARGUMENT');
      expect(err).match(sentence);
      expect(err.trim().split('\n'), err).have.length(1);
    }
    expect((await tune(['--import', join(folder, 'absent.json')])).err).match(/must be a file that can be read/);
    expect((await tune([])).err).match(/problems or presets, or --layers, --import or --export must be given/);
    expect(fs.existsSync(join(cache('two'), 'timings.jsonl'))).equal(false);
  });

  it('goes on by cost where what was kept is damaged, or not of the catalogue', async () => {
    const before = await ran();
    await tune(['--device', 'cpu', PROBLEM]);
    const kept = join(cache('one'), 'timings.jsonl');
    fs.writeFileSync(
      kept,
      fs.readFileSync(kept, 'utf8').replace(/"microseconds":\{[^}]*\}/, '"microseconds":{"x_y":1}'),
    );
    expect((await ran()).kernel).equal(before.kernel);
    fs.writeFileSync(kept, 'damaged');
    expect((await ran()).kernel).equal(before.kernel);
  });
});

describeCuda('fracstride tune on CUDA', function () {
  this.timeout(300_000);

  simulatorOnly('takes the winner from then on', async () => {
    const folder = fs.mkdtempSync(join(tmpdir(), 'fracstride-tune-'));
    try {
      const env = { ...(simulatedEnvironment({}) as Record<string, string>) };
      const timings = { FRACSTRIDE_CACHE_DIR: folder };
      const words = ['tune', '--device', 'cuda', '--most', '1', '--json', 'convT2d n=1 c=8 k=6 h=3 w=3 r=2 stride=2'];
      const { code, out, err } = await fracstride(words, { env: { ...env, ...timings } });
      expect(code, err).equal(0);
      const [row] = (JSON.parse(out) as { tuned: Row[] }).tuned;
      expect(Object.keys(row!.microseconds).map((way) => way.split('_')[0])).to.include.members(['gather', 'phase']);
      const { report } = await import('../support/tune_child.js');
      const { kernel } = await report([words.at(-1)!, 'cuda'], { ...env, ...timings });
      expect(kernel.split('__')[1]).equal(row!.fastest);
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  });
});
