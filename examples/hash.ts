/**
 * Trains the autoencoder under the determinism contract and prints the SHA-256 of its weights, buffers and optimiser
 * state. Two processes with the same options print the same line; scripts/determinism.mjs compares them. With
 * --without-contract nothing is promised, and what cuDNN computes may differ.
 *
 *   node examples/dist/hash.js [--device cuda] [--steps 20] [--batch 4] [--images 60] [--seed 0] [--without-contract] [--json]
 */

import { createHash, type Hash } from 'node:crypto';
import { parseArgs } from 'node:util';
import { type optim, type Tensor, useDeterministicAlgorithms } from 'fracstride';
import { loadPictures, splitPictures } from './data.js';
import { trainAutoencoder } from './train.js';

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'auto' },
    steps: { type: 'string', default: '20' },
    batch: { type: 'string', default: '4' },
    images: { type: 'string', default: '60' },
    seed: { type: 'string', default: '0' },
    'without-contract': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

useDeterministicAlgorithms(!values['without-contract']);
const numbers = { steps: whole('steps', 1), batch: whole('batch', 2), seed: whole('seed', 0) };
const split = splitPictures(await loadPictures(whole('images', 40)));
const hash = createHash('sha256');
const { model, history } = await trainAutoencoder(split, {
  ...numbers,
  device: values.device,
  output: { write: () => true },
  inspect: addOptimizer,
});
for (const [name, value] of Object.entries(model.stateDict())) add(name, value as Tensor);
const device = model.parameters()[0]!.device;
model.dispose();
const digest = hash.digest('hex');
const losses = history.training.map(([, loss]) => loss);
console.log(values.json ? JSON.stringify({ device, ...numbers, losses, sha256: digest }) : digest);

function addOptimizer(optimizer: optim.Adam): void {
  for (const [parameter, state] of Object.entries(optimizer.stateDict().state)) {
    for (const [name, value] of Object.entries(state)) add(`${parameter}.${name}`, value as Tensor | number);
  }
}

/** Name, shape and every bit of a value. */
function add(name: string, value: Tensor | number): Hash {
  if (typeof value === 'number') return hash.update(`${name}=${value};`);
  const data = value.dataSync();
  return hash
    .update(`${name} ${value.dtype} [${value.shape}];`)
    .update(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
}

function whole(name: 'steps' | 'batch' | 'images' | 'seed', least: number): number {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value >= least) return value;
  console.error(`--${name} must be a whole number of at least ${least}, got '${values[name]}'.`);
  process.exit(2);
}
