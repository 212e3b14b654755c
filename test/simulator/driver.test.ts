/**
 * The simulator's driver (simulator/driver*.cc) as a program meets it: test/support/simulator_check.cc drives the library
 * through CUDA's entries, one scenario a process, and prints what was not as CUDA would have it.
 */

import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { NULL_DRIVER, SIMULATOR, SIMULATOR_CONTROL } from '../support/simulated.js';
import type { SimulatorControl } from '../support/simulator_control.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const COMPILER = process.env.CXX ?? 'c++';

/** Scenario, what it shows, and how the simulator is set up for it. */
const SCENARIOS = [
  ['before_init', 'answers nothing before cuInit, and names errors', ''],
  ['no_context', 'asks for a current context, a thread at a time', ''],
  ['handles', 'refuses handles that it did not give out or that are gone', ''],
  ['shapes', 'refuses launches that a device cannot take', ''],
  ['memory', 'counts memory, and refuses addresses that are no one’s', 'memory=64M'],
  ['asynchronous', 'runs launches and copies later, and reads pinned memory then', ''],
  ['events', 'orders streams by events, and times them', ''],
  ['legacy', 'orders the legacy stream with the streams that block', ''],
  ['host_functions', 'calls host functions in order, which may not call back', ''],
  ['capture', 'records a graph without running it, and replays it', ''],
  ['capture_refusals', 'breaks a capture off at what cannot be recorded', ''],
  ['sticky', 'keeps a failed context failed until it is reset', ''],
  ['faults', 'fails when it is told to', ''],
  ['reset', 'tears a context down while it is used', ''],
  ['images', 'takes the PTX and the fatbins that a driver of its version takes', ''],
  ['two_devices', 'keeps two devices apart', 'devices=2'],
  ['two_threads', 'serves two threads, and forgets nothing that was freed', ''],
  ['counters', 'counts launches and what they do to memory', ''],
  ['old_driver', 'lacks the entries that an old driver lacks', 'driver=11000 without=cuEventQuery'],
  ['entries', 'finds entries by name and version', ''],
] as const;

describe('simulator: the driver', function () {
  this.timeout(300_000);
  const folder = mkdtempSync(join(tmpdir(), 'fracstride-simulator-'));
  const program = join(folder, 'simulator_check');
  before(() => {
    execFileSync(process.execPath, ['scripts/simulator.mjs'], { cwd: ROOT, stdio: ['ignore', 'ignore', 'pipe'] });
    const source = 'test/support/simulator_check.cc';
    execFileSync(COMPILER, ['-std=c++17', '-I.', source, '-o', program, '-ldl', '-pthread'], { cwd: ROOT });
  });
  after(() => rmSync(folder, { recursive: true }));

  function check(library: string, scenario: string, simulator: string): Promise<string> {
    const env = { ...process.env, CUDA_SIMULATOR: simulator };
    return new Promise((resolve) => {
      execFile(program, [library, scenario], { env, timeout: 60_000 }, (error, stdout, stderr) =>
        resolve(`${stdout}${stderr}${error?.signal ?? ''}`),
      );
    });
  }

  for (const [scenario, title, simulator] of SCENARIOS) {
    it(title, async () => expect(await check(SIMULATOR, scenario, simulator)).to.equal('ok\n'));
  }

  it('gives the same answers whichever warp goes first', async () => {
    for (const order of ['reverse', 'mixed:7']) {
      expect(await check(SIMULATOR, 'two_threads', `order=${order}`), order).to.equal('ok\n');
    }
  });

  it('refuses a configuration that it does not know', async () => {
    expect(await check(SIMULATOR, 'entries', 'order=sideways')).to.match(
      /^CUDA_SIMULATOR: simulator: order=sideways must be forward, reverse or mixed:SEED\nSIGABRT$/,
    );
  });

  it('has a twin that does nothing but count launches', async () => {
    expect(await check(NULL_DRIVER, 'nothing', '')).to.equal('ok\n');
  });

  it('is controlled from JavaScript', () => {
    const addon = createRequire(import.meta.url)(SIMULATOR_CONTROL) as { open(path: string): SimulatorControl };
    const control = addon.open(SIMULATOR);
    expect(control.counters()).to.deep.equal({});
    expect(control.memory().device).to.deep.equal({ bytes: 0, blocks: 0 });
    expect(control.lastFault()).to.equal(null);
    control.configure('order=reverse verbose=0');
    control.fault('oom@3 slow_copy=1ms');
    control.fault('clear');
    expect(() => control.fault('earthquake@1')).to.throw('simulator: earthquake@1 must be oom, host_oom, launch');
    expect(() => control.configure('arch=91')).to.throw('simulator: arch=91 must be one of 75, 80');
    expect(() => addon.open('/nowhere/libcuda.so')).to.throw(/simulator: .*nowhere/);
    expect(() => addon.open(SIMULATOR_CONTROL)).to.throw('must be one that npm run simulator built');
  });
});
