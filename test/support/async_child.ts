/**
 * A process that ends with work under way: `exit` by process.exit, `end` by having nothing more to do but a pending
 * read, whose value it prints. `async_child <exit|end> <convolutions> <channels>`.
 */

import { ones } from '../../src/index.js';
import { convTranspose2d } from '../../src/nn/functional.js';

const CPU = { device: 'cpu' } as const;
const [how, count, channels] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const x = ones([8, channels, 64, 64], CPU);
const w = ones([channels, channels, 4, 4], CPU);
let y = ones([1], CPU);
for (let i = 0; i < count; i++) {
  y.dispose();
  y = convTranspose2d(x, w, null, { stride: 2, padding: 1 });
}
const read = y.sum().data();
if (how === 'exit') process.exit(7);
read.then(([sum]) => console.log(sum));
