/** Operations on tensors as functions, as torch.nn.functional has them: arguments after the tensors go into one object. */

import { checkArray, checkTensor, checkWord, fail, options } from '../checks.js';
import { full } from '../create.js';
import { checkBias } from '../ops/conv_checks.js';
import { convTranspose2d } from '../ops/conv_transpose2d.js';
import { conv2d } from '../ops/conv2d.js';
import { add, mul, sub } from '../ops/elementwise.js';
import { checkTarget, type Distance, distance, totalDistance } from '../ops/losses.js';
import { PAD_MODES, type PadMode, pad as padSides } from '../ops/pad.js';
import { mean } from '../ops/reduce.js';
import { sum } from '../ops/sum.js';
import { reshape } from '../ops/views.js';
import { type Tensor, tidy } from '../tensor.js';
import { COUNT, checkRule, REDUCTIONS, type Reduction } from './arguments.js';

export { leakyRelu, relu, sigmoid, tanh } from '../ops/elementwise.js';
export { type BatchNormOptions, batchNorm } from './batch_norm.js';
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
  return loss('mseLoss', 'sq_diff', { input, target, reduction });
}

/** |input − target|; both of one shape. */
export function l1Loss(input: Tensor, target: Tensor, settings?: LossOptions): Tensor {
  const { reduction } = options('l1Loss', settings, ['reduction']);
  checkTarget('l1Loss', input, target);
  return loss('l1Loss', 'abs_diff', { input, target, reduction });
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
  if (weight === null && positive === null)
    return loss(where, 'bce_logits', { input, target, reduction: found.reduction });
  return tidy(() => {
    const plain = positive === null ? bceWithLogits(input, target) : weightedBce(input, target, positive);
    return reduceLoss(where, weight === null ? plain : mul(plain, weight), found.reduction);
  });
}

/** x·Wᵀ + b for x (…, in), W (out, in), b (out): a convolution over one pixel. */
export function linear(input: Tensor, weight: Tensor, bias: Tensor | null = null): Tensor {
  const { shape } = checkTensor('linear', 'input', input);
  const [out, width] = checkTensor('linear', 'weight', weight).shape;
  if (weight.ndim !== 2 || shape.length === 0 || shape.at(-1) !== width) {
    fail('ERR_SHAPE', 'linear', 'input and weight', 'of shapes [..., in] and [out, in]', [shape, weight.shape]);
  }
  if (width === 0) return tidy(() => emptySum(input, weight, bias));
  const rows = input.numel() / width!;
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

/** What is left of x·Wᵀ + b where x has no features: zeros, and the bias. */
function emptySum(input: Tensor, weight: Tensor, bias: Tensor | null): Tensor {
  checkBias('linear', bias === null ? null : checkTensor('linear', 'bias', bias), weight.shape[0]!);
  const zeros = mul(sum(input, { dim: -1, keepdim: true }), sum(weight, { dim: -1 }));
  return bias === null ? zeros : add(zeros, bias);
}

const bceWithLogits = (x: Tensor, target: Tensor): Tensor => distance('bce_logits', x, target);

/** Of input and target that were checked. */
function loss(where: string, name: Distance, a: { input: Tensor; target: Tensor; reduction: unknown }): Tensor {
  const { input, target } = a;
  const how = checkWord(where, 'reduction', a.reduction ?? 'mean', REDUCTIONS);
  if (how === 'none') return distance(name, input, target);
  return totalDistance(name, input, target, how === 'mean' ? input.numel() : 1);
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
