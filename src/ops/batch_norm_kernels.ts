/** The kernels of batch normalisation, launched over a tensor's planes, and the tensors of one number a channel they need. */

import type { Planes } from '../../codegen/operations.js';
import type { Dtype } from '../dtype.js';
import { shortName } from '../dtype.js';
import { NULL, runOperation } from '../kernels.js';
import { pointer } from '../pointwise.js';
import { elementCount, isPacked } from '../shape.js';
import { allocateTensor, markWritten, Tensor } from '../tensor.js';
import { cast } from './convert.js';
import { copyInto } from './copy.js';
import { contiguous } from './views.js';

/** Running averages that a batch's statistics are added to. */
export interface Averages {
  readonly mean: Tensor | null;
  readonly variance: Tensor | null;
  /** Batches so far, an int32 of no dimensions. */
  readonly tracked: Tensor | null;
  /** Share of the batch. */
  readonly momentum: number;
  /** M / (M − 1). */
  readonly unbias: number;
}

export interface Statistics {
  readonly mean: Tensor;
  readonly variance: Tensor;
}

/** Running ones in the accumulator's type. */
export function wideStatistics(x: Tensor, running: Statistics): Statistics {
  const wide = (value: Tensor): Tensor => contiguous(cast(value, accumulator(x.dtype)));
  return { mean: wide(running.mean), variance: wide(running.variance) };
}

/** A fresh tensor that lies in memory as x does. */
export function like(x: Tensor): Tensor {
  const { shape, strides, dtype, storage } = Tensor.window(x);
  return allocateTensor({ shape, strides, dtype, device: storage.device });
}

export function dense(value: Tensor | null): Tensor | null {
  return value === null ? null : contiguous(value);
}

/** x as a batch norm sees it. */
export function planesOf(x: Tensor): Planes {
  const { shape } = Tensor.window(x);
  return { n: shape[0]!, c: shape[1]!, hw: elementCount(shape.slice(2)), last: x.layout === 'nhwc' };
}

/** Launches a kernel over x's planes: pointers, then N, C, H·W and the layout, then what else it takes. */
export function run(
  name: string,
  x: Tensor,
  tensors: readonly (Tensor | null)[],
  scalars: readonly number[] = [],
): void {
  const { dtype, storage } = Tensor.window(x);
  const { n, c, hw, last } = planesOf(x);
  const pointers = tensors.map((value) => (value === null ? NULL : pointer(Tensor.window(value))));
  const sizes = [n, c, hw, Number(last), ...scalars];
  runOperation(storage.device, { name, type: shortName(dtype) }, pointers, sizes);
}

export function perChannel(x: Tensor): Tensor {
  const { shape, dtype, storage } = Tensor.window(x);
  return allocateTensor({ shape: [shape[1]!], dtype: accumulator(dtype), device: storage.device });
}

export function accumulator(dtype: Dtype): Dtype {
  return dtype === 'float64' ? 'float64' : 'float32';
}

/** Calls `fn` with running averages as they lie, or with copies without gaps that are written back. */
export function withAverages(a: Averages, fn: (averages: readonly (Tensor | null)[]) => void): void {
  const own = [a.mean, a.variance, a.tracked];
  const lent = own.map((value) => (value === null || isPacked(value.shape, value.strides) ? value : contiguous(value)));
  fn(lent);
  own.forEach((value, i) => {
    if (value === null) return;
    if (lent[i] === value) markWritten(value);
    else copyInto(value, lent[i]!);
  });
}
