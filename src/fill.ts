/** Filling the whole of a fresh, dense tensor with a constant, a progression or random numbers. */

import { shortName } from './dtype.js';
import { runOperation } from './kernels.js';
import { pointer } from './pointwise.js';
import { elementCount } from './shape.js';
import { Tensor } from './tensor.js';

/** Runs an operation of the families fill and random: (out, count, scalars…). */
export function fillWith(
  name: 'fill' | 'arange' | 'uniform' | 'normal',
  out: Tensor,
  scalars: readonly number[],
): void {
  const window = Tensor.window(out);
  const count = elementCount(window.shape);
  if (count === 0) return;
  runOperation(window.storage.device, { name, type: shortName(window.dtype) }, [pointer(window)], [count, ...scalars]);
}
