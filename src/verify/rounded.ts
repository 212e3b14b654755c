/** Bounds of results that are no sums: so many roundings, of the kernel's own arithmetic and on the way to memory. */

import type { FloatDtype } from '../dtype.js';
import { TINY, UNIT_ROUNDOFF } from './rounding.js';

interface Roundings {
  readonly dtype: FloatDtype;
  /** How often a number is rounded to the type of the tensors, and how large it is then. */
  readonly stored: number;
  /** Roundings of the kernel's arithmetic: float64 for that type, float32 for the others. */
  readonly computed: number;
  readonly size: (i: number) => number;
}

/** The largest error of element i after those roundings. */
export function afterRoundings({ dtype, stored, computed, size }: Roundings): (i: number) => number {
  const own = UNIT_ROUNDOFF[dtype === 'float64' ? 'float64' : 'float32'];
  return (i) => (stored * UNIT_ROUNDOFF[dtype] + computed * own) * size(i) + (stored + 1) * TINY[dtype];
}

/** For results that are exact. */
export const none = (): number => 0;
