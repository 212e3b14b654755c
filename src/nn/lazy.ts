/** LazyConvTranspose2d (torch.nn.LazyConvTranspose2d): learns its number of input channels from the first input. */

import { checkBoolean, checkSize, checkTensor, fail, options } from '../checks.js';
import { allocateTensor, Tensor } from '../tensor.js';
import type { Size2 } from './arguments.js';
import { CONV_KEYS } from './conv_base.js';
import { ConvTranspose2d, type ConvTranspose2dModuleOptions, type ForwardOptions } from './conv_transpose2d.js';
import { parameter } from './parameter.js';

const WHERE = 'LazyConvTranspose2d';

/**
 * A ConvTranspose2d whose parameters are empty until its first input, or the state dict it loads, tells the number of
 * input channels; from then on it is a ConvTranspose2d, with new parameters: make optimisers after that.
 */
export class LazyConvTranspose2d extends ConvTranspose2d {
  /** @throws FracstrideError as ConvTranspose2d */
  constructor(outChannels: number, kernelSize: Size2, settings: ConvTranspose2dModuleOptions = {}) {
    const found = options(WHERE, settings, [...CONV_KEYS, 'outputPadding']);
    const biased = checkBoolean(WHERE, 'bias', found.bias, true);
    // Without a bias nothing is drawn from the random stream yet.
    super(0, outChannels, kernelSize, { ...settings, bias: false });
    if (biased) this.bias = parameter(emptyLike(this.weight, [0]));
  }

  override forward(input: Tensor, settings: ForwardOptions = {}): Tensor {
    const { shape } = checkTensor(WHERE, 'input', input);
    if (shape.length !== 3 && shape.length !== 4) {
      fail('ERR_SHAPE', WHERE, 'input', '3-dimensional (C, H, W) or 4-dimensional (N, C, H, W)', shape);
    }
    this.#materialise(shape.at(-3)!);
    this.resetParameters();
    return super.forward(input, settings);
  }

  /** @internal */
  override prepareLoad(given: (name: string) => Tensor | undefined): void {
    const weight = given('weight');
    if (weight?.ndim === 4) this.#materialise(weight.shape[0]!);
  }

  #materialise(inChannels: number): void {
    if (inChannels % this.groups !== 0) {
      fail('ERR_ARGUMENT', WHERE, 'inChannels', `divisible by groups (${this.groups})`, inChannels);
    }
    const before = [this.weight, this.bias];
    const shape = [inChannels, ...this.weight.shape.slice(1)];
    checkSize(WHERE, shape, this.weight.dtype);
    const weight = parameter(emptyLike(this.weight, shape));
    if (this.bias !== null) this.bias = parameter(emptyLike(this.weight, [this.outChannels]));
    this.weight = weight;
    (this as { inChannels: number }).inChannels = inChannels;
    for (const value of before) value?.dispose();
    Object.setPrototypeOf(this, ConvTranspose2d.prototype);
  }
}

function emptyLike(value: Tensor, shape: readonly number[]): Tensor {
  const { dtype, storage } = Tensor.window(value);
  return allocateTensor({ shape, dtype, device: storage.device });
}
