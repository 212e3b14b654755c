/** How near an element has to come to its exact value: a bound that follows from its type and the length of its sum. */

import type { Dtype } from '../../codegen/target.js';
import { TINY, UNIT_ROUNDOFF } from './rounding.js';

/**
 * The bound of one element that is a sum of `length` products: with u the unit roundoff of the accumulator
 * (float32 for the 16-bit types) and v that of storage,
 *
 *   |computed − exact| ≤ 2·(length + 2)·u · Σ|products| + v · |exact| + tiny
 *
 * (Higham, Accuracy and Stability of Numerical Algorithms, §3.1: γ_n ≤ n·u / (1 − n·u) for any order of summation,
 * fused or not; factor 2 and the `+ 2` cover γ's denominator, the bias and the final rounding, for lengths below 2^21.)
 */
export function elementBound(a: { dtype: Dtype; length: number; magnitude: number; exact: number }): number {
  const accumulator = a.dtype === 'float64' ? UNIT_ROUNDOFF.float64 : UNIT_ROUNDOFF.float32;
  return 2 * (a.length + 2) * accumulator * a.magnitude + UNIT_ROUNDOFF[a.dtype] * Math.abs(a.exact) + TINY[a.dtype];
}

/**
 * The first element outside its bound, or null. `magnitude` is the same contraction over absolute values; `rounded` are
 * values that were stored on the way, each of which costs one more rounding.
 */
export function firstOutside(a: {
  dtype: Dtype;
  length: number;
  got: ArrayLike<number>;
  exact: ArrayLike<number>;
  magnitude: ArrayLike<number>;
  rounded?: ArrayLike<number>;
}): string | null {
  if (a.got.length !== a.exact.length) return `${a.got.length} elements instead of ${a.exact.length}`;
  for (let i = 0; i < a.exact.length; i++) {
    const exact = a.exact[i]!;
    const also = UNIT_ROUNDOFF[a.dtype] * Math.abs(a.rounded?.[i] ?? 0);
    const bound = elementBound({ dtype: a.dtype, length: a.length, magnitude: a.magnitude[i]!, exact }) + also;
    const error = Math.abs(a.got[i]! - exact);
    if (!(error <= bound)) return `[${i}] is ${a.got[i]} instead of ${exact}: off by ${error}, allowed ${bound}`;
  }
  return null;
}
