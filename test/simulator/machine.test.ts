/**
 * The simulator's machine (simulator/machine.h) under its own checks: test/simulator/machine_*.cc, one program that prints a
 * line for each. Those on CUDA text read PTX that is kept beside it, and once more what nvcc makes of it here.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const HERE = 'test/simulator';
const COMPILER = process.env.CXX ?? 'c++';
const MACHINE = /^(access|build|count|counters|decode|exec|floats|machine|memory|ops_\w+|ptx_\w+)\.o$/;

describe('simulator: the machine', function () {
  this.timeout(600_000);
  const folder = mkdtempSync(join(tmpdir(), 'fracstride-machine-'));
  const program = join(folder, 'machine_check');
  before(() => {
    execFileSync(process.execPath, ['scripts/simulator.mjs'], { cwd: ROOT, stdio: ['ignore', 'ignore', 'pipe'] });
    const objects = readdirSync(join(ROOT, 'build/simulator/objects')).filter((name) => MACHINE.test(name));
    const sources = readdirSync(join(ROOT, HERE)).filter((name) => /^machine_.*\.cc$/.test(name));
    const inputs = [
      ...sources.filter((name) => name !== 'machine_speed.cc').map((name) => `${HERE}/${name}`),
      ...objects.map((name) => `build/simulator/objects/${name}`),
    ];
    execFileSync(COMPILER, ['-std=c++20', '-O1', '-ffp-contract=off', '-pthread', ...inputs, '-o', program], {
      cwd: ROOT,
    });
  });
  after(() => rmSync(folder, { recursive: true }));

  /** Lines of the program on the PTX in a folder; fails with those that are not ok. */
  function check(kernels: string, least: number): string {
    const run = spawnSync(program, [kernels], { cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 24 });
    const lines = run.stdout.trim().split('\n');
    expect(lines.filter((line) => !line.startsWith('ok ')).join('\n') + run.stderr).to.equal('');
    expect(run.status).to.equal(0);
    expect(lines.length).to.be.at.least(least);
    return run.stdout;
  }

  it('decodes and executes PTX as its definition says, and catches kernels that are wrong', () => {
    expect(check(`${HERE}/kernels`, 54)).not.to.contain('left out');
  });

  for (const architecture of ['75', '80', '90']) {
    it(`executes what nvcc here makes of CUDA text for compute_${architecture}`, function () {
      if (spawnSync('nvcc', ['--version']).status !== 0) this.skip();
      const texts = readdirSync(join(ROOT, HERE, 'kernels')).filter((file) => file.endsWith('.cu'));
      for (const name of texts.filter((file) => architecture !== '75' || !file.includes('_sm80'))) {
        const target = join(folder, name.replace(/\.cu$/, '.ptx'));
        const options = ['-ptx', `-arch=compute_${architecture}`, '-o', target];
        execFileSync('nvcc', [...options, join(ROOT, HERE, 'kernels', name)], { stdio: ['ignore', 'ignore', 'pipe'] });
      }
      check(folder, 54);
    });
  }
});
