/** Distances between a prediction x and a target t, element by element, in one pass each. */

import { checkFloat, checkSameDevice, checkSameDtype, checkTensor, fail } from '../checks.js';
import { compute } from '../pointwise.js';
import { record, type Tensor } from '../tensor.js';
import { mul, neg, sign, sub } from './elementwise.js';

/** (x − t)² */
export function squaredDifference(x: Tensor, target: Tensor): Tensor {
  return difference('sq_diff', x, target, (g, a, b) => mul(g, mul(sub(a, b), 2)));
}

/** |x − t|; its derivative at 0 is 0. */
export function absoluteDifference(x: Tensor, target: Tensor): Tensor {
  return difference('abs_diff', x, target, (g, a, b) => mul(g, sign(sub(a, b))));
}

/**
 * Refuses a prediction and a target that do not belong together: a loss over shapes that merely broadcast is nearly
 * always a mistake.
 *
 * @throws FracstrideError ERR_SHAPE, ERR_DTYPE, ERR_DEVICE_MISMATCH, ERR_ARGUMENT
 */
export function checkTarget(where: string, x: Tensor, target: Tensor): void {
  checkFloat(where, 'input', checkTensor(where, 'input', x));
  checkTensor(where, 'target', target);
  checkSameDevice(where, [x, target]);
  checkSameDtype(where, [x, target]);
  if (String(x.shape) !== String(target.shape)) {
    fail('ERR_SHAPE', where, 'target', `of the same size as the input, [${x.shape.join(', ')}]`, target.shape);
  }
}

function difference(
  name: 'sq_diff' | 'abs_diff',
  x: Tensor,
  target: Tensor,
  derivative: (g: Tensor, x: Tensor, target: Tensor) => Tensor,
): Tensor {
  return record(compute(name, [x, target]), {
    name,
    inputs: [x, target],
    saved: [x, target],
    backward: (g, [a, b], needed) => {
      const gx = derivative(g, a!, b!);
      return [gx, needed[1] ? neg(gx) : null];
    },
  });
}
