/** The count of batches that running averages have seen. */

import { cast } from '../ops/convert.js';
import { copyInto } from '../ops/copy.js';
import { add } from '../ops/elementwise.js';
import { type Tensor, tidy, unrecorded } from '../tensor.js';

/** counter ← counter + 1, an int32, on its device: for a batch of no elements, of which no kernel runs. */
export function countOneMore(counter: Tensor): void {
  unrecorded(() =>
    tidy(() => {
      copyInto(counter, add(cast(counter, 'float64'), 1));
      return [];
    }),
  );
}
