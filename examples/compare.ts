/**
 * The first steps of the demo on the CPU and on another device, from the same start on the same pictures: compares the
 * errors of every step. Rounding differs, and training amplifies it, so the two drift apart; at the demo's own learning
 * rate so do two instruction sets of the CPU, by some 1e-4 within 30 steps. The rate here is a tenth of it.
 *
 *   node examples/dist/compare.js [--device cuda] [--rate 0.0004] [--steps 30] [--batch 8] [--images 120] [--seed 0] [--json]
 */

import { parseArgs } from 'node:util';
import { loadPictures, splitPictures } from './data.js';
import { trainAutoencoder } from './train.js';

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda' },
    steps: { type: 'string', default: '30' },
    batch: { type: 'string', default: '8' },
    images: { type: 'string', default: '120' },
    seed: { type: 'string', default: '0' },
    rate: { type: 'string', default: '0.0004' },
    json: { type: 'boolean', default: false },
  },
});

const split = splitPictures(await loadPictures(Number(values.images)));
const [steps, batch, seed] = [values.steps, values.batch, values.seed].map(Number) as [number, number, number];
/** As many as the demo takes by itself: the learning rate is then the demo's. */
const SCHEDULE = 1600;

const cpu = await losses('cpu');
const other = await losses(values.device);
const differences = cpu.map((loss, i) => Math.abs(other[i]! / loss - 1));
const worst = Math.max(...differences);

if (values.json) {
  console.log(JSON.stringify({ device: values.device, steps, batch, cpu, other, worst }));
} else {
  cpu.forEach((loss, i) => {
    const row = [String(i + 1).padStart(4), loss.toFixed(6), other[i]!.toFixed(6), differences[i]!.toExponential(1)];
    console.log(row.join('  '));
  });
  console.log(
    `${steps} steps on cpu and ${values.device}: errors differ by at most ${worst.toExponential(1)} of themselves`,
  );
}

async function losses(device: string): Promise<number[]> {
  const output = { write: () => true };
  const { model, history } = await trainAutoencoder(split, {
    steps,
    rate: Number(values.rate),
    schedule: SCHEDULE,
    batch,
    seed,
    device,
    output,
  });
  model.dispose();
  return history.training.map(([, loss]) => loss);
}
