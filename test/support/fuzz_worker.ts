/** One worker of fuzz_cli.ts: sequences of whatever a program may do with a device, among them faults. */

import { parentPort, workerData } from 'node:worker_threads';
import { cuda, nn, ones, rand, type Tensor, tensor, zeros } from 'fracstride';
import { ERROR_CODES } from '../../codegen/errors.js';
import { choices } from './choices.js';
import { simulatorControl } from './simulator_control.js';

export interface WorkerSettings {
  readonly seed: number;
  readonly sequences: number;
  /** Faults that leave the device usable. */
  readonly faults: readonly string[];
}

export interface WorkerReport {
  readonly sequences: number;
  readonly steps: number;
  /** Errors by code. */
  readonly errors: Readonly<Record<string, number>>;
  /** Errors that are none of the package's, and wrong values. */
  readonly violations: readonly string[];
}

const settings = workerData as WorkerSettings;
const simulator = simulatorControl();
const errors: Record<string, number> = {};
const violations: string[] = [];
let steps = 0;

const { below, pick } = choices(settings.seed);

/** A tensor and the one number that all of its elements are, where that is known. */
interface Held {
  readonly t: Tensor;
  readonly value: number | null;
}

const device = 'cuda:0';
const size = () => [1 + below(3), 1 + below(4), 1 + below(9), 1 + below(9)];

const STEPS: readonly ((held: Held[], pending: Promise<void>[]) => void)[] = [
  (held) => held.push({ t: ones(size(), { device }), value: 1 }),
  (held) => held.push({ t: zeros([1 + below(1 << 16)], { device }), value: 0 }),
  (held) => held.push({ t: rand(size(), { device }), value: null }),
  (held) => {
    const value = below(100);
    held.push({ t: tensor(new Float32Array(1 + below(40_000)).fill(value), { device }), value });
  },
  (held) => {
    if (held.length === 0) return;
    const { t, value } = pick(held);
    held.push({ t: t.add(t), value: value === null ? null : 2 * value });
  },
  (held) => {
    const inputs: Tensor[] = []; // the second may fail
    try {
      inputs.push(ones([1, 2, 3 + below(4), 3], { device }));
      inputs.push(ones([2, 3, 2, 2], { device }));
      held.push({ t: nn.functional.convTranspose2d(inputs[0]!, inputs[1]!, null, { stride: 2 }), value: 2 });
    } finally {
      for (const t of inputs) t.dispose();
    }
  },
  (held) => {
    if (held.length > 0) held.splice(below(held.length), 1)[0]!.t.dispose();
  },
  (held) => {
    if (held.length > 0) compare(pick(held), 'dataSync', (t) => t.dataSync());
  },
  (held, pending) => {
    if (held.length === 0) return;
    const one = pick(held);
    const read = one.t.data();
    // read in the order of the work: what becomes of the tensor afterwards does not matter
    if (below(2) === 0) held.splice(held.indexOf(one), 1)[0]!.t.dispose();
    pending.push(
      read.then(
        (values) => compare(one, 'data', () => values),
        (error: unknown) => note(error),
      ),
    );
  },
  (held) => {
    if (held.length > 0) held.push({ t: pick(held).t.to({ device: 'cpu' }).to({ device }), value: null });
  },
  () => cuda.emptyCache(),
  () => cuda.synchronize(),
  () => void zeros([1 << 30], { device }),
  () => simulator.fault(pick(settings.faults)),
  () => simulator.fault('clear'),
];

function compare({ t, value }: Held, how: string, read: (t: Tensor) => ArrayLike<number>): void {
  const values = read(t);
  if (value === null) return;
  const wrong = Array.prototype.findIndex.call(values, (x: number) => x !== value);
  if (wrong >= 0) violations.push(`${how}: element ${wrong} is ${values[wrong]} instead of ${value}`);
}

function note(error: unknown): void {
  const code = String((error as { code?: unknown }).code);
  errors[code] = (errors[code] ?? 0) + 1;
  if (!(ERROR_CODES as readonly string[]).includes(code)) violations.push(String((error as Error).stack ?? error));
}

async function sequence(): Promise<void> {
  const held: Held[] = [];
  const pending: Promise<void>[] = [];
  for (let i = 5 + below(40); i > 0; i--, steps++) {
    try {
      pick(STEPS)(held, pending);
    } catch (error) {
      note(error);
    }
  }
  for (const { t } of held) t.dispose();
  await Promise.all(pending);
}

for (let i = 0; i < settings.sequences; i++) await sequence();
simulator.fault('clear');
parentPort!.postMessage({ sequences: settings.sequences, steps, errors, violations } satisfies WorkerReport);
