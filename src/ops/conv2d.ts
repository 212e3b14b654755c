/**
 * Conv2d, cross-correlation (torch.nn.functional.conv2d):
 *
 *   y[n, G·Cout/g + o, i, j] = Σ x[n, G·Cin/g + c, i·sh − ph + a·dh, j·sw − pw + b·dw] · W[G·Cout/g + o, c, a, b]
 *
 * plus bias, with Hout = ⌊(H + 2·ph − dh·(R − 1) − 1) / sh⌋ + 1. It is the form's `contract`: x is the large side, y the
 * small one, and one-sided padding needs no term, since the sizes of both sides are explicit.
 */

import { convolvedOutputSize, type Pair } from '../../codegen/problem.js';
import { checkSize, fail, options } from '../checks.js';
import { fillWith } from '../fill.js';
import { allocateTensor, record, Tensor, tidy } from '../tensor.js';
import { contract } from './contractions.js';
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
  type Operands,
  readPair,
} from './conv_checks.js';
import { squeeze } from './views.js';

const WHERE = 'conv2d';

export interface Conv2dOptions extends FusedOptions {
  /** Step of the window. Default 1. */
  stride?: IntOrPair;
  /** Zeros on both sides; 'same' keeps the size (stride 1 only, an odd rest goes right and bottom), 'valid' is 0. Default 0. */
  padding?: IntOrPair | 'same' | 'valid';
  /** Step between taps of the kernel. Default 1. */
  dilation?: IntOrPair;
  /** Default 1. */
  groups?: number;
}

/**
 * A 2-D convolution.
 *
 * @param input (N, Cin, H, W) or (Cin, H, W)
 * @param weight (Cout, Cin / groups, R, S)
 * @param bias (Cout) or none
 * @returns (N, Cout, Hout, Wout), or without N as the input; channels last in memory when the input is
 * @throws FracstrideError ERR_ARGUMENT, ERR_SHAPE, ERR_DTYPE, ERR_DEVICE_MISMATCH, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function conv2d(input: Tensor, weight: Tensor, bias?: Tensor | null, settings?: Conv2dOptions): Tensor {
  const operands = checkOperands(WHERE, input, weight, bias);
  const a = readArguments(settings);
  const { before, size } = outputSize(operands, a);
  return tidy(() => {
    const { x, weight: w, bias: b } = checkDtypes(WHERE, operands);
    const large = batched(x);
    const [n, cl, hl, wl] = large.shape as readonly [number, number, number, number];
    const cs = w.shape[0]!;
    checkSize(WHERE, [n, cs, ...size], large.dtype);
    const { stride, dilation, groups } = a;
    const sizes = { n, cs, hs: size[0], ws: size[1], cl, hl, wl, r: w.shape[2]!, s: w.shape[3]! };
    const form = { geometry: { ...sizes, stride, padding: before, dilation, groups }, layout: large.layout };
    const small =
      cl === 0 ? noChannels(large, [n, 0, ...size], { w, b }) : contract(form, large, w, { bias: b, ...a.fused });
    return x.ndim === 3 ? squeeze(small, 0) : small;
  });
}

type Arguments = ReturnType<typeof readArguments>;

function readArguments(settings: unknown) {
  const found = options(WHERE, settings, ['stride', 'padding', 'dilation', 'groups', 'activation', 'negativeSlope']);
  const groups = checkGroups(WHERE, found.groups);
  const stride = readPair(WHERE, 'stride', found.stride, 1);
  const dilation = readPair(WHERE, 'dilation', found.dilation, 1);
  const padding = readPadding(found.padding, stride);
  if (padding !== 'same') checkLow(WHERE, 'padding', padding, 0);
  checkLow(WHERE, 'stride', stride, 1);
  checkLow(WHERE, 'dilation', dilation, 1);
  return { groups, stride, padding, dilation, fused: checkFused(WHERE, found) };
}

function readPadding(value: unknown, stride: Pair): Pair | 'same' {
  if (typeof value !== 'string') return readPair(WHERE, 'padding', value, 0);
  if (value === 'valid') return [0, 0];
  if (value !== 'same') fail('ERR_ARGUMENT', WHERE, 'padding', "integers, 'same' or 'valid'", value);
  if (stride[0] !== 1 || stride[1] !== 1) fail('ERR_ARGUMENT', WHERE, "stride for padding 'same'", '1', stride);
  return value;
}

/** Padding before the first row and column, and the size of the output. */
function outputSize(operands: Operands, a: Arguments): { before: Pair; size: Pair } {
  const { x, weight, bias } = operands;
  checkRanks(WHERE, operands, a.groups);
  checkChannels(WHERE, x, weight.shape[1]! * a.groups, a.groups);
  checkBias(WHERE, bias, weight.shape[0]!);
  checkKernel(WHERE, weight);
  const spans = [0, 1].map((i) => a.dilation[i]! * (weight.shape[2 + i]! - 1));
  const before = a.padding === 'same' ? spans.map((span) => Math.floor(span / 2)) : [...a.padding];
  const totals = a.padding === 'same' ? spans : before.map((padding) => 2 * padding);
  const padded = [0, 1].map((i) => x.shape.at(i - 2)! + totals[i]!);
  if (spans.some((span, i) => span + 1 > padded[i]!)) {
    const kernel = spans.map((span) => span + 1).join(' x ');
    fail('ERR_SHAPE', WHERE, 'kernel size', `at most the padded input, ${padded.join(' x ')}`, kernel);
  }
  if (!(x.ndim === 4 && x.shape[0] === 0)) checkSpatial(WHERE, x);
  const size = [0, 1].map((i) => {
    const axis = { size: x.shape.at(i - 2)!, kernel: weight.shape[2 + i]!, stride: a.stride[i]! };
    return convolvedOutputSize({ ...axis, padding: totals[i]!, dilation: a.dilation[i]! });
  });
  return { before: before as unknown as Pair, size: size as unknown as Pair };
}

/** PyTorch's result for an input without channels has none either; nothing depends on the weights. */
function noChannels(large: Tensor, shape: readonly number[], a: { w: Tensor; b: Tensor | null }): Tensor {
  const { dtype, storage } = Tensor.window(large);
  const inputs = a.b === null ? [large, a.w] : [large, a.w, a.b];
  const shapes = inputs.map((input) => input.shape);
  const zero = (of: readonly number[]): Tensor => {
    const out = allocateTensor({ shape: of, dtype, device: storage.device });
    fillWith('fill', out, [0]);
    return out;
  };
  return record(zero(shape), { name: 'conv2d', inputs, backward: () => shapes.map(zero) });
}
