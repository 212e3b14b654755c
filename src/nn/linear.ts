/** A fully connected layer (torch.nn.Linear): y = x·Wᵀ + b with W (out, in). */

import { checkBoolean, checkPlacement, checkSize, fail, options } from '../checks.js';
import type { Dtype } from '../dtype.js';
import { allocateTensor, type Tensor } from '../tensor.js';
import { COUNT, checkRule } from './arguments.js';
import { linear } from './functional.js';
import { kaimingUniform_, uniform_ } from './init.js';
import { Module } from './module.js';
import { type Parameter, parameter } from './parameter.js';
import { pythonBoolean } from './repr.js';

export interface LinearOptions {
  /** Default true. */
  readonly bias?: boolean;
  /** A float type. Default 'float32'. */
  readonly dtype?: Dtype;
  readonly device?: string;
}

export class Linear extends Module {
  readonly inFeatures: number;
  readonly outFeatures: number;
  weight: Parameter;
  bias: Parameter | null = null;

  /** @throws FracstrideError ERR_ARGUMENT, ERR_DTYPE, ERR_DEVICE_UNAVAILABLE, ERR_OUT_OF_MEMORY */
  constructor(inFeatures: number, outFeatures: number, settings: LinearOptions = {}) {
    super();
    const found = options('Linear', settings, ['bias', 'dtype', 'device']);
    this.inFeatures = checkRule('Linear', 'inFeatures', inFeatures, COUNT);
    this.outFeatures = checkRule('Linear', 'outFeatures', outFeatures, COUNT);
    const hasBias = checkBoolean('Linear', 'bias', found.bias, true);
    const { dtype, device } = checkPlacement('Linear', { dtype: found.dtype, device: found.device });
    if (dtype === 'int32') fail('ERR_DTYPE', 'Linear', 'dtype', 'a float type', dtype);
    const shape = [this.outFeatures, this.inFeatures];
    checkSize('Linear', shape, dtype);
    this.weight = parameter(allocateTensor({ shape, dtype, device }));
    try {
      if (hasBias) this.bias = parameter(allocateTensor({ shape: [this.outFeatures], dtype, device }));
    } catch (error) {
      this.dispose();
      throw error;
    }
    this.resetParameters();
  }

  /** Weight, then bias, from U(−1/√in, 1/√in). */
  resetParameters(): void {
    kaimingUniform_(this.weight, { a: Math.sqrt(5) });
    const bound = this.inFeatures > 0 ? 1 / Math.sqrt(this.inFeatures) : 0;
    if (this.bias !== null) uniform_(this.bias, -bound, bound);
  }

  /** (…, in) → (…, out) */
  forward(input: Tensor): Tensor {
    return linear(input, this.weight, this.bias);
  }

  override extraRepr(): string {
    const bias = pythonBoolean(this.bias !== null);
    return `in_features=${this.inFeatures}, out_features=${this.outFeatures}, bias=${bias}`;
  }
}
