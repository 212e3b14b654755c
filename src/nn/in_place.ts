/** Writing into tensors that exist: outside the graph, and noted, so that a backward pass that saved one refuses. */

import { fillWith } from '../fill.js';
import { to as convert } from '../ops/convert.js';
import { pointwise } from '../pointwise.js';
import { isPacked } from '../shape.js';
import { allocateTensor, markWritten, Tensor, tidy, unrecorded } from '../tensor.js';

/** to ← from, of the same shape, whatever the device and the element type. */
export function copyInto(to: Tensor, from: Tensor): void {
  const target = Tensor.window(to);
  const place = { dtype: target.dtype, device: target.storage.device.name };
  unrecorded(() =>
    tidy(() => {
      pointwise('copy', target, [Tensor.window(convert(from, place))]);
      return [];
    }),
  );
  markWritten(to);
}

/** Every element ← value. */
export function fillInPlace(value: Tensor, constant: number): void {
  writeWith('fill', value, [constant]);
}

/** Runs a filling kernel over a tensor; one with gaps in memory is filled by way of a dense copy. */
export function writeWith(name: 'fill' | 'uniform' | 'normal', value: Tensor, scalars: readonly number[]): void {
  const window = Tensor.window(value);
  if (isPacked(window.shape, window.strides)) {
    fillWith(name, value, scalars);
    markWritten(value);
    return;
  }
  tidy(() => {
    const dense = allocateTensor({ shape: window.shape, dtype: window.dtype, device: window.storage.device });
    fillWith(name, dense, scalars);
    copyInto(value, dense);
    return [];
  });
}
