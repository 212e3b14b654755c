/**
 * ConvTranspose2d, the fractionally strided convolution (torch.nn.functional.conv_transpose2d):
 *
 *   y[n, G·Cout/g + o, i·sh − ph + a·dh, j·sw − pw + b·dw] += x[n, G·Cin/g + c, i, j] · W[G·Cin/g + c, o, a, b]
 *
 * plus bias, with Hout = (H − 1)·sh − 2·ph + dh·(R − 1) + outputPadding + 1. It is the form's `expand`: x is the small
 * side, y the large one, and outputPadding only makes the large side longer.
 */

import { type Pair, transposedOutputSize } from '../../codegen/problem.js';
import { checkSize, fail, pickOptions } from '../checks.js';
import { shapeOf, type Tensor, tidy } from '../tensor.js';
import { expand } from './contractions.js';
import {
  batched,
  checkBias,
  checkChannels,
  checkDtypes,
  checkFused,
  checkGroups,
  checkKernel,
  checkLow,
  checkOperands,
  checkRanks,
  checkSpatial,
  type FusedOptions,
  type IntOrPair,
  isEmptyBatch,
  isPlain,
  type Operands,
  readPair,
} from './conv_checks.js';
import { squeeze } from './views.js';

const WHERE = 'convTranspose2d';
const OPTIONS = ['stride', 'padding', 'outputPadding', 'groups', 'dilation', 'activation', 'negativeSlope'] as const;

export interface ConvTranspose2dOptions extends FusedOptions {
  /** Step of the output between neighbouring inputs. Default 1. */
  stride?: IntOrPair;
  /** Rows and columns cut off on both sides. Default 0. */
  padding?: IntOrPair;
  /** Rows and columns added at the bottom and right, smaller than stride or dilation. Default 0. */
  outputPadding?: IntOrPair;
  /** Default 1. */
  groups?: number;
  /** Step between taps of the kernel. Default 1. */
  dilation?: IntOrPair;
}

/**
 * A 2-D transposed convolution.
 *
 * @param input (N, Cin, H, W) or (Cin, H, W)
 * @param weight (Cin, Cout / groups, R, S)
 * @param bias (Cout) or none
 * @returns (N, Cout, Hout, Wout), or without N as the input; channels last in memory when the input is
 * @throws FracstrideError ERR_ARGUMENT, ERR_SHAPE, ERR_DTYPE, ERR_DEVICE_MISMATCH, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function convTranspose2d(
  input: Tensor,
  weight: Tensor,
  bias?: Tensor | null,
  settings?: ConvTranspose2dOptions,
): Tensor {
  const operands = checkOperands(WHERE, input, weight, bias);
  const a = readArguments(settings);
  const size = outputSize(operands, a);
  return isPlain(operands) ? run(checkDtypes(WHERE, operands), a, size) : tidy(() => runAny(operands, a, size));
}

/** Without a batch, or with an empty one: with views and casts around the operation. */
function runAny(operands: Operands, a: Arguments, size: Pair): Tensor {
  const { x, weight, bias } = checkDtypes(WHERE, operands);
  const large = run({ x: batched(x), weight, bias }, a, size);
  return x.ndim === 3 ? squeeze(large, 0) : large;
}

function run({ x, weight, bias }: Operands, a: Arguments, size: Pair): Tensor {
  const { 0: n, 1: cs, 2: hs, 3: ws } = shapeOf(x) as readonly [number, number, number, number];
  const { 1: per, 2: r, 3: s } = shapeOf(weight) as readonly [number, number, number, number];
  const { stride, padding, dilation, groups } = a;
  const { 0: hl, 1: wl } = size;
  const cl = per * groups;
  checkSize(WHERE, [n, cl, hl, wl], x.dtype);
  const geometry = { n, cs, hs, ws, cl, hl, wl, r, s, stride, padding, dilation, groups };
  return expand({ geometry, layout: x.layout }, x, weight, { bias, activation: a.activation, slope: a.slope });
}

type Arguments = ReturnType<typeof readArguments>;

function readArguments(settings: unknown) {
  const found = pickOptions(WHERE, settings, OPTIONS, (from) => ({
    stride: from.stride,
    padding: from.padding,
    outputPadding: from.outputPadding,
    groups: from.groups,
    dilation: from.dilation,
    activation: from.activation,
    negativeSlope: from.negativeSlope,
  }));
  const groups = checkGroups(WHERE, found.groups);
  const stride = readPair(WHERE, 'stride', found.stride, 1);
  const padding = readPair(WHERE, 'padding', found.padding, 0);
  const outputPadding = readPair(WHERE, 'outputPadding', found.outputPadding, 0);
  const dilation = readPair(WHERE, 'dilation', found.dilation, 1);
  checkLow(WHERE, 'padding', padding, 0);
  checkLow(WHERE, 'outputPadding', outputPadding, 0);
  checkLow(WHERE, 'stride', stride, 1);
  checkLow(WHERE, 'dilation', dilation, 1);
  const { activation, slope } = checkFused(WHERE, found);
  return { groups, stride, padding, outputPadding, dilation, activation, slope };
}

function outputSize(operands: Operands, a: Arguments): Pair {
  const { x, weight, bias } = operands;
  checkRanks(WHERE, operands, a.groups);
  checkChannels(WHERE, x, shapeOf(weight)[0]!, a.groups);
  checkBias(WHERE, bias, shapeOf(weight)[1]! * a.groups);
  checkKernel(WHERE, weight);
  const emptyBatch = isEmptyBatch(x);
  if (!emptyBatch) {
    checkSpatial(WHERE, x);
    checkOutputPadding(a);
    if (shapeOf(weight)[1] === 0) fail('ERR_SHAPE', WHERE, 'weight', 'non-empty', shapeOf(weight));
  }
  const size: Pair = [axisSize(x, weight, a, 0), axisSize(x, weight, a, 1)];
  // An empty batch may also be empty in its rows and columns.
  const least = emptyBatch ? 0 : 1;
  if (size[0] >= least && size[1] >= least) return size;
  const from = shapeOf(x).slice(-2).join(' x ');
  fail('ERR_SHAPE', WHERE, 'output size', `at least ${least} x ${least} for an input of ${from}`, size);
}

function axisSize(x: Tensor, weight: Tensor, a: Arguments, axis: 0 | 1): number {
  return transposedOutputSize({
    size: shapeOf(x)[x.ndim - 2 + axis]!,
    kernel: shapeOf(weight)[2 + axis]!,
    stride: a.stride[axis],
    padding: a.padding[axis],
    outputPadding: a.outputPadding[axis],
    dilation: a.dilation[axis],
  });
}

function checkOutputPadding(a: Arguments): void {
  const { outputPadding, stride, dilation } = a;
  const fits = (axis: 0 | 1): boolean => outputPadding[axis] < Math.max(stride[axis], dilation[axis]);
  if (fits(0) && fits(1)) return;
  const rule = `smaller than stride [${stride}] or dilation [${dilation}] in each dimension`;
  fail('ERR_ARGUMENT', WHERE, 'outputPadding', rule, outputPadding);
}
