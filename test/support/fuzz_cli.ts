/**
 * `node fuzz_cli.js --seed N --sequences N [--faults a,b] [--terminate]`: two workers do random things to one device at
 * once, with faults in between. Prints, as one line of JSON, what they report and what memory is left taken.
 *
 * With --terminate both are stopped in the middle.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { cuda, memory, zeros } from 'fracstride';
import type { WorkerReport, WorkerSettings } from './fuzz_worker.js';
import { simulatorControl } from './simulator_control.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    sequences: { type: 'string', default: '25' },
    faults: { type: 'string', default: 'oom@1,oom@2,launch_error@1,load@1,host_oom@1,slow_copy=3ms' },
    terminate: { type: 'boolean', default: false },
  },
});

export interface FuzzSummary {
  readonly reports: readonly WorkerReport[];
  /** Live bytes once the workers have ended. */
  readonly live: number;
  /** Bytes of device memory that the driver has not got back after emptyCache; null when the device was lost. */
  readonly taken: number | null;
}

zeros([1], { device: 'cuda:0' }).dispose();
const reports = await Promise.all([0, 1].map((i) => work(2 * Number(values.seed) + i)));
const simulator = simulatorControl();
simulator.fault('clear');
const summary: FuzzSummary = { reports, live: memory()['cuda:0']!.live, taken: taken() };
console.log(JSON.stringify(summary));

async function work(seed: number): Promise<WorkerReport> {
  const settings: WorkerSettings = {
    seed,
    sequences: Number(values.sequences),
    faults: values.faults.split(','),
  };
  const worker = new Worker(new URL('./fuzz_worker.js', import.meta.url), { workerData: settings });
  if (values.terminate) {
    await sleep(300 + (seed % 7) * 40);
    await worker.terminate();
    return { sequences: 0, steps: 0, errors: {}, violations: [] };
  }
  return new Promise((resolve, reject) => {
    worker.on('message', resolve);
    worker.on('error', reject);
    worker.on('exit', (code) => reject(new Error(`a worker ended with ${code} and without a report`)));
  });
}

function taken(): number | null {
  try {
    cuda.synchronize();
    cuda.emptyCache();
  } catch {
    return null;
  }
  const { device, pool } = simulator.memory();
  return device.bytes + pool.bytes;
}
