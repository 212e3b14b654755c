/** `async_workers_child.js DEVICE SIZE`: workers that compute, and workers that are terminated while reads are pending. */

import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { memory, tensor } from '../../src/index.js';

const [device, size] = [process.argv[2]!, Number(process.argv[3])];
const PROGRAM = fileURLToPath(new URL('./async_worker.js', import.meta.url));
const start = (what: string, seed: number): Worker => new Worker(PROGRAM, { workerData: { what, seed, device, size } });
const message = (worker: Worker): Promise<unknown> =>
  new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
const ended = (worker: Worker): Promise<unknown> => new Promise((resolve) => worker.once('exit', resolve));
const live = (): number => Object.values(memory()).reduce((sum, row) => sum + row.live, 0);

const workers = [1, 2, 3].map((seed) => start('loop', seed));
const exits = workers.map(ended);
const wrong = await Promise.all(workers.map(message));
await Promise.all(exits);
for (let i = 0; i < 4; i++) {
  const worker = start('reads', i);
  await message(worker);
  await worker.terminate();
}
const left = live();
const x = tensor([1, 2], { device });
const after = Array.from(await x.data());
console.log(JSON.stringify({ wrong, left, after }));
