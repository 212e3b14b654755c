/** Sums, means and largest elements over all, some and many elements. */

import { lastKernel } from '../kernels.js';
import { max, mean } from '../ops/reduce.js';
import { sum } from '../ops/sum.js';
import type { Tensor } from '../tensor.js';
import { elementBound } from './bounds.js';
import type { Check } from './check.js';
import { input } from './inputs.js';
import { product } from './numbers.js';
import { UNIT_ROUNDOFF } from './rounding.js';

type Reduce = (x: Tensor, options: { dim: readonly number[] }) => Tensor;

const SHAPES: readonly { readonly shape: readonly number[]; readonly dim: readonly number[] }[] = [
  { shape: [3, 4, 5], dim: [0, 1, 2] },
  { shape: [3, 4, 5], dim: [1] },
  { shape: [3, 4, 5], dim: [0, 2] },
  { shape: [20_011], dim: [0] },
  { shape: [1500, 7], dim: [0] },
  { shape: [7, 600], dim: [1] },
];
const OPERATIONS: Readonly<Record<string, Reduce>> = { sum, mean, max };

export const REDUCTIONS: readonly Check[] = Object.entries(OPERATIONS).flatMap(([name, reduce]) =>
  SHAPES.map((how) => checkOf(name, reduce, how)),
);

function checkOf(name: string, reduce: Reduce, { shape, dim }: (typeof SHAPES)[number]): Check {
  const facts = { operation: name, problem: `[${shape}] over ${dim}`, layout: null };
  return {
    ...facts,
    run: (place, tell) => {
      const x = input(place, shape, 5, { low: -1, high: 2 });
      const y = reduce(x.tensor, { dim });
      const kernel = lastKernel();
      const length = dim.reduce((count, d) => count * shape[d]!, 1);
      const sums = reduced(x.values, shape, dim, (a, b) => a + b, 0);
      const magnitude = reduced(x.values.map(Math.abs), shape, dim, (a, b) => a + b, 0);
      const divisor = name === 'mean' ? length : 1;
      const exact = name === 'max' ? reduced(x.values, shape, dim, Math.max, -Infinity) : sums.map((v) => v / divisor);
      const { dtype } = place;
      const allowed = (i: number): number => {
        if (name === 'max') return 0;
        const own = elementBound({ dtype, length, magnitude: magnitude[i]! / divisor, exact: exact[i]! });
        // A mean may be a stored sum that is divided afterwards.
        return own + (name === 'mean' ? 2 * UNIT_ROUNDOFF[dtype] * Math.abs(exact[i]!) : 0);
      };
      tell({ ...facts, kernel, shape: y.shape, got: y.dataSync(), exact, allowed });
    },
  };
}

function reduced(
  values: Float64Array,
  shape: readonly number[],
  dim: readonly number[],
  join: (a: number, b: number) => number,
  start: number,
): Float64Array {
  const kept = shape.map((size, d) => (dim.includes(d) ? 1 : size));
  const out = new Float64Array(product(kept)).fill(start);
  values.forEach((value, flat) => {
    let [rest, stride, to] = [flat, 1, 0];
    for (let d = shape.length - 1; d >= 0; d--) {
      const index = rest % shape[d]!;
      rest = Math.floor(rest / shape[d]!);
      if (!dim.includes(d)) to += index * stride;
      stride *= kept[d]!;
    }
    out[to] = join(out[to]!, value);
  });
  return out;
}
