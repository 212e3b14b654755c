/** Random choices that a seed repeats. */

import { xorshift } from '../../src/verify/numbers.js';

export interface Choices {
  /** From 0 to `limit` − 1. */
  below(limit: number): number;
  pick<T>(list: readonly T[]): T;
}

export function choices(seed: number): Choices {
  const next = xorshift(seed);
  const below = (limit: number): number => next() % limit;
  return { below, pick: (list) => list[below(list.length)]! };
}
