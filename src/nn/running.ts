/** Running averages, updated in place: running ← (1 − m)·running + m·factor·batch. */

import { cast } from '../ops/convert.js';
import { copyInto } from '../ops/copy.js';
import { add } from '../ops/elementwise.js';
import { pointwise } from '../pointwise.js';
import { markWritten, Tensor, tidy, unrecorded } from '../tensor.js';

/** `batch` may be of a wider type than `running`. */
export function updateRunning(running: Tensor, batch: Tensor, a: { momentum: number; factor: number }): void {
  const target = Tensor.window(running);
  unrecorded(() =>
    tidy(() => {
      pointwise('affine', target, [target], [1 - a.momentum, 0]);
      const value = cast(batch, running.dtype);
      pointwise('add_scaled', target, [target, Tensor.window(value)], [a.momentum * a.factor]);
      return [];
    }),
  );
  markWritten(running);
}

/** counter ← counter + 1, an int32, on its device. */
export function countOneMore(counter: Tensor): void {
  unrecorded(() =>
    tidy(() => {
      copyInto(counter, add(cast(counter, 'float64'), 1));
      return [];
    }),
  );
}
