/** Processes that train the example under the determinism contract end with the same bits. */

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'chai';

const SIMULATOR = fileURLToPath(new URL('../../../build/simulator/libcuda.so.1', import.meta.url));
const CUDNN = fileURLToPath(new URL('../../../build/simulator/libcudnn.so.9', import.meta.url));
const HASH = fileURLToPath(new URL('../hash.js', import.meta.url));
const COMPARE = fileURLToPath(new URL('../../../scripts/determinism.mjs', import.meta.url));

interface Trained {
  device: string;
  losses: number[];
  sha256: string;
}

async function trained(env: Record<string, string>, ...options: string[]): Promise<Trained> {
  const words = [HASH, '--json', ...options];
  const { stdout } = await promisify(execFile)(process.execPath, words, { env: { ...process.env, ...env } });
  return JSON.parse(stdout) as Trained;
}

describe('examples: the determinism contract', function () {
  this.timeout(600_000);

  it('gives processes on the cpu equal hashes, whatever their number of threads, and another seed another', async () => {
    const options = ['--device', 'cpu', '--steps', '3'];
    const [one, two, other] = await Promise.all([
      trained({ FRACSTRIDE_NUM_THREADS: '1' }, ...options),
      trained({ FRACSTRIDE_NUM_THREADS: '3' }, ...options),
      trained({}, ...options, '--seed', '1'),
    ]);
    expect(one.sha256).to.match(/^[0-9a-f]{64}$/);
    expect(two).to.deep.equal(one);
    expect(other.sha256).to.not.equal(one.sha256);
  });

  it('gives processes on the simulator equal hashes, in any order of warps, and another seed another', async function () {
    if (!existsSync(SIMULATOR)) this.skip();
    const run = (simulator: string, ...more: string[]) =>
      trained(
        { FRACSTRIDE_LIBCUDA: SIMULATOR, FRACSTRIDE_LIBCUDNN: 'none', CUDA_SIMULATOR: simulator },
        ...['--device', 'cuda', '--steps', '3', '--images', '40', ...more],
      );
    const first = await run('');
    expect(first.device).to.equal('cuda:0');
    expect(new Set(first.losses).size).to.equal(3);
    expect(await run('')).to.deep.equal(first);
    expect(await run('order=reverse')).to.deep.equal(first);
    expect((await run('', '--seed', '1')).sha256).to.not.equal(first.sha256);
  });

  it('holds for cuDNN, whose algorithms differ from process to process without it', async function () {
    if (!existsSync(SIMULATOR) || !existsSync(CUDNN)) this.skip();
    // Large enough that the library's first choice is one that adds with atomics; each seed adds in another order.
    const run = async (seed: number, ...more: string[]) =>
      (
        await trained(
          { FRACSTRIDE_LIBCUDA: SIMULATOR, FRACSTRIDE_LIBCUDNN: CUDNN, CUDNN_SIMULATOR: `seed=${seed}` },
          ...['--device', 'cuda', '--steps', '1', '--batch', '16', '--images', '40', ...more],
        )
      ).sha256;
    const held = await run(1);
    expect(await run(2)).to.equal(held);
    expect(await run(1, '--without-contract')).to.not.equal(await run(2, '--without-contract'));
  });

  it('is checked by a script that compares processes', async () => {
    const words = [COMPARE, '--device', 'cpu', '--steps', '1', '--', '--batch', '2'];
    const { stdout } = await promisify(execFile)(process.execPath, words);
    expect(stdout).to.match(
      /^process 1 on cpu, 1 threads: (\w{64})\nprocess 2 on cpu, \d+ threads: \1\n2 .*: equal\n$/,
    );
  });
});
