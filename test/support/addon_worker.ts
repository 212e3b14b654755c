/** A worker that allocates, sums a million ones with the addon's kernels, says so, and ends when told, releasing nothing. */

import { parentPort } from 'node:worker_threads';
import { native } from '../../src/native.js';
import { isas, launch, Memory } from './kernels.js';

const isa = isas()[0]!;
const values = new Memory('f32', 1_000_000);
const total = new Memory('f32', 1);
let sum = 0;
for (let i = 0; i < 20; i++) {
  launch({ operation: 'fill', type: 'f32', isa }, { out: values, count: values.count, value: 1 });
  const sizes = { outer: 1, reduced: values.count, inner: 1, divisor: 1 };
  launch({ operation: 'sum', type: 'f32', isa }, { out: total, in: values, ...sizes });
  sum = total.read()[0]!;
}
parentPort!.postMessage({ handle: values.handle, sum, live: native().memory(0).live });
parentPort!.once('message', () => parentPort!.close());
