/**
 * ConvTranspose2d, the fractionally strided convolution (torch.nn.functional.conv_transpose2d):
 *
 *   y[n, G·Cout/g + o, i·sh − ph + a·dh, j·sw − pw + b·dw] += x[n, G·Cin/g + c, i, j] · W[G·Cin/g + c, o, a, b]
 *
 * plus bias, with Hout = (H − 1)·sh − 2·ph + dh·(R − 1) + outputPadding + 1. It is the form's `expand`: x is the small
 * side, y the large one, and outputPadding only makes the large side longer.
 */

import { type Pair, transposedOutputSize } from '../../codegen/problem.js';
import { checkSize, fail, options } from '../checks.js';
import { type Tensor, tidy } from '../tensor.js';
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
  type Operands,
  readPair,
} from './conv_checks.js';
import { squeeze } from './views.js';

const WHERE = 'convTranspose2d';

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
  return tidy(() => {
    const { x, weight: w, bias: b } = checkDtypes(WHERE, operands);
    const small = batched(x);
    const [n, cs, hs, ws] = small.shape as readonly [number, number, number, number];
    const cl = w.shape[1]! * a.groups;
    checkSize(WHERE, [n, cl, ...size], small.dtype);
    const { stride, padding, dilation, groups } = a;
    const sizes = { n, cs, hs, ws, cl, hl: size[0], wl: size[1], r: w.shape[2]!, s: w.shape[3]! };
    const geometry = { ...sizes, stride, padding, dilation, groups };
    const large = expand({ geometry, layout: small.layout }, small, w, { bias: b, ...a.fused });
    return x.ndim === 3 ? squeeze(large, 0) : large;
  });
}

type Arguments = ReturnType<typeof readArguments>;

function readArguments(settings: unknown) {
  const found = options(WHERE, settings, [
    'stride',
    'padding',
    'outputPadding',
    'groups',
    'dilation',
    'activation',
    'negativeSlope',
  ]);
  const groups = checkGroups(WHERE, found.groups);
  const stride = readPair(WHERE, 'stride', found.stride, 1);
  const padding = readPair(WHERE, 'padding', found.padding, 0);
  const outputPadding = readPair(WHERE, 'outputPadding', found.outputPadding, 0);
  const dilation = readPair(WHERE, 'dilation', found.dilation, 1);
  checkLow(WHERE, 'padding', padding, 0);
  checkLow(WHERE, 'outputPadding', outputPadding, 0);
  checkLow(WHERE, 'stride', stride, 1);
  checkLow(WHERE, 'dilation', dilation, 1);
  return { groups, stride, padding, outputPadding, dilation, fused: checkFused(WHERE, found) };
}

function outputSize(operands: Operands, a: Arguments): Pair {
  const { x, weight, bias } = operands;
  checkRanks(WHERE, operands, a.groups);
  checkChannels(WHERE, x, weight.shape[0]!, a.groups);
  checkBias(WHERE, bias, weight.shape[1]! * a.groups);
  checkKernel(WHERE, weight);
  const emptyBatch = x.ndim === 4 && x.shape[0] === 0;
  if (!emptyBatch) {
    checkSpatial(WHERE, x);
    checkOutputPadding(a);
    if (weight.shape[1] === 0) fail('ERR_SHAPE', WHERE, 'weight', 'non-empty', weight.shape);
  }
  const size = [0, 1].map((i) => {
    const axis = {
      size: x.shape.at(i - 2)!,
      kernel: weight.shape[2 + i]!,
      stride: a.stride[i]!,
      padding: a.padding[i]!,
    };
    return transposedOutputSize({ ...axis, outputPadding: a.outputPadding[i]!, dilation: a.dilation[i]! });
  });
  // An empty batch may also be empty in its rows and columns.
  const least = emptyBatch ? 0 : 1;
  if (Math.min(...size) >= least) return size as unknown as Pair;
  const from = x.shape.slice(-2).join(' x ');
  fail('ERR_SHAPE', WHERE, 'output size', `at least ${least} x ${least} for an input of ${from}`, size);
}

function checkOutputPadding(a: Arguments): void {
  const fits = [0, 1].every((i) => a.outputPadding[i]! < Math.max(a.stride[i]!, a.dilation[i]!));
  if (fits) return;
  const rule = `smaller than stride [${a.stride}] or dilation [${a.dilation}] in each dimension`;
  fail('ERR_ARGUMENT', WHERE, 'outputPadding', rule, a.outputPadding);
}
