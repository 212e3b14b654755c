/** Writing into tensors that exist: outside the graph, and noted, so that a backward pass that saved one refuses. */

import { fillWith } from '../fill.js';
import { inLaunches, runGroup } from '../group.js';
import { checkOwnElements, copyInto } from '../ops/copy.js';
import { isPacked } from '../shape.js';
import { allocateTensor, markWritten, Tensor, tidy } from '../tensor.js';

export { checkOwnElements, copyInto };

/** Every element ← value. */
export function fillInPlace(value: Tensor, constant: number): void {
  writeWith('fill', value, [constant]);
}

/** Every element of floating tensors ← 0, in as few launches as their devices and dtypes allow. */
export function zeroInPlace(values: readonly Tensor[]): void {
  const dense: Tensor[] = [];
  for (const value of values) {
    if (value.numel() > 0 && isPacked(value.shape, value.strides)) dense.push(value);
    else fillInPlace(value, 0);
  }
  for (const part of inLaunches('zero_group', dense, (value) => value)) {
    runGroup(
      'zero_group',
      part.map((value) => [value]),
    );
    for (const value of part) markWritten(value);
  }
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
