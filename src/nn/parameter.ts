/** Parameters: the tensors of a module that are trained. */

import { checkTensor } from '../checks.js';
import { keep, Tensor } from '../tensor.js';

const parameters = new WeakSet<Tensor>();

/** A tensor that modules list among their parameters. */
export type Parameter = Tensor;

/**
 * Declares a tensor to be a parameter: as a property of a module it is listed by `parameters()` and `stateDict()`.
 * Sets `requiresGrad`, takes the tensor out of every
 * `scope` (it lives until it, or its module, is disposed), and returns it.
 *
 * @throws FracstrideError ERR_ARGUMENT unless it is a leaf, ERR_DTYPE unless it holds floats
 */
export function parameter(value: Tensor): Parameter {
  checkTensor('parameter', 'value', value).requiresGrad = true;
  parameters.add(value);
  return keep(value);
}

/** Whether `parameter` was called with this tensor. */
export function isParameter(value: unknown): value is Parameter {
  return Tensor.isTensor(value) && parameters.has(value);
}
