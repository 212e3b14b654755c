/** Operations on tensors as functions, as torch.nn.functional has them: arguments after the tensors go into one object. */

import {
  checkArray,
  checkBoolean,
  checkSameDevice,
  checkSameDtype,
  checkTensor,
  checkWord,
  fail,
  options,
} from '../checks.js';
import { full } from '../create.js';
import { normalise } from '../ops/batch_norm.js';
import { convTranspose2d } from '../ops/conv_transpose2d.js';
import { conv2d } from '../ops/conv2d.js';
import { add, bceWithLogits, mul, sub } from '../ops/elementwise.js';
import { absoluteDifference, checkTarget, squaredDifference } from '../ops/losses.js';
import { PAD_MODES, type PadMode, pad as padSides } from '../ops/pad.js';
import { mean } from '../ops/reduce.js';
import { sum } from '../ops/sum.js';
import { reshape } from '../ops/views.js';
import { type Tensor, tidy } from '../tensor.js';
import { COUNT, checkRule, FINITE, NOT_NEGATIVE, REDUCTIONS, type Reduction } from './arguments.js';
import { updateRunning } from './running.js';

export { leakyRelu, relu, sigmoid, tanh } from '../ops/elementwise.js';
export type { Reduction };
export { conv2d, convTranspose2d };

export interface LossOptions {
  /** What is made of the elements' losses. Default 'mean'. */
  readonly reduction?: Reduction;
}

/** (input − target)²; both of one shape. @throws FracstrideError ERR_SHAPE and what operations throw */
export function mseLoss(input: Tensor, target: Tensor, settings?: LossOptions): Tensor {
  const { reduction } = options('mseLoss', settings, ['reduction']);
  checkTarget('mseLoss', input, target);
  return tidy(() => reduceLoss('mseLoss', squaredDifference(input, target), reduction));
}

/** |input − target|; both of one shape. */
export function l1Loss(input: Tensor, target: Tensor, settings?: LossOptions): Tensor {
  const { reduction } = options('l1Loss', settings, ['reduction']);
  checkTarget('l1Loss', input, target);
  return tidy(() => reduceLoss('l1Loss', absoluteDifference(input, target), reduction));
}

export interface BCEOptions extends LossOptions {
  /** Factor of each element's loss; broadcast. */
  readonly weight?: Tensor | null;
  /** Factor of the positive term (recall against precision); broadcast. */
  readonly posWeight?: Tensor | null;
}

/**
 * −w·[p·t·log σ(x) + (1 − t)·log(1 − σ(x))] of a logit x and a target t in [0, 1], computed without overflow.
 */
export function binaryCrossEntropyWithLogits(input: Tensor, target: Tensor, settings?: BCEOptions): Tensor {
  const where = 'binaryCrossEntropyWithLogits';
  const found = options(where, settings, ['weight', 'posWeight', 'reduction']);
  checkTarget(where, input, target);
  const weight = found.weight == null ? null : checkTensor(where, 'weight', found.weight);
  const positive = found.posWeight == null ? null : checkTensor(where, 'posWeight', found.posWeight);
  return tidy(() => {
    const plain = positive === null ? bceWithLogits(input, target) : weightedBce(input, target, positive);
    return reduceLoss(where, weight === null ? plain : mul(plain, weight), found.reduction);
  });
}

export interface BatchNormOptions {
  readonly weight?: Tensor | null;
  readonly bias?: Tensor | null;
  /** Use the batch's own statistics, and update the running ones. Default false. */
  readonly training?: boolean;
  /** Share of the batch in the running statistics. Default 0.1. */
  readonly momentum?: number;
  /** Default 1e-5. */
  readonly eps?: number;
}

/**
 * Batch normalisation of (N, C, …). While training, `runningMean` and `runningVar` (of C elements, or null) are updated
 * in place, the variance in its unbiased form; otherwise they are what is normalised by.
 *
 * @throws FracstrideError ERR_SHAPE, ERR_DTYPE, ERR_DEVICE_MISMATCH, ERR_ARGUMENT
 */
export function batchNorm(
  input: Tensor,
  runningMean: Tensor | null,
  runningVar: Tensor | null,
  settings?: BatchNormOptions,
): Tensor {
  const where = 'batchNorm';
  const found = options(where, settings, ['weight', 'bias', 'training', 'momentum', 'eps']);
  const training = checkBoolean(where, 'training', found.training, false);
  const eps = checkRule(where, 'eps', found.eps ?? 1e-5, NOT_NEGATIVE);
  const momentum = checkRule(where, 'momentum', found.momentum ?? 0.1, FINITE);
  const stats = checkChannels(where, input, { runningMean, runningVar, weight: found.weight, bias: found.bias });
  const { runningMean: mean, runningVar: variance, weight, bias } = stats;
  if (!training && (mean === null || variance === null)) {
    fail('ERR_ARGUMENT', where, 'runningMean and runningVar', 'tensors where training is false', null);
  }
  const count = input.shape[1] === 0 ? 0 : input.numel() / input.shape[1]!;
  if (training && count === 1)
    fail('ERR_SHAPE', where, 'input', 'of more than 1 value per channel when training', input.shape);
  const running = training ? null : { mean: mean!, variance: variance! };
  const observe = (batchMean: Tensor, batchVariance: Tensor): void => {
    if (count === 0) return;
    if (mean !== null) updateRunning(mean, batchMean, { momentum, factor: 1 });
    if (variance !== null) updateRunning(variance, batchVariance, { momentum, factor: count / (count - 1) });
  };
  return normalise(input, { running, weight, bias, eps, observe });
}

/** x·Wᵀ + b for x (…, in), W (out, in), b (out): a convolution over one pixel. */
export function linear(input: Tensor, weight: Tensor, bias: Tensor | null = null): Tensor {
  const { shape } = checkTensor('linear', 'input', input);
  const [out, width] = checkTensor('linear', 'weight', weight).shape;
  if (weight.ndim !== 2 || shape.length === 0 || shape.at(-1) !== width) {
    fail('ERR_SHAPE', 'linear', 'input and weight', 'of shapes [..., in] and [out, in]', [shape, weight.shape]);
  }
  const rows = width === 0 ? shape.slice(0, -1).reduce((a, b) => a * b, 1) : input.numel() / width!;
  return tidy(() => {
    const y = conv2d(reshape(input, [rows, width!, 1, 1]), reshape(weight, [out!, width!, 1, 1]), bias);
    return reshape(y, [...shape.slice(0, -1), out!]);
  });
}

export interface PadOptions {
  /** Default 'constant': zeros. */
  readonly mode?: PadMode;
}

/** Rows and columns added to (…, H, W): `[left, right]` or `[left, right, top, bottom]`, each ≥ 0. */
export function pad(input: Tensor, amounts: readonly number[], settings?: PadOptions): Tensor {
  const { mode = 'constant' } = options('pad', settings, ['mode']);
  checkTensor('pad', 'input', input);
  const given = checkArray('pad', 'amounts', amounts);
  if (given.length !== 2 && given.length !== 4) {
    fail('ERR_ARGUMENT', 'pad', 'amounts', '[left, right] or [left, right, top, bottom]', given);
  }
  const [left, right, top, bottom] = [0, 1, 2, 3].map((i) => checkRule('pad', 'amounts', given[i] ?? 0, COUNT));
  if (input.ndim < 2) fail('ERR_SHAPE', 'pad', 'input', 'of at least 2 dimensions', input.shape);
  const sides = { left: left!, right: right!, top: top!, bottom: bottom! };
  return padSides(input, sides, checkWord('pad', 'mode', mode, PAD_MODES));
}

function reduceLoss(where: string, losses: Tensor, reduction: unknown): Tensor {
  const how = checkWord(where, 'reduction', reduction ?? 'mean', REDUCTIONS);
  return how === 'none' ? losses : how === 'sum' ? sum(losses) : mean(losses);
}

/** (1 − t)·x + (1 + (p − 1)·t)·log(1 + e⁻ˣ); the last factor is the plain loss for the target 1. */
function weightedBce(x: Tensor, target: Tensor, positive: Tensor): Tensor {
  const one = full([], 1, { dtype: x.dtype, device: x.device });
  const factor = add(mul(sub(positive, 1), target), 1);
  return add(mul(sub(1, target), x), mul(factor, bceWithLogits(x, one)));
}

type ChannelNames = 'runningMean' | 'runningVar' | 'weight' | 'bias';

/** Tensors of one value a channel, or null; of the input's dtype and device. */
function checkChannels(
  where: string,
  input: Tensor,
  values: Readonly<Record<ChannelNames, unknown>>,
): Record<ChannelNames, Tensor | null> {
  const { shape } = checkTensor(where, 'input', input);
  if (shape.length < 2) fail('ERR_SHAPE', where, 'input', 'of shape [N, C, ...]', shape);
  const checked = Object.entries(values).map(([name, value]) => {
    if (value === null || value === undefined) return [name, null] as const;
    const found = checkTensor(where, name, value);
    if (found.ndim !== 1 || found.shape[0] !== shape[1]) {
      fail('ERR_SHAPE', where, name, `of ${shape[1]} elements, one a channel`, found.shape);
    }
    checkSameDevice(where, [input, found]);
    checkSameDtype(where, [input, found]);
    return [name, found] as const;
  });
  return Object.fromEntries(checked) as Record<ChannelNames, Tensor | null>;
}
