/**
 * Checks of what callers pass, before anything is allocated. Each gives back a plain value that no getter, proxy or
 * later write can change, or throws one sentence.
 */

import type { Pair } from '../codegen/problem.js';
import { type Device, resolveDevice } from './device.js';
import { checkDtype, type Dtype, elementBytes } from './dtype.js';
import { type ErrorCode, FracstrideError, show } from './errors.js';
import { Tensor } from './tensor.js';

/** Most dimensions a tensor has. */
export const MAX_DIMS = 64;

export function fail(code: ErrorCode, where: string, what: string, rule: string, got: unknown): never {
  throw new FracstrideError(code, `${where}: ${what} must be ${rule}, got ${show(got)}`);
}

/** Reads something of a caller's: whatever a getter or proxy throws becomes an argument error. */
export function read<R>(where: string, what: string, get: () => R): R {
  try {
    return get();
  } catch (cause) {
    if (cause instanceof FracstrideError) throw cause;
    throw new FracstrideError('ERR_ARGUMENT', `${where}: ${what} must be readable, got an exception from it`, {
      cause,
    });
  }
}

/**
 * A copy of the known properties of an options object; undefined stands for no options.
 *
 * @throws FracstrideError ERR_ARGUMENT for anything but an object, and for a key that is not known
 */
export function options<K extends string>(
  where: string,
  value: unknown,
  known: readonly K[],
): Partial<Record<K, unknown>> {
  return pickOptions(where, value, known, (from) => {
    const found: Partial<Record<K, unknown>> = {};
    for (const key of known) {
      const entry = from[key];
      if (entry !== undefined) found[key] = entry;
    }
    return found;
  });
}

/**
 * The same with `pick` to copy the known properties, each once: what names them reads them at a fraction of the time
 * that a loop over the names takes.
 */
export function pickOptions<K extends string, R extends Partial<Record<K, unknown>>>(
  where: string,
  value: unknown,
  known: readonly K[],
  pick: (from: Partial<Record<K, unknown>>) => R,
): R {
  if (value === undefined) return pick({});
  const list = read(where, 'options', () => Array.isArray(value) || ArrayBuffer.isView(value));
  if (typeof value !== 'object' || value === null || list || Tensor.isTensor(value))
    fail('ERR_ARGUMENT', where, 'options', `an object with ${known.join(', ')}`, value);
  return read(where, 'options', () => {
    for (const key of Object.keys(value)) {
      if (!known.includes(key as K)) fail('ERR_ARGUMENT', where, 'an option', `one of ${known.join(', ')}`, key);
    }
    return pick(value);
  });
}

/** @throws FracstrideError ERR_ARGUMENT, ERR_DISPOSED */
export function checkTensor(where: string, what: string, value: unknown): Tensor {
  if (!Tensor.isTensor(value)) fail('ERR_ARGUMENT', where, what, 'a tensor', value);
  if (value.isDisposed) {
    const sentence = `${where}: ${what} must be a tensor that is not disposed, got one that is`;
    throw new FracstrideError('ERR_DISPOSED', sentence);
  }
  return value;
}

/** @throws FracstrideError ERR_DEVICE_MISMATCH */
export function checkSameDevice(where: string, tensors: readonly Tensor[]): void {
  const first = tensors[0]?.device;
  if (tensors.every((value) => value.device === first)) return;
  const devices = new Set(tensors.map((value) => value.device));
  fail('ERR_DEVICE_MISMATCH', where, 'all tensors', 'on one device', [...devices]);
}

/** @throws FracstrideError ERR_DTYPE */
export function checkSameDtype(where: string, tensors: readonly Tensor[]): void {
  const first = tensors[0]?.dtype;
  if (tensors.every((value) => value.dtype === first)) return;
  const dtypes = tensors.map((value) => value.dtype);
  fail('ERR_DTYPE', where, 'all tensors', 'of one dtype', dtypes);
}

/** @throws FracstrideError ERR_DTYPE for int32 */
export function checkFloat(where: string, what: string, value: Tensor): void {
  if (value.dtype === 'int32') fail('ERR_DTYPE', where, `${what}'s dtype`, 'a float type', value.dtype);
}

export function checkNumber(where: string, what: string, value: unknown): number {
  if (typeof value !== 'number') fail('ERR_ARGUMENT', where, what, 'a number', value);
  return value;
}

export function checkInteger(
  where: string,
  what: string,
  value: unknown,
  low: number,
  high = Number.MAX_SAFE_INTEGER,
): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= low && value <= high) return value + 0;
  const rule = high === Number.MAX_SAFE_INTEGER ? `an integer ≥ ${low}` : `an integer from ${low} to ${high}`;
  fail('ERR_ARGUMENT', where, what, rule, value);
}

export function checkBoolean(where: string, what: string, value: unknown, otherwise: boolean): boolean {
  if (value === undefined) return otherwise;
  if (typeof value !== 'boolean') fail('ERR_ARGUMENT', where, what, 'a boolean', value);
  return value;
}

export function checkWord<W extends string>(where: string, what: string, value: unknown, words: readonly W[]): W {
  if (!words.includes(value as W)) fail('ERR_ARGUMENT', where, what, `one of ${words.join(', ')}`, value);
  return value as W;
}

/** Longer arrays are refused before they are copied: an array of holes can have 2^32 elements and no memory. */
const MAX_LENGTH = 2 ** 20;

/** Array.isArray, but false for a revoked proxy. */
export function isArray(value: unknown): value is readonly unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

/** A copy of an array of anything. */
export function checkArray(where: string, what: string, value: unknown): unknown[] {
  if (!isArray(value)) fail('ERR_ARGUMENT', where, what, 'an array', value);
  return read(where, what, () => {
    if (value.length > MAX_LENGTH) fail('ERR_ARGUMENT', where, what, `of at most ${MAX_LENGTH} elements`, value.length);
    return Array.from(value);
  });
}

/**
 * A shape: one size or an array of sizes, each an integer ≥ 0.
 *
 * @throws FracstrideError ERR_SHAPE
 */
export function checkShape(where: string, value: unknown): number[] {
  if (typeof value !== 'number' && !isArray(value))
    fail('ERR_SHAPE', where, 'shape', 'an integer or an array of integers ≥ 0', value);
  const sizes = read(where, 'shape', () => {
    const list = typeof value === 'number' ? [value] : value;
    if (list.length > MAX_DIMS) fail('ERR_SHAPE', where, 'shape', `of at most ${MAX_DIMS} dimensions`, list.length);
    return Array.from(list);
  });
  const fits = (size: unknown): boolean => Number.isSafeInteger(size) && (size as number) >= 0;
  if (!sizes.every(fits)) fail('ERR_SHAPE', where, 'shape', 'an integer or an array of integers ≥ 0', sizes);
  return sizes.map((size) => (size as number) + 0);
}

/** @throws FracstrideError ERR_OUT_OF_MEMORY when no machine could hold the shape */
export function checkSize(where: string, shape: readonly number[], dtype: Dtype): void {
  let bytes = elementBytes(dtype) as number;
  for (const size of shape) bytes *= Math.max(1, size);
  if (bytes <= Number.MAX_SAFE_INTEGER) return;
  fail('ERR_OUT_OF_MEMORY', where, 'shape', 'of at most 2^53 bytes', [...shape]);
}

/** A dimension, negative counted from the end, as an index. */
export function checkDim(where: string, value: unknown, ndim: number): number {
  if (Number.isInteger(value) && (value as number) >= -ndim && (value as number) < ndim) {
    return (value as number) < 0 ? (value as number) + ndim : (value as number) + 0;
  }
  fail(
    'ERR_ARGUMENT',
    where,
    'dim',
    ndim === 0 ? 'absent for a tensor of no dimensions' : `an integer from ${-ndim} to ${ndim - 1}`,
    value,
  );
}

/** Dimensions as a sorted list without repeats; undefined stands for all. */
export function checkDims(where: string, value: unknown, ndim: number): number[] {
  if (value === undefined) return Array.from({ length: ndim }, (_, i) => i);
  const list = isArray(value) ? checkArray(where, 'dim', value) : [value];
  const dims = list.map((dim) => checkDim(where, dim, ndim));
  if (new Set(dims).size !== dims.length) fail('ERR_ARGUMENT', where, 'dim', 'without repeats', dims);
  return dims.sort((a, b) => a - b);
}

/** An integer or a pair of integers [height, width], both ≥ low; undefined stands for `otherwise`. */
export function checkPair(where: string, what: string, value: unknown, a: { low: number; otherwise: number }): Pair {
  if (value === undefined) return [a.otherwise, a.otherwise];
  const fits = (v: unknown): boolean =>
    Number.isSafeInteger(v) && (v as number) >= a.low && (v as number) <= 0x7fffffff;
  if (typeof value === 'number' && fits(value)) return [value + 0, value + 0];
  const list = isArray(value) ? checkArray(where, what, value) : [value];
  if (list.length < 1 || list.length > 2 || !list.every(fits)) {
    const integer = a.low < 0 ? 'an integer' : `an integer ≥ ${a.low}`;
    const got = list.length === 1 ? list[0] : list;
    fail('ERR_ARGUMENT', where, what, `${integer} or a pair [height, width] of them`, got);
  }
  const [height, width = height] = list as number[];
  return [height! + 0, width! + 0];
}

/** The three options that every factory takes. */
export interface Placement {
  readonly dtype: Dtype;
  readonly device: Device;
  readonly requiresGrad: boolean;
}

export const PLACEMENT = ['dtype', 'device', 'requiresGrad'] as const;

/** Reads `dtype` (default float32), `device` (default: FRACSTRIDE_DEVICE or auto) and `requiresGrad`. */
export function checkPlacement(
  where: string,
  found: Partial<Record<(typeof PLACEMENT)[number], unknown>>,
  otherwise: Dtype = 'float32',
): Placement {
  const dtype = found.dtype === undefined ? otherwise : checkDtype(where, found.dtype);
  const requiresGrad = checkBoolean(where, 'requiresGrad', found.requiresGrad, false);
  if (requiresGrad && dtype === 'int32')
    fail('ERR_DTYPE', where, 'dtype', 'a float type where requiresGrad is true', dtype);
  return { dtype, device: resolveDevice(where, found.device), requiresGrad };
}
