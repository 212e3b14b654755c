/**
 * The stand-in for libcudnn (simulator/cudnn*.cc) as a program meets it: test/support/cudnn_simulator_check.cc drives it
 * through cuDNN's entries, one scenario a process, and prints what was not as it has to be.
 */

import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { CUDNN_SIMULATOR, NULL_DRIVER, SIMULATOR, SIMULATOR_CONTROL } from '../support/simulated.js';
import type { CudnnControl, SimulatorControl } from '../support/simulator_control.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const COMPILER = process.env.CXX ?? 'c++';

interface Told {
  readonly driver?: string;
  readonly simulator?: string;
  readonly cudnn?: string;
}

/** Scenario, what it shows, and what the stand-ins are told for it. */
const SCENARIOS: readonly (readonly [string, string, Told?])[] = [
  ['entries', 'exports the entries, and gives back what was set'],
  ['numerics', 'computes the three convolutions by every algorithm, in every type and layout'],
  ['sums', 'sums and adds biases'],
  ['math_types', 'rounds to TF32 where the math type lets it, and nowhere else'],
  ['determinism', 'gives the same bits where it promises them, and others where it does not'],
  ['heuristics', 'ranks algorithms by the problem'],
  ['finding', 'finds the fastest that fits the workspace'],
  ['refusals', 'refuses what is not consistent, alive, large enough or apart', { simulator: 'devices=2' }],
  ['capture', 'is recorded into graphs, and replayed'],
  ['streams', 'keeps the order of streams, and sees a workspace that two use'],
  ['threads', 'sees a handle that two threads use'],
  ['injected', 'returns the statuses it is told to, and counts'],
  [
    'old_version',
    'speaks as cuDNN 8, without the entries that are to be missing',
    { cudnn: 'version=8907 without=cudnnFindConvolutionForwardAlgorithmEx' },
  ],
  ['foreign_driver', 'refuses to start on another driver', { driver: NULL_DRIVER }],
];

describe('simulator: libcudnn', function () {
  this.timeout(300_000);
  const folder = mkdtempSync(join(tmpdir(), 'fracstride-cudnn-'));
  const program = join(folder, 'cudnn_simulator_check');
  before(() => {
    execFileSync(process.execPath, ['scripts/simulator.mjs'], { cwd: ROOT, stdio: ['ignore', 'ignore', 'pipe'] });
    const source = 'test/support/cudnn_simulator_check.cc';
    execFileSync(COMPILER, ['-std=c++20', '-I.', source, '-o', program, '-ldl', '-pthread'], { cwd: ROOT });
  });
  after(() => rmSync(folder, { recursive: true }));

  function check(scenario: string, { driver = SIMULATOR, simulator = '', cudnn = '' }: Told = {}): Promise<string> {
    const env = { ...process.env, CUDA_SIMULATOR: simulator, CUDNN_SIMULATOR: cudnn };
    return new Promise((resolve) => {
      execFile(program, [driver, CUDNN_SIMULATOR, scenario], { env, timeout: 120_000 }, (error, stdout, stderr) =>
        resolve(`${stdout}${stderr}${error?.signal ?? ''}`),
      );
    });
  }

  for (const [scenario, title, told] of SCENARIOS) {
    it(title, async () => expect(await check(scenario, told)).to.equal('ok\n'));
  }

  it('declares what the addon calls', () => {
    const source = 'test/support/cudnn_simulator_declarations.cc';
    execFileSync(COMPILER, ['-std=c++20', '-fsyntax-only', '-I.', source], { cwd: ROOT, stdio: 'pipe' });
  });

  it('varies from process to process too, unless it is given a seed', async () => {
    const digests = async (cudnn: string) => [await check('digest', { cudnn }), await check('digest', { cudnn })];
    const [one, two] = await digests('');
    expect(one).to.match(/^digest [0-9a-f]+\nok\n$/);
    expect(two).not.to.equal(one);
    const [again, same] = await digests('seed=7');
    expect(same).to.equal(again);
  });

  it('refuses a configuration that it does not know', async () => {
    expect(await check('entries', { cudnn: 'status=cudnnCreate' })).to.match(
      /^CUDNN_SIMULATOR: simulator: status=cudnnCreate must be none, or ENTRY:STATUS or ENTRY:STATUS@N .*\nSIGABRT$/,
    );
  });

  it('is controlled from JavaScript', () => {
    const addon = createRequire(import.meta.url)(SIMULATOR_CONTROL) as {
      open(driver: string, cudnn?: string): SimulatorControl & Partial<CudnnControl>;
    };
    expect(addon.open(SIMULATOR).configureCudnn).to.equal(undefined);
    const control = addon.open(SIMULATOR, CUDNN_SIMULATOR) as CudnnControl;
    expect(control.cudnnCounters()).to.deep.equal({});
    expect(control.cudnnMemory()).to.deep.equal({ handles: 0, tensors: 0, filters: 0, convolutions: 0 });
    expect(control.cudnnLastFault()).to.equal(null);
    control.configureCudnn('status=cudnnCreate:1001@3 workspace=1M');
    control.configureCudnn('status=none workspace=0');
    expect(() => control.configureCudnn('workspace=little')).to.throw(
      'simulator: workspace=little must be 0, or bytes from 64K up, as 2G',
    );
    expect(() => addon.open(SIMULATOR, SIMULATOR)).to.throw('must be one that npm run simulator built');
  });
});
