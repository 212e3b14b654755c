/** Batch normalisation and losses, forward and backward, by their formulas. */

import { tensor } from '../create.js';
import { lastKernel } from '../kernels.js';
import { batchNorm, binaryCrossEntropyWithLogits, l1Loss, mseLoss } from '../nn/functional.js';
import type { Layout } from '../shape.js';
import type { Tensor } from '../tensor.js';
import type { Check, Place, Result } from './check.js';
import { type Input, input } from './inputs.js';
import { afterRoundings } from './rounded.js';
import { roundAll } from './rounding.js';

const SHAPE = [4, 3, 5, 7] as const;
const EPS = 1e-5;
const MOMENTUM = 0.3;
/** Roundings of the accumulator in a mean over a few hundred numbers and what is made of it. */
const COMPUTED = 400;

export const BATCH_NORMS: readonly Check[] = [true, false].flatMap((training) =>
  (['nchw', 'nhwc'] as const).map((layout) => batchNormCheck(training, layout)),
);

/** Everything that batch normalisation computes, and how large the numbers are that it is made of. */
interface Normalised {
  readonly y: Float64Array;
  readonly gx: Float64Array;
  readonly gw: Float64Array;
  readonly gb: Float64Array;
  readonly mean: Float64Array;
  readonly variance: Float64Array;
}

function batchNormCheck(training: boolean, layout: Layout): Check {
  const facts = { operation: `batch norm, ${training ? 'training' : 'by running averages'}`, layout };
  return {
    ...facts,
    problem: `[${SHAPE}]`,
    run: (place, tell) => {
      const x = input(place, SHAPE, 1, { low: 1, high: 3, layout });
      const [weight, bias] = [input(place, [3], 2, { low: 0.5, high: 2 }), input(place, [3], 3)];
      const [mean, variance] = [input(place, [3], 4), input(place, [3], 5, { low: 0.5, high: 2 })];
      const gy = input(place, SHAPE, 6, { layout });
      const exact = normalised({ x, weight, bias, mean, variance, gy, training });
      const [runningMean, runningVar] = [mean.tensor.detach(), variance.tensor.detach()];
      const own = { weight: weight.tensor, bias: bias.tensor, training, momentum: MOMENTUM, eps: EPS };
      const y = batchNorm(x.tensor, runningMean, runningVar, own);
      const forward = lastKernel();
      y.backward(gy.tensor.detach());
      const backward = lastKernel();
      const report = (part: string, kernel: string, value: Tensor, wanted: Float64Array, size: number): void => {
        const allowed = afterRoundings({ dtype: place.dtype, stored: 2, computed: COMPUTED, size: () => size });
        const result = { shape: value.shape, got: value.dataSync(), exact: wanted, allowed };
        tell({ ...facts, problem: `[${SHAPE}], ${part}`, kernel, ...result });
      };
      report('output', forward, y, exact.y, 4);
      report('gradient of the input', backward, x.tensor.grad!, exact.gx, 8);
      report('gradient of the weight', backward, weight.tensor.grad!, exact.gw, 40);
      report('gradient of the bias', backward, bias.tensor.grad!, exact.gb, 40);
      if (!training) return;
      report('running mean', forward, runningMean, exact.mean, 3);
      report('running variance', forward, runningVar, exact.variance, 2);
    },
  };
}

type Operands = Readonly<Record<'x' | 'weight' | 'bias' | 'mean' | 'variance' | 'gy', Input>> & {
  readonly training: boolean;
};

function normalised({ training, ...inputs }: Operands): Normalised {
  const { x, weight, bias, mean, variance, gy } = Object.fromEntries(
    Object.entries(inputs).map(([name, each]) => [name, each.values]),
  ) as Readonly<Record<Exclude<keyof Operands, 'training'>, Float64Array>>;
  const [plane, channels] = [SHAPE[2] * SHAPE[3], SHAPE[1]];
  const count = SHAPE[0] * plane;
  const channel = (i: number): number => Math.floor(i / plane) % channels;
  const perChannel = (f: (i: number) => number): Float64Array => {
    const sums = new Float64Array(channels);
    for (let i = 0; i < count * channels; i++) sums[channel(i)]! += f(i);
    return sums;
  };
  const batchMean = perChannel((i) => x[i]!).map((sum) => sum / count);
  const batchVariance = perChannel((i) => (x[i]! - batchMean[channel(i)]!) ** 2).map((sum) => sum / count);
  const center = training ? batchMean : mean;
  const scale = (training ? batchVariance : variance).map((value) => 1 / Math.sqrt(value + EPS));
  const hat = x.map((value, i) => (value - center[channel(i)]!) * scale[channel(i)]!);
  const gb = perChannel((i) => gy[i]!);
  const gw = perChannel((i) => gy[i]! * hat[i]!);
  const spread = (i: number): number =>
    training ? gy[i]! - gb[channel(i)]! / count - (hat[i]! * gw[channel(i)]!) / count : gy[i]!;
  const mixed = (old: Float64Array, fresh: Float64Array, factor: number): Float64Array =>
    old.map((value, c) => (1 - MOMENTUM) * value + MOMENTUM * factor * fresh[c]!);
  return {
    y: hat.map((value, i) => value * weight[channel(i)]! + bias[channel(i)]!),
    gx: x.map((_, i) => weight[channel(i)]! * scale[channel(i)]! * spread(i)),
    ...{ gw, gb },
    mean: mixed(mean, batchMean, 1),
    variance: mixed(variance, batchVariance, count / (count - 1)),
  };
}

interface Loss {
  readonly name: string;
  readonly loss: (x: Tensor, target: Tensor, options: { reduction: 'mean' | 'sum' | 'none' }) => Tensor;
  readonly value: (x: number, t: number) => number;
  readonly slope: (x: number, t: number) => number;
  /** Whether targets are probabilities. */
  readonly targets: readonly [low: number, high: number];
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

const LOSS_TABLE: readonly Loss[] = [
  { name: 'mse', loss: mseLoss, value: (x, t) => (x - t) ** 2, slope: (x, t) => 2 * (x - t), targets: [-2, 2] },
  { name: 'l1', loss: l1Loss, value: (x, t) => Math.abs(x - t), slope: (x, t) => Math.sign(x - t), targets: [-2, 2] },
  {
    name: 'bce with logits',
    loss: binaryCrossEntropyWithLogits,
    value: (x, t) => Math.max(x, 0) - x * t + Math.log1p(Math.exp(-Math.abs(x))),
    slope: (x, t) => sigmoid(x) - t,
    targets: [0, 1],
  },
];

export const LOSSES: readonly Check[] = LOSS_TABLE.flatMap((row) =>
  (['mean', 'sum', 'none'] as const).map((reduction): Check => {
    const facts = { operation: `${row.name} loss`, layout: null };
    return {
      ...facts,
      problem: reduction,
      run: (place, tell) => lossResults(row, reduction, place, (part) => tell({ ...facts, ...part })),
    };
  }),
);

type Part = Omit<Result, 'operation' | 'layout'>;

function lossResults(row: Loss, reduction: 'mean' | 'sum' | 'none', place: Place, tell: (part: Part) => void): void {
  const shape = [3, 4, 5];
  const x = input(place, shape, 8, { low: -2, high: 2 });
  const target = input(place, shape, 9, { low: row.targets[0], high: row.targets[1] });
  const losses = x.values.map((value, i) => row.value(value, target.values[i]!));
  const total = losses.reduce((a, b) => a + b, 0);
  const value = row.loss(x.tensor, target.tensor.detach(), { reduction });
  const kernel = lastKernel();
  const exact = { mean: [total / losses.length], sum: [total], none: losses }[reduction];
  // Losses are stored before they are summed, and the sum before it is divided.
  const allowed = afterRoundings({ dtype: place.dtype, stored: 4, computed: 80, size: (i) => Math.abs(exact[i]!) + 1 });
  tell({ problem: `${reduction}, value`, kernel, shape: value.shape, got: value.dataSync(), exact, allowed });
  const factor = roundAll(place.dtype, [0.75])[0]!;
  const { device, dtype } = place;
  value.backward(tensor(new Float64Array(value.numel()).fill(factor), { shape: [...value.shape], device, dtype }));
  const scale = factor / (reduction === 'mean' ? losses.length : 1);
  const slopes = x.values.map((v, i) => row.slope(v, target.values[i]!) * scale);
  const bound = afterRoundings({ dtype, stored: 4, computed: 20, size: () => 4 * scale });
  const got = x.tensor.grad!.dataSync();
  tell({ problem: `${reduction}, gradient`, kernel: lastKernel(), shape, got, exact: slopes, allowed: bound });
}
