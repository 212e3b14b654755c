/** What ConvTranspose2d and Conv2d share: arguments in PyTorch's order of checks, parameters, initialisation, text. */

import { checkBoolean, checkPlacement, checkSize, fail, type Placement } from '../checks.js';
import type { Dtype } from '../dtype.js';
import type { FusedOptions } from '../ops/conv_checks.js';
import { allocateTensor, type Tensor } from '../tensor.js';
import { COUNT, checkRule, checkSize2, type Size2 } from './arguments.js';
import { calculateFanInAndFanOut, kaimingUniform_, uniform_, zeros_ } from './init.js';
import { Module } from './module.js';
import { type Parameter, parameter } from './parameter.js';
import { pythonTuple } from './repr.js';

/** Options of both constructors. */
export interface ConvOptions {
  /** Default 1. */
  readonly stride?: Size2;
  /** Default 1. */
  readonly dilation?: Size2;
  /** Blocked connections from input to output channels; divides both counts. Default 1. */
  readonly groups?: number;
  /** Whether a learnable bias is added. Default true. */
  readonly bias?: boolean;
  /** A float type. Default 'float32'. */
  readonly dtype?: Dtype;
  readonly device?: string;
}

export const CONV_KEYS = ['stride', 'padding', 'dilation', 'groups', 'bias', 'paddingMode', 'dtype', 'device'] as const;

/** Constructor arguments, checked. */
export interface ConvArguments {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernelSize: readonly [height: number, width: number];
  readonly stride: readonly [height: number, width: number];
  readonly padding: readonly [height: number, width: number] | 'same' | 'valid';
  readonly outputPadding: readonly [height: number, width: number];
  readonly dilation: readonly [height: number, width: number];
  readonly groups: number;
  readonly bias: boolean;
  readonly paddingMode: string;
  readonly placement: Placement;
  /** Sizes of the weight, by the operation. */
  readonly weightShape: readonly number[];
}

/** Groups, then channels, as PyTorch's _ConvNd checks them. */
export function checkGroupsAndChannels(
  where: string,
  a: { inChannels: unknown; outChannels: unknown; groups: unknown },
): { inChannels: number; outChannels: number; groups: number } {
  const groups = checkRule(where, 'groups', a.groups ?? 1, { words: 'a positive integer', holds: isPositive });
  const inChannels = checkRule(where, 'inChannels', a.inChannels, COUNT);
  const outChannels = checkRule(where, 'outChannels', a.outChannels, COUNT);
  for (const [name, channels] of Object.entries({ inChannels, outChannels })) {
    if (channels % groups !== 0) fail('ERR_ARGUMENT', where, name, `divisible by groups (${groups})`, channels);
  }
  return { inChannels, outChannels, groups };
}

/** The remaining arguments both constructors read alike. */
export function checkCommon(where: string, kernelSize: unknown, found: Readonly<Record<string, unknown>>) {
  const placement = checkPlacement(where, { dtype: found.dtype, device: found.device });
  if (placement.dtype === 'int32') fail('ERR_DTYPE', where, 'dtype', 'a float type', placement.dtype);
  return {
    kernelSize: checkSize2(where, 'kernelSize', kernelSize),
    stride: checkSize2(where, 'stride', found.stride ?? 1),
    dilation: checkSize2(where, 'dilation', found.dilation ?? 1),
    bias: checkBoolean(where, 'bias', found.bias, true),
    placement,
  };
}

/** What a convolution multiplies by and adds. */
export interface ConvParameters {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
}

export abstract class ConvBase extends Module {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernelSize: readonly [height: number, width: number];
  readonly stride: readonly [height: number, width: number];
  readonly padding: readonly [height: number, width: number] | 'same' | 'valid';
  readonly dilation: readonly [height: number, width: number];
  readonly outputPadding: readonly [height: number, width: number];
  readonly groups: number;
  readonly paddingMode: string;
  weight: Parameter;
  bias: Parameter | null = null;
  /** @internal The weight's dimension that counts a group's output channels. */
  abstract readonly outputAxis: 0 | 1;

  protected constructor(where: string, a: ConvArguments) {
    super();
    this.inChannels = a.inChannels;
    this.outChannels = a.outChannels;
    this.kernelSize = a.kernelSize;
    this.stride = a.stride;
    this.padding = a.padding;
    this.dilation = a.dilation;
    this.outputPadding = a.outputPadding;
    this.groups = a.groups;
    this.paddingMode = a.paddingMode;
    const { weight, bias } = makeParameters(where, a);
    this.weight = weight;
    this.bias = bias;
    this.resetParameters();
  }

  /**
   * Draws weight, then bias, from U(−√k, √k) with 1/k = weight.size(1)·R·S; for a transposed convolution that is
   * k = G / (Cout·R·S).
   */
  resetParameters(): void {
    kaimingUniform_(this.weight, { a: Math.sqrt(5) });
    if (this.bias === null) return;
    const [fanIn] = calculateFanInAndFanOut(this.weight);
    if (fanIn === 0) zeros_(this.bias);
    else uniform_(this.bias, -1 / Math.sqrt(fanIn), 1 / Math.sqrt(fanIn));
  }

  /** @internal `forward`, with an activation applied in the same kernel, and perhaps with other parameters. */
  abstract forwardFused(input: Tensor, epilogue: FusedOptions, parameters?: ConvParameters): Tensor;

  override extraRepr(): string {
    const parts = [`${this.inChannels}, ${this.outChannels}, kernel_size=${pythonTuple(this.kernelSize)}`];
    parts.push(`stride=${pythonTuple(this.stride)}`);
    const { padding } = this;
    if (typeof padding === 'string') parts.push(`padding=${padding}`);
    else if (!isBoth(padding, 0)) parts.push(`padding=${pythonTuple(padding)}`);
    if (!isBoth(this.dilation, 1)) parts.push(`dilation=${pythonTuple(this.dilation)}`);
    if (!isBoth(this.outputPadding, 0)) parts.push(`output_padding=${pythonTuple(this.outputPadding)}`);
    if (this.groups !== 1) parts.push(`groups=${this.groups}`);
    if (this.bias === null) parts.push('bias=False');
    if (this.paddingMode !== 'zeros') parts.push(`padding_mode=${this.paddingMode}`);
    return parts.join(', ');
  }
}

/** Weight and bias with undefined contents; when the second cannot be made the first does not outlive it. */
function makeParameters(where: string, a: ConvArguments): { weight: Parameter; bias: Parameter | null } {
  const { dtype, device } = a.placement;
  for (const size of a.weightShape) checkRule(where, "the weight's sizes", size, COUNT);
  checkSize(where, a.weightShape, dtype);
  const weight = parameter(allocateTensor({ shape: a.weightShape, dtype, device }));
  try {
    const bias = a.bias ? parameter(allocateTensor({ shape: [a.outChannels], dtype, device })) : null;
    return { weight, bias };
  } catch (error) {
    weight.dispose();
    throw error;
  }
}

function isBoth(pair: readonly number[], value: number): boolean {
  return pair.every((entry) => entry === value);
}

function isPositive(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0;
}
