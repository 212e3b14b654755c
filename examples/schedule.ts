/** How fast the weights move, step by step. */

const WARM_UP = 20;

/** Rises to the peak over the first steps, then falls to nothing along half a cosine. `step` counts from 1. */
export function learningRate(step: number, steps: number, peak: number): number {
  const rising = Math.min(1, step / WARM_UP);
  return peak * rising * 0.5 * (1 + Math.cos((Math.PI * (step - 1)) / steps));
}
