/** The launch of an optimiser's kernel over one parameter, in place. */

import { shortName } from '../dtype.js';
import { NULL, runOperation } from '../kernels.js';
import type { Parameter } from '../nn/parameter.js';
import { pointer, pointwise } from '../pointwise.js';
import { elementCount, isDense } from '../shape.js';
import { allocateTensor, markWritten, Tensor, tidy } from '../tensor.js';

interface Operands {
  readonly value: Parameter;
  readonly gradient: Tensor;
  /** Tensors like the parameter, or null for the optional ones that are absent. */
  readonly state: readonly (Tensor | null)[];
}

/**
 * Runs `name` with (value, gradient, ...state, count, ...scalars). Nothing is allocated when the gradient lies in
 * memory as the parameter does.
 */
export function runStep(name: 'sgd' | 'adam', operands: Operands, scalars: readonly number[]): void {
  const { value, gradient, state } = operands;
  const window = Tensor.window(value);
  const count = elementCount(window.shape);
  if (count === 0) return;
  if (!isDense(window.shape, Tensor.window(gradient).strides, window.strides)) {
    withSameStrides(gradient, value, (same) => runStep(name, { value, gradient: same, state }, scalars));
    return;
  }
  const buffers = [value, gradient, ...state].map((t) => (t === null ? NULL : pointer(Tensor.window(t))));
  runOperation(window.storage.device, { name, type: shortName(window.dtype) }, buffers, [count, ...scalars]);
  for (const written of [value, ...state]) if (written !== null) markWritten(written);
}

function withSameStrides(gradient: Tensor, value: Tensor, fn: (same: Tensor) => void): void {
  const { shape, strides, dtype, storage } = Tensor.window(value);
  tidy(() => {
    const same = allocateTensor({ shape, strides, dtype, device: storage.device });
    pointwise('copy', Tensor.window(same), [Tensor.window(gradient)]);
    fn(same);
    return [];
  });
}
