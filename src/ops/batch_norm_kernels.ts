/** The kernels of batch normalisation, launched over a tensor's planes, and the tensors of one number a channel they need. */

import type { Dtype } from '../dtype.js';
import { shortName } from '../dtype.js';
import { fillWith } from '../fill.js';
import { NULL, runOperation } from '../kernels.js';
import { pointer } from '../pointwise.js';
import { elementCount } from '../shape.js';
import { allocateTensor, Tensor } from '../tensor.js';
import { cast } from './convert.js';
import { contiguous } from './views.js';

export interface Statistics {
  readonly mean: Tensor;
  readonly variance: Tensor;
}

/** μ and the biased σ² of each channel. */
export function batchStatistics(x: Tensor): Statistics {
  const found = { mean: perChannel(x), variance: perChannel(x) };
  if (x.numel() > 0) run('bn_stats', x, [x, found.mean, found.variance]);
  else for (const value of Object.values(found)) fillWith('fill', value, [0]);
  return found;
}

/** Running ones in the accumulator's type. */
export function wideStatistics(x: Tensor, running: Statistics): Statistics {
  const wide = (value: Tensor): Tensor => contiguous(cast(value, accumulator(x.dtype)));
  return { mean: wide(running.mean), variance: wide(running.variance) };
}

/** w·x̂ + b by given statistics. */
export function apply(x: Tensor, a: Affine & { mean: Tensor; scale: Tensor }): Tensor {
  const out = like(x);
  if (x.numel() > 0) run('bn_apply', x, [x, a.mean, a.scale, dense(a.weight), dense(a.bias), out]);
  return out;
}

export interface Affine {
  readonly weight: Tensor | null;
  readonly bias: Tensor | null;
}

/** A fresh tensor that lies in memory as x does. */
export function like(x: Tensor): Tensor {
  const { shape, strides, dtype, storage } = Tensor.window(x);
  return allocateTensor({ shape, strides, dtype, device: storage.device });
}

export function dense(value: Tensor | null): Tensor | null {
  return value === null ? null : contiguous(value);
}

/** Launches a kernel over x's planes: pointers, then N, C, H·W and the layout, then what else it takes. */
export function run(
  name: string,
  x: Tensor,
  tensors: readonly (Tensor | null)[],
  scalars: readonly number[] = [],
): void {
  const { shape, dtype, storage } = Tensor.window(x);
  const pointers = tensors.map((value) => (value === null ? NULL : pointer(Tensor.window(value))));
  const sizes = [shape[0]!, shape[1]!, elementCount(shape.slice(2)), x.layout === 'nhwc' ? 1 : 0, ...scalars];
  runOperation(storage.device, { name, type: shortName(dtype) }, pointers, sizes);
}

export function perChannel(x: Tensor): Tensor {
  const { shape, dtype, storage } = Tensor.window(x);
  return allocateTensor({ shape: [shape[1]!], dtype: accumulator(dtype), device: storage.device });
}

export function zerosLike(value: Tensor): Tensor {
  const { shape, dtype, storage } = Tensor.window(value);
  const zeros = allocateTensor({ shape, dtype, device: storage.device });
  fillWith('fill', zeros, [0]);
  return zeros;
}

export function accumulator(dtype: Dtype): Dtype {
  return dtype === 'float64' ? 'float64' : 'float32';
}
