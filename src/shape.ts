/** Arithmetic on shapes and strides, all counted in elements. */

import type { Layout } from '../codegen/problem.js';

export type { Layout };

export function elementCount(shape: readonly number[]): number {
  // By index, as everywhere here: shapes are frozen, and V8 makes an object a step to iterate over a frozen array.
  let count = 1;
  for (let i = 0; i < shape.length; i++) count *= shape[i]!;
  return count;
}

export function sameNumbers(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Row-major strides. */
export function contiguousStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= Math.max(1, shape[i]!);
  }
  return strides;
}

/** Strides of a tensor (N, C, H, W) that lies as N, H, W, C in memory. */
export function channelsLastStrides(shape: readonly number[]): number[] {
  const c = Math.max(1, shape[1]!);
  const row = Math.max(1, shape[3]!) * c;
  return [Math.max(1, shape[2]!) * row, 1, row, c];
}

export function stridesFor(shape: readonly number[], layout: Layout): number[] {
  return layout === 'nhwc' ? channelsLastStrides(shape) : contiguousStrides(shape);
}

/** Whether strides are exactly `stridesFor(shape, layout)`. */
export function liesAs(shape: readonly number[], strides: readonly number[], layout: Layout): boolean {
  if (layout === 'nhwc') return sameNumbers(strides, channelsLastStrides(shape));
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (strides[i] !== step) return false;
    step *= Math.max(1, shape[i]!);
  }
  return true;
}

/** Whether strides equal the given dense ones wherever they matter. */
export function isDense(shape: readonly number[], strides: readonly number[], dense: readonly number[]): boolean {
  if (shape.includes(0)) return true;
  for (let i = 0; i < shape.length; i++) if (shape[i] !== 1 && strides[i] !== dense[i]) return false;
  return true;
}

/**
 * How a 4-D tensor lies: channels last when its channel stride is the smallest. Where sizes of 1 leave it open, the
 * strides' own numbers decide.
 */
export function layoutOf(shape: readonly number[], strides: readonly number[]): Layout {
  if (shape.length !== 4) return 'nchw';
  if (liesAs(shape, strides, 'nchw')) return 'nchw';
  const rows = contiguousStrides(shape);
  const last = channelsLastStrides(shape);
  if (isDense(shape, strides, rows)) return sameNumbers(last, strides) ? 'nhwc' : 'nchw';
  if (isDense(shape, strides, last)) return 'nhwc';
  const spatial = [2, 3].filter((i) => shape[i]! > 1).map((i) => strides[i]!);
  return shape[1]! > 1 && spatial.every((stride) => stride > strides[1]!) && spatial.length > 0 ? 'nhwc' : 'nchw';
}

/** Whether the elements fill their span without gaps or overlaps, in any order of dimensions. */
export function isPacked(shape: readonly number[], strides: readonly number[]): boolean {
  if (isRowMajor(shape, strides) || shape.includes(0)) return true;
  const dims = shape.map((size, i) => [size, strides[i]!] as const).filter(([size]) => size !== 1);
  dims.sort((a, b) => a[1] - b[1]);
  let step = 1;
  for (const [size, stride] of dims) {
    if (stride !== step) return false;
    step *= size;
  }
  return true;
}

/** The common case of `isPacked`, without sorting. */
function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== step) return false;
    step *= shape[i]!;
  }
  return true;
}

/** Elements from the first to the last one, both included. */
export function extent(shape: readonly number[], strides: readonly number[]): number {
  let last = 0;
  for (let i = 0; i < shape.length; i++) {
    if (shape[i] === 0) return 0;
    last += (shape[i]! - 1) * strides[i]!;
  }
  return last + 1;
}

/** The common shape of two by the rules of broadcasting, or null. */
export function broadcastShapes(a: readonly number[], b: readonly number[]): readonly number[] | null {
  if (sameNumbers(a, b)) return a;
  const shape: number[] = [];
  for (let i = 1; i <= Math.max(a.length, b.length); i++) {
    const x = a.at(-i) ?? 1;
    const y = b.at(-i) ?? 1;
    if (x !== y && x !== 1 && y !== 1) return null;
    shape.unshift(x === 1 ? y : x);
  }
  return shape;
}

/** Strides with which a tensor is read as one of a larger, broadcast shape: 0 along what is repeated. */
export function broadcastStrides(
  from: { shape: readonly number[]; strides: readonly number[] },
  shape: readonly number[],
): number[] {
  const lead = shape.length - from.shape.length;
  return shape.map((size, i) => (i < lead || (from.shape[i - lead] === 1 && size !== 1) ? 0 : from.strides[i - lead]!));
}
