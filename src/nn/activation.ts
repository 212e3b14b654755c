/** Activations as modules, with PyTorch's defaults. None of them works in place. */

import { options } from '../checks.js';
import { leakyRelu, relu, sigmoid, tanh } from '../ops/elementwise.js';
import type { Tensor } from '../tensor.js';
import { checkRule, FINITE } from './arguments.js';
import { Module } from './module.js';
import { pythonFloat } from './repr.js';

/** max(x, 0) */
export class ReLU extends Module {
  constructor(settings: Readonly<Record<string, never>> = {}) {
    super();
    options('ReLU', settings, []);
  }

  forward(input: Tensor): Tensor {
    return relu(input);
  }
}

/** x where x > 0, else negativeSlope · x. */
export class LeakyReLU extends Module {
  readonly negativeSlope: number;

  /** @param slope the slope itself, or `{ negativeSlope }`. Default 0.01. */
  constructor(slope: number | { readonly negativeSlope?: number } = {}) {
    super();
    const given = typeof slope === 'number' ? slope : options('LeakyReLU', slope, ['negativeSlope']).negativeSlope;
    this.negativeSlope = checkRule('LeakyReLU', 'negativeSlope', given ?? 0.01, FINITE);
  }

  forward(input: Tensor): Tensor {
    return leakyRelu(input, this.negativeSlope);
  }

  override extraRepr(): string {
    return `negative_slope=${pythonFloat(this.negativeSlope)}`;
  }
}

/** The hyperbolic tangent. */
export class Tanh extends Module {
  forward(input: Tensor): Tensor {
    return tanh(input);
  }
}

/** 1 / (1 + e⁻ˣ) */
export class Sigmoid extends Module {
  forward(input: Tensor): Tensor {
    return sigmoid(input);
  }
}
