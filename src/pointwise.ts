/**
 * Launches of the element-wise kernels over strided windows: dimensions are ordered by the output's strides and merged
 * wherever all operands allow it, so that most calls are one run over dense memory.
 */

import { POINTWISE_DIMS, type PointwiseName, stridedScalars } from '../codegen/pointwise.js';
import type { Device } from './device.js';
import { elementBytes, shortName } from './dtype.js';
import { type Pointer, runOperation } from './kernels.js';
import {
  broadcastShapes,
  broadcastStrides,
  contiguousStrides,
  elementCount,
  extent,
  isPacked,
  sameNumbers,
} from './shape.js';
import { allocateTensor, Tensor, type Window } from './tensor.js';

/** The buffer range a window covers. */
export function pointer(window: Window): Pointer {
  const size = elementBytes(window.dtype);
  const { storage, offset, shape, strides } = window;
  return { handle: storage.handle, byteOffset: offset * size, bytes: extent(shape, strides) * size, home: storage };
}

/** out = f(inputs), element by element; inputs are broadcast to out's shape. `out` may be one of the inputs. */
export function pointwise(
  name: PointwiseName,
  out: Window,
  inputs: readonly Window[],
  scalars: readonly number[] = [],
): void {
  if (elementCount(out.shape) === 0) return;
  const { dtype, storage } = out;
  const kernel = { name, type: shortName(dtype), device: storage.device, elementBytes: elementBytes(dtype), scalars };
  const operands = [out, ...inputs];
  launch(kernel, operands.map(pointer), dense(out, inputs) ?? merge(operands, out.shape));
}

/** A fresh tensor f(inputs), of the broadcast shape, lying in memory as the first input of that shape does. */
export function compute(name: PointwiseName, inputs: readonly Tensor[], scalars: readonly number[] = []): Tensor {
  const windows = inputs.map((input) => Tensor.window(input));
  const first = windows[0]!.shape;
  const shape = windows.reduce((common, window) => broadcastShapes(common, window.shape)!, first);
  const model = windows.find((window) => sameNumbers(window.shape, shape) && isPacked(shape, window.strides));
  const strides = model?.strides ?? contiguousStrides(shape);
  const { dtype, storage } = windows[0]!;
  const out = allocateTensor({ shape, dtype, device: storage.device, strides });
  fillOrDispose(out, () => pointwise(name, Tensor.window(out), windows, scalars));
  return out;
}

/** Runs what fills a fresh tensor; when that throws, the tensor does not outlive it. */
export function fillOrDispose(out: Tensor, fill: () => void): void {
  let filled = false;
  try {
    fill();
    filled = true;
  } finally {
    if (!filled) out.dispose();
  }
}

interface Dim {
  size: number;
  /** One stride an operand, the output's first. */
  strides: number[];
}

/** One run, where all operands lie alike and without gaps: nearly every call. */
function dense(out: Window, inputs: readonly Window[]): Dim[] | null {
  for (const input of inputs) {
    if (!sameNumbers(input.strides, out.strides) || !sameNumbers(input.shape, out.shape)) return null;
  }
  if (!isPacked(out.shape, out.strides)) return null;
  return [{ size: elementCount(out.shape), strides: new Array<number>(1 + inputs.length).fill(1) }];
}

function merge(operands: readonly Window[], shape: readonly number[]): Dim[] {
  const strides = operands.map((operand) => broadcastStrides(operand, shape));
  const dims = shape
    .map((size, i) => ({ size, strides: strides.map((list) => list[i]!) }))
    .filter((dim) => dim.size !== 1);
  dims.sort((a, b) => b.strides[0]! - a.strides[0]!);
  const merged: Dim[] = [];
  for (const dim of dims) {
    const outer = merged.at(-1);
    if (outer?.strides.every((stride, k) => stride === dim.strides[k]! * dim.size)) {
      outer.size *= dim.size;
      outer.strides = dim.strides;
    } else merged.push({ size: dim.size, strides: dim.strides });
  }
  return merged.length > 0 ? merged : [{ size: 1, strides: strides.map(() => 1) }];
}

interface Launch {
  readonly name: PointwiseName;
  readonly type: string;
  readonly device: Device;
  readonly elementBytes: number;
  readonly scalars: readonly number[];
}

function launch(kernel: Launch, pointers: readonly Pointer[], dims: readonly Dim[]): void {
  if (dims.length > POINTWISE_DIMS) {
    launchSlices(kernel, pointers, dims);
    return;
  }
  runOperation(kernel.device, kernel, pointers, stridedScalars(kernel.scalars, dims, pointers.length));
}

/** More dimensions than a kernel takes: one launch for each index of the outermost. */
function launchSlices(kernel: Launch, pointers: readonly Pointer[], dims: readonly Dim[]): void {
  const [outer, ...inner] = dims as [Dim, ...Dim[]];
  for (let i = 0; i < outer.size; i++) {
    const slices = pointers.map(({ handle, byteOffset, bytes }, k) => {
      const skipped = outer.strides[k]! * kernel.elementBytes;
      return { handle, byteOffset: byteOffset + i * skipped, bytes: bytes - (outer.size - 1) * skipped };
    });
    launch(kernel, slices, inner);
  }
}
