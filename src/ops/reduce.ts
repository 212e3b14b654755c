/** Reductions over dimensions beyond the plain sum. */

import { fail } from '../checks.js';
import type { ReduceOptions } from '../method_types.js';
import { elementCount } from '../shape.js';
import { record, type Tensor, tidy } from '../tensor.js';
import { div, divideBy, eq, mul } from './elementwise.js';
import { checkReduction, expand, reduce, sum, without } from './sum.js';
import { reshape } from './views.js';

/** The mean over dimensions, summed and divided in float64 and rounded once. NaN for no elements. */
export function mean(x: Tensor, options?: ReduceOptions): Tensor {
  const { dims, keepdim } = checkReduction('mean', x, options);
  const from = x.shape;
  const count = elementCount(dims.map((dim) => from[dim]!));
  return tidy(() => {
    const kept = record(reduce('sum', x, dims, count), {
      name: 'mean',
      inputs: [x],
      backward: (g) => [expand(divideBy(g, count), from)],
    });
    return keepdim ? kept : reshape(kept, without(from, dims));
  });
}

/**
 * The largest value over dimensions; NaN where there is one. Equal largest values share the gradient evenly
 * (torch.amax).
 */
export function max(x: Tensor, options?: ReduceOptions): Tensor {
  const { dims, keepdim } = checkReduction('max', x, options);
  const from = x.shape;
  if (dims.some((dim) => from[dim] === 0))
    fail('ERR_SHAPE', 'max', 'x', 'of at least one element to choose from', from);
  return tidy(() => {
    const y = reduce('max', x, dims);
    const kept = record(y, {
      name: 'max',
      inputs: [x],
      saved: [x, y],
      backward: (g, [x0, y0]) => {
        const mask = eq(x0!, expand(y0!, from));
        return [mul(expand(div(g, sum(mask, { dim: dims, keepdim: true })), from), mask)];
      },
    });
    return keepdim ? kept : reshape(kept, without(from, dims));
  });
}
