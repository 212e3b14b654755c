/**
 * `node training_cli.js --device cuda:0 --seed N --steps N`: trains the small autoencoder of training.ts and prints its
 * losses, a digest of its state and what memory it held, as one line of JSON.
 */

import { parseArgs } from 'node:util';
import { liveBytes, startTraining } from './training.js';

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cpu' },
    seed: { type: 'string', default: '4242' },
    steps: { type: 'string', default: '30' },
  },
});

export interface TrainingSummary {
  readonly losses: readonly number[];
  readonly digest: string;
  /** Live bytes after each step. */
  readonly live: readonly number[];
  /** Bytes of weights, buffers, optimiser state and pictures. */
  readonly lasting: number;
  /** Live bytes once gradients are gone, and once everything is. */
  readonly kept: number;
  readonly left: number;
}

const training = startTraining(Number(values.seed), values.device);
const losses: number[] = [];
const live: number[] = [];
for (let step = 0; step < Number(values.steps); step++) {
  losses.push(training.step());
  live.push(liveBytes(values.device));
}
training.optimiser.zeroGrad();
const digest = training.digest();
const lasting = training.lastingBytes();
const kept = liveBytes(values.device);
training.dispose();
console.log(JSON.stringify({ losses, digest, live, lasting, kept, left: liveBytes(values.device) }));
