/**
 * `npm run test:processes`: 30 processes that start at once with an empty cache, each of which compiles what it lacks (by
 * the compiler of this machine) and trains on the simulator; then the same while half of them are killed.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { openStore } from '../../codegen/store.js';
import { simulatedEnvironment } from '../support/simulated.js';
import type { TrainingSummary } from '../support/training_cli.js';

const PROCESSES = 30;
const PROGRAM = fileURLToPath(new URL('../support/training_cli.js', import.meta.url));

describe(`${PROCESSES} processes at once with an empty cache`, function () {
  this.timeout(1800_000);
  let cache: string;

  beforeEach(() => {
    cache = mkdtempSync(join(tmpdir(), 'fracstride-processes-'));
  });

  afterEach(() => {
    rmSync(cache, { recursive: true });
  });

  function start(): { child: ChildProcess; ended: Promise<TrainingSummary | null> } {
    const env = simulatedEnvironment({ env: { FRACSTRIDE_CACHE_DIR: cache } });
    const child = spawn(process.execPath, [PROGRAM, '--device', 'cuda:0', '--steps', '1'], {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
    const ended = new Promise<TrainingSummary | null>((resolve) => {
      child.on('close', (code) => resolve(code === 0 ? (JSON.parse(output) as TrainingSummary) : null));
    });
    return { child, ended };
  }

  function expectSound(): void {
    const { good, broken } = openStore(cache).verify();
    expect(broken).to.deep.equal([]);
    expect(good.length, 'kernels in the cache').to.be.at.least(5);
    console.log(`      ${good.length} kernels in the cache, each sound`);
  }

  it('every one is right, and no entry is torn', async () => {
    const summaries = await Promise.all(Array.from({ length: PROCESSES }, () => start().ended));
    expect(summaries.filter((summary) => summary === null).length, 'processes that failed').to.equal(0);
    expect(new Set(summaries.map((summary) => summary!.digest)).size).to.equal(1);
    expectSound();
  });

  it('so are those that are left when half are killed, and those that come after', async () => {
    const runs = Array.from({ length: PROCESSES }, start);
    for (const { child } of runs.filter((_, i) => i % 2 === 1)) {
      await sleep(150);
      child.kill('SIGKILL');
    }
    const left = (await Promise.all(runs.map(({ ended }) => ended))).filter((_, i) => i % 2 === 0);
    expect(left.filter((summary) => summary === null).length, 'processes that failed').to.equal(0);
    const after = await start().ended;
    expect(new Set([...left, after].map((summary) => summary!.digest)).size).to.equal(1);
    expectSound();
  });
});
