/** Views: other shapes and strides over the same storage, without a copy. The gradient of a view undoes it. */

import { LAYOUTS } from '../../codegen/problem.js';
import { checkArray, checkDim, checkInteger, checkShape, checkTensor, checkWord, fail, isArray } from '../checks.js';
import { fillWith } from '../fill.js';
import { fillOrDispose, pointwise } from '../pointwise.js';
import { contiguousStrides, elementCount, isDense, isPacked, type Layout, stridesFor } from '../shape.js';
import { alias, allocateTensor, record, Tensor, tidy, type Window, wrap } from '../tensor.js';

/** The dimensions in another order: result dimension i is `dims[i]` of x. */
export function permute(x: Tensor, dims: readonly number[]): Tensor {
  const window = Tensor.window(checkTensor('permute', 'x', x));
  const order = checkArray('permute', 'dims', dims).map((dim) => checkDim('permute', dim, window.shape.length));
  if (order.length !== window.shape.length || new Set(order).size !== order.length) {
    fail('ERR_ARGUMENT', 'permute', 'dims', `each of the ${window.shape.length} dimensions once`, dims);
  }
  const pick = (list: readonly number[]): number[] => order.map((dim) => list[dim]!);
  const back = order.map((_, dim) => order.indexOf(dim));
  return record(wrap({ ...window, shape: pick(window.shape), strides: pick(window.strides) }), {
    name: 'permute',
    inputs: [x],
    backward: (g) => [permute(g, back)],
  });
}

/** Two dimensions swapped; by default the last two. */
export function transpose(x: Tensor, dim0 = -2, dim1 = -1): Tensor {
  const ndim = checkTensor('transpose', 'x', x).ndim;
  const [a, b] = [checkDim('transpose', dim0, ndim), checkDim('transpose', dim1, ndim)];
  const dims = Array.from({ length: ndim }, (_, i) => (i === a ? b : i === b ? a : i));
  return permute(x, dims);
}

/** `length` entries of one dimension from `start` on. */
export function narrow(x: Tensor, dim: number, start: number, length: number): Tensor {
  const window = Tensor.window(checkTensor('narrow', 'x', x));
  const at = checkDim('narrow', dim, window.shape.length);
  const size = window.shape[at]!;
  checkInteger('narrow', 'start', start, 0, size);
  checkInteger('narrow', 'length', length, 0, size - start);
  return record(wrap(sliced(window, at, start, length)), {
    name: 'narrow',
    inputs: [x],
    backward: (g) => [embed(g, { dim: at, start, size })],
  });
}

/** One entry of a dimension, which goes away. */
export function select(x: Tensor, dim: number, index: number): Tensor {
  const { shape } = checkTensor('select', 'x', x);
  const at = checkDim('select', dim, shape.length);
  const size = shape[at]!;
  const start = checkInteger('select', 'index', index, -size, size - 1);
  return tidy(() => squeeze(narrow(x, at, start < 0 ? start + size : start, 1), at));
}

/**
 * x at `start` of dimension `dim`, which gets `size` entries, and a constant (0 by default) elsewhere: with zeros, the
 * gradient of `narrow`.
 */
export function embed(x: Tensor, a: { dim: number; start: number; size: number; value?: number }): Tensor {
  const window = Tensor.window(x);
  const length = window.shape[a.dim]!;
  const shape = window.shape.map((size, i) => (i === a.dim ? a.size : size));
  const out = allocateTensor({ shape, dtype: window.dtype, device: window.storage.device });
  fillOrDispose(out, () => {
    fillWith('fill', out, [a.value ?? 0]);
    pointwise('copy', sliced(Tensor.window(out), a.dim, a.start, length), [window]);
  });
  return record(out, { name: 'embed', inputs: [x], backward: (g) => [narrow(g, a.dim, a.start, length)] });
}

/** The same elements, in row-major order, in another shape; one size may be -1. A view where strides allow, else a copy. */
export function reshape(x: Tensor, shape: number | readonly number[]): Tensor {
  const window = Tensor.window(checkTensor('reshape', 'x', x));
  const wanted = inferShape(window.shape, shape);
  const strides = viewStrides(window.shape, window.strides, wanted);
  if (strides === null) return tidy(() => reshape(contiguous(x), wanted));
  const from = window.shape;
  return record(wrap({ ...window, shape: wanted, strides }), {
    name: 'reshape',
    inputs: [x],
    backward: (g) => [reshape(g, from)],
  });
}

/** Dimensions `startDim` … `endDim` as one; by default all. */
export function flatten(x: Tensor, startDim = 0, endDim = -1): Tensor {
  const { shape } = checkTensor('flatten', 'x', x);
  const ndim = Math.max(1, shape.length);
  const start = checkDim('flatten', startDim, ndim);
  const end = checkDim('flatten', endDim, ndim);
  if (end < start) fail('ERR_ARGUMENT', 'flatten', 'endDim', `at least startDim, ${start}`, end);
  return reshape(x, [...shape.slice(0, start), elementCount(shape.slice(start, end + 1)), ...shape.slice(end + 1)]);
}

/** A dimension of size 1 more, at `dim`. */
export function unsqueeze(x: Tensor, dim: number): Tensor {
  const window = Tensor.window(checkTensor('unsqueeze', 'x', x));
  const at = checkDim('unsqueeze', dim, window.shape.length + 1);
  const step = at < window.shape.length ? window.shape[at]! * window.strides[at]! : 1;
  const shape = window.shape.toSpliced(at, 0, 1);
  const strides = window.strides.toSpliced(at, 0, step);
  return record(wrap({ ...window, shape, strides }), {
    name: 'unsqueeze',
    inputs: [x],
    backward: (g) => [squeeze(g, at)],
  });
}

/** Without dimension `dim` where its size is 1, or without any such dimension. */
export function squeeze(x: Tensor, dim?: number): Tensor {
  const window = Tensor.window(checkTensor('squeeze', 'x', x));
  const only = dim === undefined ? null : checkDim('squeeze', dim, window.shape.length);
  const kept = (_: number, i: number): boolean => window.shape[i] !== 1 || (only !== null && i !== only);
  const from = window.shape;
  return record(wrap({ ...window, shape: from.filter(kept), strides: window.strides.filter(kept) }), {
    name: 'squeeze',
    inputs: [x],
    backward: (g) => [reshape(g, from)],
  });
}

/**
 * x, dense in memory: in row-major order, or as N, H, W, C for `layout: 'nhwc'` (4-D only). Copies only where x does
 * not lie so already.
 */
export function contiguous(x: Tensor, layout: Layout = 'nchw'): Tensor {
  const window = Tensor.window(checkTensor('contiguous', 'x', x));
  const { shape, strides } = window;
  checkWord('contiguous', 'layout', layout, LAYOUTS);
  if (layout === 'nhwc' && shape.length !== 4)
    fail('ERR_SHAPE', 'contiguous', 'x', '4-dimensional (N, C, H, W)', shape);
  const wanted = stridesFor(shape, layout);
  if (!isDense(shape, strides, wanted)) return copyTo(x, wanted);
  if (String(strides) === String(wanted)) return alias(x);
  // Only strides along sizes of 1 differ: they say which layout was meant.
  return record(wrap({ ...window, strides: wanted }), { name: 'contiguous', inputs: [x], backward: (g) => [g] });
}

/** The same elements in memory of their own. */
export function clone(x: Tensor): Tensor {
  const { shape, strides } = Tensor.window(checkTensor('clone', 'x', x));
  return copyTo(x, isPacked(shape, strides) ? strides : contiguousStrides(shape));
}

function copyTo(x: Tensor, strides: readonly number[]): Tensor {
  const window = Tensor.window(x);
  const out = allocateTensor({ shape: window.shape, dtype: window.dtype, device: window.storage.device, strides });
  fillOrDispose(out, () => pointwise('copy', Tensor.window(out), [window]));
  return record(out, { name: 'clone', inputs: [x], backward: (g) => [g] });
}

/** The window on entries start … start + length − 1 of a dimension. */
export function sliced(window: Window, dim: number, start: number, length: number): Window {
  const shape = window.shape.with(dim, length);
  // An empty slice at the end begins behind the last element: its offset is never read.
  const offset = length === 0 ? window.offset : window.offset + start * window.strides[dim]!;
  return { ...window, offset, shape };
}

function inferShape(from: readonly number[], wanted: unknown): number[] {
  const list = isArray(wanted) ? checkArray('reshape', 'shape', wanted) : [wanted];
  const open = list.indexOf(-1);
  const shape = checkShape('reshape', open < 0 ? list : list.with(open, 1));
  const count = elementCount(from);
  const rest = elementCount(shape);
  if (open >= 0 && rest > 0 && count % rest === 0) shape[open] = count / rest;
  // Beside a size of 0 any size would do for -1.
  if (elementCount(shape) === count && (open < 0 || rest > 0)) return shape;
  fail('ERR_SHAPE', 'reshape', 'shape', `of ${count} elements, as [${from}] is`, list);
}

/** Strides under which the same memory has another shape, or null when there are none. */
function viewStrides(shape: readonly number[], strides: readonly number[], wanted: readonly number[]): number[] | null {
  if (shape.includes(0)) return contiguousStrides(wanted);
  const sizes = shape.filter((size) => size !== 1);
  const steps = strides.filter((_, i) => shape[i] !== 1);
  const result = new Array<number>(wanted.length).fill(1);
  let old = sizes.length - 1;
  let next = wanted.length - 1;
  while (old >= 0) {
    // A run of dimensions that follow each other in memory, and the new dimensions that divide the same run.
    const first = old;
    let count = sizes[old]!;
    while (old > 0 && steps[old - 1] === steps[old]! * sizes[old]!) count *= sizes[--old]!;
    let step = steps[first]!;
    let taken = 1;
    for (; next >= 0 && taken * wanted[next]! <= count; next--) {
      result[next] = step;
      step *= wanted[next]!;
      taken *= wanted[next]!;
    }
    if (taken !== count) return null;
    old--;
  }
  return result;
}
