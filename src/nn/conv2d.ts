/** Conv2d as a module (torch.nn.Conv2d): weight (Cout, Cin/G, R, S) and bias (Cout), and paddings other than zeros. */

import { checkTensor, checkWord, fail, options } from '../checks.js';
import { checkLow, type FusedOptions } from '../ops/conv_checks.js';
import { pad, type Sides } from '../ops/pad.js';
import { type Tensor, tidy } from '../tensor.js';
import { checkSize2, type Size2 } from './arguments.js';
import {
  CONV_KEYS,
  ConvBase,
  type ConvOptions,
  type ConvParameters,
  checkCommon,
  checkGroupsAndChannels,
} from './conv_base.js';
import { conv2d } from './functional.js';

export type PaddingMode = 'zeros' | 'reflect' | 'replicate' | 'circular';

export interface Conv2dModuleOptions extends ConvOptions {
  /** Rows and columns added on both sides, 'valid' (none), or 'same' (the output is of the input's size; stride 1 only). */
  readonly padding?: Size2 | 'same' | 'valid';
  /** What is added. Default 'zeros'. */
  readonly paddingMode?: PaddingMode;
}

const WHERE = 'Conv2d';
const MODES = ['zeros', 'reflect', 'replicate', 'circular'] as const;

export class Conv2d extends ConvBase {
  declare readonly paddingMode: PaddingMode;

  /** @internal */
  get outputAxis(): 0 {
    return 0;
  }

  /**
   * @param inChannels channels of the input, divisible by groups
   * @param outChannels channels of the output, divisible by groups
   * @param kernelSize an integer or `[height, width]`
   * @throws FracstrideError ERR_ARGUMENT, ERR_DTYPE, ERR_DEVICE_UNAVAILABLE, ERR_OUT_OF_MEMORY
   */
  constructor(inChannels: number, outChannels: number, kernelSize: Size2, settings: Conv2dModuleOptions = {}) {
    const found = options(WHERE, settings, CONV_KEYS);
    const counts = checkGroupsAndChannels(WHERE, { inChannels, outChannels, groups: found.groups });
    const common = checkCommon(WHERE, kernelSize, found);
    const padding = checkPadding(found.padding ?? 0, common.stride);
    super(WHERE, {
      ...counts,
      ...common,
      padding,
      outputPadding: [0, 0],
      paddingMode: checkWord(WHERE, 'paddingMode', found.paddingMode ?? 'zeros', MODES),
      weightShape: [counts.outChannels, counts.inChannels / counts.groups, ...common.kernelSize],
    });
  }

  /**
   * @param input (N, Cin, H, W) or (Cin, H, W)
   * @returns (N, Cout, P, Q), or (Cout, P, Q)
   * @throws FracstrideError what `functional.conv2d` throws; ERR_SHAPE when the input is too small to be mirrored
   */
  forward(input: Tensor): Tensor {
    return this.forwardFused(input, {});
  }

  /** @internal */
  forwardFused(input: Tensor, epilogue: FusedOptions, { weight, bias }: ConvParameters = this): Tensor {
    const { stride, dilation, groups, padding } = this;
    const settings = { stride, dilation, groups, ...epilogue };
    if (this.paddingMode === 'zeros') return conv2d(input, weight, bias, { ...settings, padding });
    checkTensor(WHERE, 'input', input);
    if (input.ndim !== 3 && input.ndim !== 4) {
      fail('ERR_SHAPE', WHERE, 'input', '3-dimensional (C, H, W) or 4-dimensional (N, C, H, W)', input.shape);
    }
    if (typeof padding !== 'string') checkLow(WHERE, 'padding', padding, 0);
    const mode = this.paddingMode;
    return tidy(() => conv2d(pad(input, this.#sides(), mode), weight, bias, settings));
  }

  /** Rows and columns on each side; of an odd total for 'same' the larger half goes right and down. */
  #sides(): Sides {
    const total = (axis: 0 | 1): number => {
      if (this.padding === 'valid') return 0;
      if (this.padding === 'same') return this.dilation[axis] * (this.kernelSize[axis] - 1);
      return 2 * this.padding[axis];
    };
    const before = (axis: 0 | 1): number => Math.floor(total(axis) / 2);
    return { top: before(0), bottom: total(0) - before(0), left: before(1), right: total(1) - before(1) };
  }
}

function checkPadding(value: unknown, stride: readonly number[]): readonly [number, number] | 'same' | 'valid' {
  if (typeof value !== 'string') return checkSize2(WHERE, 'padding', value);
  const word = checkWord(WHERE, 'padding', value, ['same', 'valid']);
  if (word === 'same' && stride.some((step) => step !== 1)) {
    fail('ERR_ARGUMENT', WHERE, "stride for padding 'same'", '1: strided convolutions have no such padding', stride);
  }
  return word;
}
