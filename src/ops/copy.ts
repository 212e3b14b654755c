/** Values into a tensor that exists: outside the graph, and noted, so that a backward pass that saved it refuses. */

import { checkTensor, fail } from '../checks.js';
import { mode } from '../context.js';
import { pointwise } from '../pointwise.js';
import { broadcastShapes, sameNumbers } from '../shape.js';
import { isExpanded, markWritten, Tensor, tidy, unrecorded } from '../tensor.js';
import { to as convert } from './convert.js';

/** @throws FracstrideError ERR_ARGUMENT for a tensor some of whose elements share their memory */
export function checkOwnElements(where: string, what: string, x: Tensor): void {
  if (isExpanded(x))
    fail('ERR_ARGUMENT', where, what, 'a tensor of elements with memory of their own', 'an expanded one');
}

/** x ← source, of the same shape, whatever the device and the element type. */
export function copyInto(x: Tensor, source: Tensor): void {
  const target = Tensor.window(x);
  const place = { dtype: target.dtype, device: target.storage.device.name };
  unrecorded(() =>
    tidy(() => {
      pointwise('copy', target, [Tensor.window(convert(source, place))]);
      return [];
    }),
  );
  markWritten(x);
}

/**
 * Copies the elements of `source`, broadcast to x's shape and converted to its dtype and device, into x's memory, and
 * returns x. Not recorded: outside of `noGrad` neither tensor may require a gradient.
 *
 * @throws FracstrideError ERR_SHAPE unless source's shape broadcasts to x's, ERR_ARGUMENT where a gradient is required, or
 *   x is expanded
 */
export function copy_(x: Tensor, source: Tensor): Tensor {
  checkTensor('copy_', 'x', x);
  const { shape } = checkTensor('copy_', 'source', source);
  if (!sameNumbers(broadcastShapes(x.shape, shape) ?? [], x.shape) && !sameNumbers(shape, x.shape)) {
    fail('ERR_SHAPE', 'copy_', 'source', `of a shape that broadcasts to [${x.shape.join(', ')}]`, shape);
  }
  checkOwnElements('copy_', 'x', x);
  if (mode().recording && (x.requiresGrad || source.requiresGrad)) {
    fail(
      'ERR_ARGUMENT',
      'copy_',
      'x and source',
      'without gradients, or copied in noGrad',
      'one that requires a gradient',
    );
  }
  copyInto(x, source);
  return x;
}
