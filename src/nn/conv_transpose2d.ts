/**
 * ConvTranspose2d as a module (torch.nn.ConvTranspose2d): weight (Cin, Cout/G, R, S) and bias (Cout), and the choice of
 * an output size at the call.
 */

import { checkArray, checkTensor, fail, isArray, options } from '../checks.js';
import { FracstrideError, show } from '../errors.js';
import type { FusedOptions } from '../ops/conv_checks.js';
import type { Tensor } from '../tensor.js';
import { checkRule, checkSize2, INTEGER, type Size2 } from './arguments.js';
import {
  CONV_KEYS,
  ConvBase,
  type ConvOptions,
  type ConvParameters,
  checkCommon,
  checkGroupsAndChannels,
} from './conv_base.js';
import { convTranspose2d } from './functional.js';

export interface ConvTranspose2dModuleOptions extends ConvOptions {
  /** Rows and columns cut off on both sides of the output. Default 0. */
  readonly padding?: Size2;
  /** Rows and columns added at the bottom and right, smaller than stride or dilation. Default 0. */
  readonly outputPadding?: Size2;
  /** Only 'zeros'. */
  readonly paddingMode?: 'zeros';
}

export interface ForwardOptions {
  /**
   * `[P, Q]`, or all sizes of the output (only the last two are looked at); replaces the constructor's outputPadding.
   * From min = (H − 1)·stride − 2·padding + dilation·(R − 1) + 1 to min + stride − 1 in each dimension.
   */
  readonly outputSize?: readonly number[] | null;
}

const WHERE = 'ConvTranspose2d';

export class ConvTranspose2d extends ConvBase {
  /** @internal */
  get outputAxis(): 1 {
    return 1;
  }

  /**
   * @param inChannels channels of the input, divisible by groups
   * @param outChannels channels of the output, divisible by groups
   * @param kernelSize an integer or `[height, width]`
   * @throws FracstrideError ERR_ARGUMENT, ERR_DTYPE, ERR_DEVICE_UNAVAILABLE, ERR_OUT_OF_MEMORY
   */
  constructor(inChannels: number, outChannels: number, kernelSize: Size2, settings: ConvTranspose2dModuleOptions = {}) {
    const found = options(WHERE, settings, [...CONV_KEYS, 'outputPadding']);
    checkPaddingMode(found.paddingMode);
    const counts = checkGroupsAndChannels(WHERE, { inChannels, outChannels, groups: found.groups });
    const common = checkCommon(WHERE, kernelSize, found);
    super(WHERE, {
      ...counts,
      ...common,
      padding: checkSize2(WHERE, 'padding', found.padding ?? 0),
      outputPadding: checkSize2(WHERE, 'outputPadding', found.outputPadding ?? 0),
      paddingMode: 'zeros',
      weightShape: [counts.inChannels, counts.outChannels / counts.groups, ...common.kernelSize],
    });
  }

  /**
   * @param input (N, Cin, H, W) or (Cin, H, W)
   * @returns (N, Cout, P, Q), or (Cout, P, Q)
   * @throws FracstrideError ERR_ARGUMENT for an outputSize that is not possible, naming the valid range; and what
   *   `functional.convTranspose2d` throws
   */
  forward(input: Tensor, settings: ForwardOptions = {}): Tensor {
    const { outputSize } = options(WHERE, settings, ['outputSize']);
    checkTensor(WHERE, 'input', input);
    const outputPadding = outputSize == null ? this.outputPadding : this.#outputPaddingFor(input, outputSize);
    return this.#run(input, outputPadding, {}, this);
  }

  /** @internal */
  forwardFused(input: Tensor, epilogue: FusedOptions, parameters: ConvParameters = this): Tensor {
    return this.#run(input, this.outputPadding, epilogue, parameters);
  }

  #run(input: Tensor, outputPadding: readonly [number, number], epilogue: FusedOptions, by: ConvParameters): Tensor {
    const { stride, groups, dilation } = this;
    const padding = this.padding as readonly [number, number];
    return convTranspose2d(input, by.weight, by.bias, {
      stride,
      padding,
      outputPadding,
      groups,
      dilation,
      ...epilogue,
    });
  }

  #outputPaddingFor(input: Tensor, outputSize: unknown): readonly [number, number] {
    const size = spatialSize(input.ndim, outputSize);
    if (size === null) return this.outputPadding;
    const from = input.shape.slice(-2);
    const smallest = from.map((length, i) => {
      const reach = this.dilation[i]! * (this.kernelSize[i]! - 1);
      return (length - 1) * this.stride[i]! - 2 * (this.padding[i] as number) + reach + 1;
    });
    const largest = smallest.map((length, i) => length + this.stride[i]! - 1);
    if (size.some((length, i) => length < smallest[i]! || length > largest[i]!)) {
      const range = `in the valid range from ${list(smallest)} to ${list(largest)} (for an input of ${list(from)})`;
      throw new FracstrideError(
        'ERR_ARGUMENT',
        `${WHERE}: outputSize must be ${range}, got an output size of ${list(size)}`,
      );
    }
    return [size[0]! - smallest[0]!, size[1]! - smallest[1]!];
  }
}

/** The two sizes that count; null for an input of a rank that is refused anyway. */
function spatialSize(ndim: number, outputSize: unknown): number[] | null {
  if (!isArray(outputSize)) fail('ERR_ARGUMENT', WHERE, 'outputSize', 'an array of output sizes', outputSize);
  if (ndim !== 3 && ndim !== 4) return null;
  const sizes = checkArray(WHERE, 'outputSize', outputSize);
  if (sizes.length !== 2 && sizes.length !== ndim) {
    const rule = `of 2 or ${ndim} elements for ${ndim}D input`;
    throw new FracstrideError(
      'ERR_ARGUMENT',
      `${WHERE}: outputSize must be ${rule}, got ${sizes.length}: ${show(sizes)}`,
    );
  }
  return sizes.slice(-2).map((size) => checkRule(WHERE, 'outputSize', size, INTEGER));
}

function checkPaddingMode(value: unknown): void {
  if (value === undefined || value === 'zeros') return;
  fail('ERR_ARGUMENT', WHERE, 'paddingMode', "'zeros' (a transposed convolution has no other padding mode)", value);
}

function list(sizes: readonly number[]): string {
  return `[${sizes.join(', ')}]`;
}
