/** `threads_child.js`: prints, as one line of JSON, how many threads the CPU kernels take, and how many a process gains when workers compute too. */

import { readdirSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { backends } from '../../src/index.js';

const index = JSON.stringify(new URL('../../src/index.js', import.meta.url).href);
/** Loads the package, says so, and computes when it is told to. */
const PROGRAM = `
  const { parentPort } = require('node:worker_threads');
  import(${index}).then(({ nn, rand, scope }) => {
    parentPort.on('message', () => {
      for (let i = 0; i < 20; i++)
        scope(() => {
          const y = nn.functional.convTranspose2d(rand([2, 16, 16, 16]), rand([16, 16, 4, 4]), null, { stride: 2, padding: 1 });
          y.dataSync();
        });
      parentPort.postMessage('computed');
    });
    parentPort.postMessage('loaded');
  });
`;

const WORKERS = 3;
/** Threads of this process; 0 where the system does not tell. */
const count = (): number => (process.platform === 'linux' ? readdirSync('/proc/self/task').length : 0);
const answer = (worker: Worker): Promise<unknown> =>
  new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));

const workers = Array.from({ length: WORKERS }, () => new Worker(PROGRAM, { eval: true }));
await Promise.all(workers.map(answer));
const before = count();
const computed = workers.map(answer);
for (const worker of workers) worker.postMessage('compute');
await Promise.all(computed);
const gained = count() - before;
await Promise.all(workers.map((worker) => worker.terminate()));
console.log(JSON.stringify({ threads: backends.cpu.threads, gained }));
