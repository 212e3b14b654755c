import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'chai';

const SIMULATOR = fileURLToPath(new URL('../../../build/simulator/libcuda.so.1', import.meta.url));
const COMPARE = fileURLToPath(new URL('../compare.js', import.meta.url));

describe('examples: on a CUDA device', function () {
  this.timeout(600_000);

  it('the autoencoder makes the same errors as on the cpu, within 1e-4, in each of 30 steps', async function () {
    if (!existsSync(SIMULATOR)) this.skip();
    const { stdout } = await promisify(execFile)(process.execPath, [COMPARE, '--device', 'cuda', '--json'], {
      env: { ...process.env, FRACSTRIDE_LIBCUDA: SIMULATOR, FRACSTRIDE_LIBCUDNN: 'none' },
    });
    const { cpu, other, worst } = JSON.parse(stdout) as { cpu: number[]; other: number[]; worst: number };
    expect(cpu.length).to.equal(30);
    expect(other.length).to.equal(30);
    expect(cpu.at(-1)).to.be.below(cpu[0]!);
    expect(worst).to.be.at.most(1e-4);
  });
});
