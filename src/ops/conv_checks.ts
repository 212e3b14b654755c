/** What conv2d and convTranspose2d check alike, in PyTorch's order (Convolution.cpp, check_shape_forward). */

import { ACTIVATIONS, type Activation, type Pair } from '../../codegen/problem.js';
import { checkInteger, checkNumber, checkPair, checkSameDevice, checkTensor, checkWord, fail } from '../checks.js';
import { shapeOf, type Tensor } from '../tensor.js';
import type { Epilogue } from './contractions.js';
import { cast } from './convert.js';
import { unsqueeze } from './views.js';

/** One number for both dimensions, or [height, width]. */
export type IntOrPair = number | readonly [height: number, width: number] | readonly number[];

export interface FusedOptions {
  /** Applied to the result within the kernel; not in PyTorch. Default 'none'. */
  activation?: Activation;
  /** Slope of 'leaky_relu' below 0, at least 0. Default 0.01. */
  negativeSlope?: number;
}

export interface Operands {
  readonly x: Tensor;
  readonly weight: Tensor;
  readonly bias: Tensor | null;
}

/** The tensors, live and on one device; nothing about their shapes yet. */
export function checkOperands(where: string, x: unknown, weight: unknown, bias: unknown): Operands {
  const input = checkTensor(where, 'input', x);
  const kernel = checkTensor(where, 'weight', weight);
  const added = bias === undefined || bias === null ? null : checkTensor(where, 'bias', bias);
  checkSameDevice(where, added === null ? [input, kernel] : [input, kernel, added]);
  return { x: input, weight: kernel, bias: added };
}

export function checkGroups(where: string, value: unknown): number {
  return checkInteger(where, 'groups', value ?? 1, 1, 0x7fffffff);
}

/** An integer or pair whose sign is checked later, so that the order of complaints is PyTorch's. */
export function readPair(where: string, what: string, value: unknown, otherwise: number): Pair {
  return checkPair(where, what, value, { low: -0x7fffffff, otherwise });
}

export function checkLow(where: string, what: string, pair: Pair, low: number): void {
  if (pair[0] < low || pair[1] < low)
    fail('ERR_ARGUMENT', where, what, `at least ${low}`, pair[0] === pair[1] ? pair[0] : pair);
}

/** Ranks, then the weight's first dimension against the groups. */
export function checkRanks(where: string, { x, weight }: Operands, groups: number): void {
  if (x.ndim !== 3 && x.ndim !== 4)
    fail('ERR_SHAPE', where, 'input', '3-dimensional (C, H, W) or 4-dimensional (N, C, H, W)', shapeOf(x));
  if (weight.ndim !== 4) fail('ERR_SHAPE', where, 'weight', '4-dimensional', shapeOf(weight));
  const first = shapeOf(weight)[0]!;
  if (first < groups)
    fail(
      'ERR_SHAPE',
      where,
      'weight',
      `of at least ${groups} channels in dimension 0 for ${groups} groups`,
      shapeOf(weight),
    );
  if (first % groups !== 0)
    fail('ERR_SHAPE', where, 'weight', `divisible by ${groups} groups in dimension 0`, shapeOf(weight));
}

export function checkChannels(where: string, x: Tensor, channels: number, groups: number): void {
  const got = shapeOf(x)[x.ndim - 3];
  if (got === channels) return;
  fail(
    'ERR_SHAPE',
    where,
    'input',
    `of ${channels} channels (by its weight and ${groups === 1 ? 'one group' : `${groups} groups`})`,
    shapeOf(x),
  );
}

export function checkBias(where: string, bias: Tensor | null, channels: number): void {
  if (bias === null || (bias.ndim === 1 && shapeOf(bias)[0] === channels)) return;
  fail('ERR_SHAPE', where, 'bias', `1-dimensional of ${channels} elements`, shapeOf(bias));
}

export function checkKernel(where: string, weight: Tensor): void {
  const { shape } = weight;
  if (shape[2]! < 1 || shape[3]! < 1) fail('ERR_SHAPE', where, 'kernel size', 'at least 1', shape.slice(2));
}

/** Only a batch may be empty. */
export function checkSpatial(where: string, x: Tensor): void {
  if (shapeOf(x)[x.ndim - 2] === 0 || shapeOf(x)[x.ndim - 1] === 0)
    fail('ERR_SHAPE', where, 'input', 'non-empty but for the batch', shapeOf(x));
}

export function isEmptyBatch(x: Tensor): boolean {
  return x.ndim === 4 && shapeOf(x)[0] === 0;
}

/** Whether an operation needs no views and no casts around it. */
export function isPlain({ x }: Operands): boolean {
  return x.ndim === 4 && shapeOf(x)[0] !== 0;
}

/** One float type for all; an empty batch is exempt, its weights are taken to the input's type. */
export function checkDtypes(where: string, operands: Operands): Operands {
  const { x, weight, bias } = operands;
  if (x.dtype === 'int32') fail('ERR_DTYPE', where, "input's dtype", 'a float type', x.dtype);
  if (isEmptyBatch(x)) {
    return { x, weight: cast(weight, x.dtype), bias: bias === null ? null : cast(bias, x.dtype) };
  }
  if (weight.dtype !== x.dtype) fail('ERR_DTYPE', where, "weight's dtype", `the input's, ${x.dtype}`, weight.dtype);
  if (bias !== null && bias.dtype !== x.dtype)
    fail('ERR_DTYPE', where, "bias's dtype", `the input's, ${x.dtype}`, bias.dtype);
  return operands;
}

export function checkFused(
  where: string,
  found: { activation?: unknown; negativeSlope?: unknown },
): Omit<Epilogue, 'bias'> {
  const activation = checkWord(where, 'activation', found.activation ?? 'none', ACTIVATIONS);
  const slope = checkNumber(where, 'negativeSlope', found.negativeSlope ?? 0.01);
  // The gradient is taken from the output, whose sign must be the input's.
  if (!(slope >= 0 && slope < Number.POSITIVE_INFINITY))
    fail('ERR_ARGUMENT', where, 'negativeSlope', 'a finite number ≥ 0', slope);
  return { activation, slope };
}

/** With a batch of one where there is none. */
export function batched(x: Tensor): Tensor {
  return x.ndim === 3 ? unsqueeze(x, 0) : x;
}
