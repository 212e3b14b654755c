/**
 * A worker with work under way. `workerData.what` says which: 'reads' starts large convolutions and reads that it never
 * gets to see, says so and is terminated; 'loop' computes and reads for a while and reports how often it was wrong.
 * `device` says where, `size` how large the convolutions are.
 */

import { parentPort, workerData } from 'node:worker_threads';
import { ones, tensor } from '../../src/index.js';
import { convTranspose2d } from '../../src/nn/functional.js';

const { what, seed, device, size } = workerData as {
  what: 'reads' | 'loop';
  seed: number;
  device: string;
  size: number;
};
const HERE = { device };

async function loop(): Promise<number> {
  let wrong = 0;
  for (let i = 0; i < 200; i++) {
    const value = seed * 1000 + i;
    const x = tensor([value, -value], HERE);
    const y = x.mul(2);
    x.dispose();
    const z = y.add(1);
    const read = i % 2 === 0 ? z.dataSync() : z.data();
    y.dispose();
    z.dispose();
    const [a, b] = await read;
    if (a !== 2 * value + 1 || b !== 1 - 2 * value) wrong++;
  }
  return wrong;
}

if (what === 'loop') parentPort!.postMessage(await loop());
else {
  const x = ones([4, size, size, size], HERE);
  const w = ones([size, size, 4, 4], HERE);
  for (let i = 0; i < 6; i++) {
    const y = convTranspose2d(x, w, null, { stride: 2, padding: 1 });
    y.data();
    y.dispose();
  }
  parentPort!.postMessage('started');
}
