/** The same values in memory in different ways: what a caller may hand over instead of a fresh contiguous tensor. */

import { type Tensor, tensor } from 'fracstride';
import type { Dtype } from '../../codegen/target.js';
import { product } from './cases.js';

export const VIEWS = ['plain', 'nhwc', 'permuted', 'narrowed', 'offset', 'expanded'] as const;
export type View = (typeof VIEWS)[number];

export interface Laid {
  readonly tensor: Tensor;
  /** What the tensor holds, row-major. `expanded` repeats the first entry of a dimension. */
  readonly values: Float64Array;
}

/**
 * A leaf that requires its gradient and holds `values`, laid out as asked. Whatever lies around a narrowed window is NaN.
 * 'nhwc' applies to four dimensions and is 'plain' for others.
 */
export function lay(a: {
  values: Float64Array;
  shape: readonly number[];
  view: View;
  dtype: Dtype;
  device: string;
}): Laid {
  const { view, dtype, device } = a;
  const shape = [...a.shape];
  const make = (values: Float64Array, size: readonly number[]) => tensor(values, { shape: [...size], dtype, device });
  const leaf = (t: Tensor, values = a.values): Laid => {
    const own = t.detach();
    own.requiresGrad = true;
    return { tensor: own, values };
  };
  if (view === 'nhwc' && shape.length === 4) return leaf(make(a.values, shape).to({ layout: 'nhwc' }));
  if (view === 'permuted') {
    const reversed = shape.map((_, i) => shape.length - 1 - i);
    const stored = gather(shape, reversed, a.values);
    return leaf(make(stored, [...shape].reverse()).permute(reversed));
  }
  if (view === 'offset') return leaf(window(a.values, { shape, dims: [0], dtype, device }));
  if (view === 'narrowed') return leaf(window(a.values, { shape, dims: shape.map((_, i) => i), dtype, device }));
  if (view === 'expanded') {
    const dim = Math.max(0, shape.length - 2);
    const base = shape.map((size, i) => (i === dim ? Math.min(1, size) : size));
    const values = repeated(a.values, shape, dim);
    const first = values.filter((_, i) => Math.floor(i / product(shape.slice(dim + 1))) % (shape[dim] || 1) === 0);
    return leaf(make(first, base).expand(shape), values);
  }
  return leaf(make(a.values, shape));
}

/** Row-major values of the tensor whose dimension i is dimension order[i] of the given one. */
function gather(shape: readonly number[], order: readonly number[], values: Float64Array): Float64Array {
  const strides = shape.map((_, i) => product(shape.slice(i + 1)));
  const out = new Float64Array(values.length);
  const sizes = order.map((dim) => shape[dim]!);
  for (let flat = 0; flat < out.length; flat++) {
    let rest = flat;
    let from = 0;
    for (let i = sizes.length - 1; i >= 0; i--) {
      from += (rest % sizes[i]!) * strides[order[i]!]!;
      rest = Math.floor(rest / sizes[i]!);
    }
    out[flat] = values[from]!;
  }
  return out;
}

/** The values in the middle of a larger tensor of NaN: one entry before and two after in each of `dims`. */
function window(
  values: Float64Array,
  a: { shape: readonly number[]; dims: readonly number[]; dtype: Dtype; device: string },
): Tensor {
  const outer = a.shape.map((size, i) => (a.dims.includes(i) ? size + 3 : size));
  const data = new Float64Array(product(outer)).fill(Number.NaN);
  for (let flat = 0; flat < values.length; flat++) {
    let rest = flat;
    let to = 0;
    let stride = 1;
    for (let i = outer.length - 1; i >= 0; i--) {
      to += ((rest % a.shape[i]!) + (a.dims.includes(i) ? 1 : 0)) * stride;
      rest = Math.floor(rest / a.shape[i]!);
      stride *= outer[i]!;
    }
    data[to] = values[flat]!;
  }
  const whole = tensor(data, { shape: outer, dtype: a.dtype, device: a.device });
  return a.dims.reduce((t, dim) => t.narrow(dim, 1, a.shape[dim]!), whole);
}

function repeated(values: Float64Array, shape: readonly number[], dim: number): Float64Array {
  const inner = product(shape.slice(dim + 1));
  const size = shape[dim] || 1;
  return values.map((_, i) => values[i - (Math.floor(i / inner) % size) * inner]!);
}
