/** Numbers that are the same on every machine. */

/** Repeatable numbers in [low, high). */
export function noise(count: number, seed: number, low = -1, high = 1): Float64Array {
  let state = (seed * 2654435761) >>> 0 || 1;
  return Float64Array.from({ length: count }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return low + ((state >>> 0) / 2 ** 32) * (high - low);
  });
}

export const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export const absolute = (values: Float64Array): Float64Array => values.map(Math.abs);
