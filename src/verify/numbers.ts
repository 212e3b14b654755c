/** Numbers that are the same on every machine. */

/** Repeatable integers of 32 bits, one a call (Marsaglia's xorshift). */
export function xorshift(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Repeatable numbers in [low, high). */
export function noise(count: number, seed: number, low = -1, high = 1): Float64Array {
  const next = xorshift(seed);
  return Float64Array.from({ length: count }, () => low + (next() / 2 ** 32) * (high - low));
}

export const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export const absolute = (values: Float64Array): Float64Array => values.map(Math.abs);
