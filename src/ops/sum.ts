/** Sums and repetition, each the gradient of the other: y = Σ x over some dimensions, x = y repeated along them. */

import {
  checkArray,
  checkBoolean,
  checkDims,
  checkFloat,
  checkShape,
  checkTensor,
  fail,
  isArray,
  options,
} from '../checks.js';
import { shortName } from '../dtype.js';
import { fillWith } from '../fill.js';
import { runOperation } from '../kernels.js';
import type { ReduceOptions } from '../method_types.js';
import { fillOrDispose, pointer } from '../pointwise.js';
import { broadcastShapes, broadcastStrides, elementCount, isPacked } from '../shape.js';
import { alias, allocateTensor, record, Tensor, tidy, wrap } from '../tensor.js';
import { contiguous, permute, reshape } from './views.js';

/** The sum over dimensions, added up in an order that never changes. */
export function sum(x: Tensor, options?: ReduceOptions): Tensor {
  const a = checkReduction('sum', x, options);
  const from = x.shape;
  return tidy(() => {
    const kept = sumKept(x, a.dims);
    return a.keepdim ? kept : reshape(kept, without(from, a.dims));
  });
}

/** What `sum`, `mean` and `max` take. */
export function checkReduction(where: string, x: Tensor, value: unknown): { dims: number[]; keepdim: boolean } {
  checkFloat(where, 'x', checkTensor(where, 'x', x));
  const found = options(where, value, ['dim', 'keepdim']);
  return { dims: checkDims(where, found.dim, x.ndim), keepdim: checkBoolean(where, 'keepdim', found.keepdim, false) };
}

/** x repeated along dimensions of size 1, and along new leading ones; -1 keeps a size. A view. */
export function expand(x: Tensor, shape: number | readonly number[]): Tensor {
  const window = Tensor.window(checkTensor('expand', 'x', x));
  const from = window.shape;
  const wanted = expandedShape(from, shape);
  return record(wrap({ ...window, shape: wanted, strides: broadcastStrides(window, wanted) }), {
    name: 'expand',
    inputs: [x],
    backward: (g) => [sumTo(g, from)],
  });
}

/** The sum of x over whatever was repeated to get its shape from `shape`. */
export function sumTo(x: Tensor, shape: readonly number[]): Tensor {
  const from = x.shape;
  const lead = from.length - shape.length;
  const dims = from.map((_, i) => i).filter((i) => i < lead || (shape[i - lead] === 1 && from[i] !== 1));
  if (dims.length === 0 && lead === 0) return alias(x);
  return tidy(() => reshape(dims.length === 0 ? x : sumKept(x, dims), shape));
}

/** Without some dimensions. */
export function without(shape: readonly number[], dims: readonly number[]): number[] {
  return shape.filter((_, i) => !dims.includes(i));
}

function sumKept(x: Tensor, dims: readonly number[]): Tensor {
  const from = x.shape;
  return record(reduce('sum', x, dims), { name: 'sum', inputs: [x], backward: (g) => [expand(g, from)] });
}

/**
 * Reduces dimensions, keeping them with size 1; a sum is divided before it is rounded. The kernel sees [outer, reduced, inner]: memory is read as it lies when
 * the reduced dimensions are neighbours in it, else x is rearranged first.
 */
export function reduce(name: 'sum' | 'max', x: Tensor, dims: readonly number[], divisor = 1): Tensor {
  const window = Tensor.window(x);
  const { shape, strides, dtype, storage } = window;
  const kept = shape.map((size, i) => (dims.includes(i) ? 1 : size));
  if (shape.includes(0)) {
    const out = allocateTensor({ shape: kept, dtype, device: storage.device });
    fillOrDispose(out, () => fillWith('fill', out, [0 / divisor]));
    return out;
  }
  const order = shape.map((_, i) => i).filter((i) => shape[i] !== 1);
  order.sort((a, b) => strides[b]! - strides[a]!);
  const places = order.flatMap((dim, place) => (dims.includes(dim) ? [place] : []));
  const first = places[0] ?? order.length;
  const together = places.every((place, i) => place === first + i);
  if (!together || !isPacked(shape, strides)) return tidy(() => reduceArranged(name, x, dims, divisor));
  const sizes = order.map((dim) => shape[dim]!);
  const ends = [0, first, first + places.length, order.length];
  const counts = [0, 1, 2].map((i) => elementCount(sizes.slice(ends[i], ends[i + 1])));
  const out = allocateTensor({ shape: kept, dtype, device: storage.device, strides: stridesInOrder(kept, order) });
  const kernel = { name, type: shortName(dtype) };
  const scalars = name === 'sum' ? [...counts, divisor] : counts;
  fillOrDispose(out, () =>
    runOperation(storage.device, kernel, [pointer(Tensor.window(out)), pointer(window)], scalars),
  );
  return out;
}

function reduceArranged(name: 'sum' | 'max', x: Tensor, dims: readonly number[], divisor: number): Tensor {
  const kept = x.shape.map((_, i) => i).filter((i) => !dims.includes(i));
  const order = [...kept, ...dims];
  const arranged = reduce(
    name,
    contiguous(permute(x, order)),
    dims.map((_, i) => kept.length + i),
    divisor,
  );
  return permute(
    arranged,
    order.map((_, i) => order.indexOf(i)),
  );
}

function stridesInOrder(shape: readonly number[], order: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  let step = 1;
  for (const dim of order.toReversed()) {
    strides[dim] = step;
    step *= shape[dim]!;
  }
  return strides;
}

function expandedShape(from: readonly number[], wanted: unknown): number[] {
  const list = isArray(wanted) ? checkArray('expand', 'shape', wanted) : [wanted];
  const lead = list.length - from.length;
  const shape = checkShape(
    'expand',
    list.map((size, i) => (size === -1 && i >= lead ? from[i - lead] : size)),
  );
  const fits = lead >= 0 && String(broadcastShapes(from, shape)) === String(shape);
  if (!fits) fail('ERR_SHAPE', 'expand', 'shape', `one that [${from}] can be repeated to`, shape);
  return shape;
}
