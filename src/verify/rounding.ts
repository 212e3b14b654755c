/**
 * Rounding to the element types, written from the formats' definitions and independent of the code under test:
 * nearest, ties to even, on a grid of 2^(e − mantissa) where e is the exponent, no smaller than the format's smallest.
 */

import type { Dtype } from '../../codegen/target.js';

interface Format {
  readonly mantissa: number;
  readonly minExponent: number;
  readonly max: number;
}

const FORMATS: Readonly<Record<'float16' | 'bfloat16', Format>> = {
  float16: { mantissa: 10, minExponent: -14, max: 65504 },
  bfloat16: { mantissa: 7, minExponent: -126, max: (2 - 2 ** -7) * 2 ** 127 },
};

/** Half the distance between 1 and the next number: the largest relative error of one rounding. */
export const UNIT_ROUNDOFF: Readonly<Record<Dtype, number>> = {
  float64: 2 ** -53,
  float32: 2 ** -24,
  float16: 2 ** -11,
  bfloat16: 2 ** -8,
};

/** Smallest positive number of the type (subnormals count). */
export const TINY: Readonly<Record<Dtype, number>> = {
  float64: 2 ** -1074,
  float32: 2 ** -149,
  float16: 2 ** -24,
  bfloat16: 2 ** -133,
};

/** Largest finite number of the type. */
export const LARGEST: Readonly<Record<Dtype, number>> = {
  float64: Number.MAX_VALUE,
  float32: (2 - 2 ** -23) * 2 ** 127,
  float16: FORMATS.float16.max,
  bfloat16: FORMATS.bfloat16.max,
};

export function roundTo(dtype: Dtype, value: number): number {
  if (dtype === 'float64') return value;
  const single = Math.fround(value);
  if (dtype === 'float32' || !Number.isFinite(single) || single === 0) return single;
  const { mantissa, minExponent, max } = FORMATS[dtype];
  const magnitude = Math.abs(single);
  const grid = 2 ** (Math.max(exponentOf(magnitude), minExponent) - mantissa);
  const rounded = roundHalfEven(magnitude / grid) * grid;
  return Math.sign(single) * (rounded > max ? Number.POSITIVE_INFINITY : rounded);
}

export function roundAll(dtype: Dtype, values: ArrayLike<number>): Float64Array {
  return Float64Array.from(values, (v) => roundTo(dtype, v));
}

function exponentOf(magnitude: number): number {
  let e = Math.floor(Math.log2(magnitude));
  if (2 ** e > magnitude) e--;
  if (2 ** (e + 1) <= magnitude) e++;
  return e;
}

function roundHalfEven(v: number): number {
  const low = Math.floor(v);
  const rest = v - low;
  if (rest !== 0.5) return Math.round(v);
  return low % 2 === 0 ? low : low + 1;
}
