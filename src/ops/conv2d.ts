/**
 * Conv2d, cross-correlation (torch.nn.functional.conv2d):
 *
 *   y[n, G·Cout/g + o, i, j] = Σ x[n, G·Cin/g + c, i·sh − ph + a·dh, j·sw − pw + b·dw] · W[G·Cout/g + o, c, a, b]
 *
 * plus bias, with Hout = ⌊(H + 2·ph − dh·(R − 1) − 1) / sh⌋ + 1. It is the form's `contract`: x is the large side, y the
 * small one, and one-sided padding needs no term, since the sizes of both sides are explicit.
 */

import { convolvedOutputSize, type Pair } from '../../codegen/problem.js';
import { checkSize, fail, pickOptions } from '../checks.js';
import { fillWith } from '../fill.js';
import { allocateTensor, record, shapeOf, Tensor, tidy } from '../tensor.js';
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
  isEmptyBatch,
  isPlain,
  type Operands,
  readPair,
} from './conv_checks.js';
import { squeeze } from './views.js';

const WHERE = 'conv2d';
const OPTIONS = ['stride', 'padding', 'dilation', 'groups', 'activation', 'negativeSlope'] as const;

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
  const sides = outputSize(operands, a);
  return isPlain(operands) ? run(checkDtypes(WHERE, operands), a, sides) : tidy(() => runAny(operands, a, sides));
}

/** Without a batch, or with an empty one: with views and casts around the operation. */
function runAny(operands: Operands, a: Arguments, sides: Sides): Tensor {
  const { x, weight, bias } = checkDtypes(WHERE, operands);
  const small = run({ x: batched(x), weight, bias }, a, sides);
  return x.ndim === 3 ? squeeze(small, 0) : small;
}

function run({ x, weight, bias }: Operands, a: Arguments, { before, size }: Sides): Tensor {
  const { 0: n, 1: cl, 2: hl, 3: wl } = shapeOf(x) as readonly [number, number, number, number];
  const { 0: cs, 2: r, 3: s } = shapeOf(weight) as readonly [number, number, number, number];
  const { stride, dilation, groups } = a;
  const { 0: hs, 1: ws } = size;
  checkSize(WHERE, [n, cs, hs, ws], x.dtype);
  const geometry = { n, cs, hs, ws, cl, hl, wl, r, s, stride, padding: before, dilation, groups };
  if (cl === 0) return noChannels(x, [n, 0, hs, ws], { w: weight, b: bias });
  return contract({ geometry, layout: x.layout }, x, weight, { bias, activation: a.activation, slope: a.slope });
}

type Arguments = ReturnType<typeof readArguments>;

function readArguments(settings: unknown) {
  const found = pickOptions(WHERE, settings, OPTIONS, (from) => ({
    stride: from.stride,
    padding: from.padding,
    dilation: from.dilation,
    groups: from.groups,
    activation: from.activation,
    negativeSlope: from.negativeSlope,
  }));
  const groups = checkGroups(WHERE, found.groups);
  const stride = readPair(WHERE, 'stride', found.stride, 1);
  const dilation = readPair(WHERE, 'dilation', found.dilation, 1);
  const padding = readPadding(found.padding, stride);
  if (padding !== 'same') checkLow(WHERE, 'padding', padding, 0);
  checkLow(WHERE, 'stride', stride, 1);
  checkLow(WHERE, 'dilation', dilation, 1);
  const { activation, slope } = checkFused(WHERE, found);
  return { groups, stride, padding, dilation, activation, slope };
}

function readPadding(value: unknown, stride: Pair): Pair | 'same' {
  if (typeof value !== 'string') return readPair(WHERE, 'padding', value, 0);
  if (value === 'valid') return [0, 0];
  if (value !== 'same') fail('ERR_ARGUMENT', WHERE, 'padding', "integers, 'same' or 'valid'", value);
  if (stride[0] !== 1 || stride[1] !== 1) fail('ERR_ARGUMENT', WHERE, "stride for padding 'same'", '1', stride);
  return value;
}

/** Padding before the first row and column, and the size of the output. */
interface Sides {
  readonly before: Pair;
  readonly size: Pair;
}

function outputSize(operands: Operands, a: Arguments): Sides {
  const { x, weight, bias } = operands;
  checkRanks(WHERE, operands, a.groups);
  checkChannels(WHERE, x, shapeOf(weight)[1]! * a.groups, a.groups);
  checkBias(WHERE, bias, shapeOf(weight)[0]!);
  checkKernel(WHERE, weight);
  const [rows, columns] = [readAxis(x, weight, a, 0), readAxis(x, weight, a, 1)];
  if (rows.span >= rows.size + rows.padding || columns.span >= columns.size + columns.padding) {
    const padded = `${rows.size + rows.padding} x ${columns.size + columns.padding}`;
    const kernel = `${rows.span + 1} x ${columns.span + 1}`;
    fail('ERR_SHAPE', WHERE, 'kernel size', `at most the padded input, ${padded}`, kernel);
  }
  if (!isEmptyBatch(x)) checkSpatial(WHERE, x);
  return { before: [rows.before, columns.before], size: [convolvedOutputSize(rows), convolvedOutputSize(columns)] };
}

/** One dimension: its sizes, `padding` on both sides together, and `span`, from the first to the last tap. */
function readAxis(x: Tensor, weight: Tensor, a: Arguments, axis: 0 | 1) {
  const size = shapeOf(x)[x.ndim - 2 + axis]!;
  const kernel = shapeOf(weight)[2 + axis]!;
  const dilation = a.dilation[axis];
  const span = dilation * (kernel - 1);
  const before = a.padding === 'same' ? Math.floor(span / 2) : a.padding[axis];
  const padding = a.padding === 'same' ? span : 2 * before;
  return { size, kernel, stride: a.stride[axis], dilation, span, before, padding };
}

/** PyTorch's result for an input without channels has none either; nothing depends on the weights. */
function noChannels(large: Tensor, shape: readonly number[], a: { w: Tensor; b: Tensor | null }): Tensor {
  const { dtype, storage } = Tensor.window(large);
  const inputs = a.b === null ? [large, a.w] : [large, a.w, a.b];
  const shapes = inputs.map((input) => shapeOf(input));
  const zero = (of: readonly number[]): Tensor => {
    const out = allocateTensor({ shape: of, dtype, device: storage.device });
    fillWith('fill', out, [0]);
    return out;
  };
  return record(zero(shape), { name: 'conv2d', inputs, backward: () => shapes.map(zero) });
}
