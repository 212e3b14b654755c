/** Modules that only change shapes, or nothing. */

import { checkArray, checkDim, checkTensor, fail } from '../checks.js';
import { flatten, reshape } from '../ops/views.js';
import { alias, type Tensor } from '../tensor.js';
import { checkRule, INTEGER } from './arguments.js';
import { Module } from './module.js';
import { pythonTuple } from './repr.js';

/** Its input; arguments are accepted and ignored, so that it can stand for any layer. */
export class Identity extends Module {
  constructor(..._ignored: readonly unknown[]) {
    super();
  }

  forward(input: Tensor): Tensor {
    return alias(checkTensor('Identity', 'input', input));
  }
}

/** Dimensions startDim … endDim as one; by default all but the batch. */
export class Flatten extends Module {
  readonly startDim: number;
  readonly endDim: number;

  constructor(startDim = 1, endDim = -1) {
    super();
    this.startDim = checkRule('Flatten', 'startDim', startDim, INTEGER);
    this.endDim = checkRule('Flatten', 'endDim', endDim, INTEGER);
  }

  forward(input: Tensor): Tensor {
    return flatten(input, this.startDim, this.endDim);
  }

  override extraRepr(): string {
    return `start_dim=${this.startDim}, end_dim=${this.endDim}`;
  }
}

/** One dimension as several. */
export class Unflatten extends Module {
  readonly dim: number;
  readonly sizes: readonly number[];

  /** @param sizes their product is the dimension's size; one may be -1 */
  constructor(dim: number, sizes: readonly number[]) {
    super();
    this.dim = checkRule('Unflatten', 'dim', dim, INTEGER);
    const given = checkArray('Unflatten', 'sizes', sizes);
    if (given.length === 0) fail('ERR_ARGUMENT', 'Unflatten', 'sizes', 'at least one size', given);
    this.sizes = given.map((size) => checkRule('Unflatten', 'sizes', size, INTEGER));
  }

  forward(input: Tensor): Tensor {
    const { shape } = checkTensor('Unflatten', 'input', input);
    const at = checkDim('Unflatten', this.dim, shape.length);
    return reshape(input, [...shape.slice(0, at), ...this.sizes, ...shape.slice(at + 1)]);
  }

  override extraRepr(): string {
    return `dim=${this.dim}, unflattened_size=${pythonTuple(this.sizes)}`;
  }
}
