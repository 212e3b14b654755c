/** Which modules that follow one another run as one kernel. */

import { FUSED_WITH_NORM } from '../../codegen/operations.js';
import type { FusedOptions } from '../ops/conv_checks.js';
import type { Tensor } from '../tensor.js';
import { LeakyReLU, ReLU, Sigmoid, Tanh } from './activation.js';
import type { ConvBase } from './conv_base.js';
import { ConvTranspose2d } from './conv_transpose2d.js';
import { Conv2d } from './conv2d.js';
import { folded } from './folding.js';
import type { Module } from './module.js';
import { BatchNorm2d } from './norm.js';

export interface Fused {
  readonly run: () => Tensor;
  /** How many of the modules behind the first are done with it. */
  readonly others: number;
}

/** What does the work of a layer and of those behind it in one, or null where nothing does. */
export function fused(input: Tensor, layer: Module, behind: readonly (Module | undefined)[]): Fused | null {
  // Exactly the package's own: a sub-class may compute something else.
  if (isOwn(layer, ConvTranspose2d) || isOwn(layer, Conv2d)) return fusedConvolution(input, layer as ConvBase, behind);
  if (!isOwn(layer, BatchNorm2d)) return null;
  const epilogue = fusedActivation(behind[0]);
  const activation = FUSED_WITH_NORM.find((name) => name === epilogue?.activation);
  if (epilogue === null || activation === undefined) return null;
  const slope = epilogue.negativeSlope ?? 0;
  return { run: () => (layer as BatchNorm2d).forwardFused(input, { activation, slope }), others: 1 };
}

function fusedConvolution(input: Tensor, layer: ConvBase, behind: readonly (Module | undefined)[]): Fused | null {
  const [next, last] = behind;
  const parameters = isOwn(next, BatchNorm2d) ? folded(input, layer, next as BatchNorm2d) : null;
  const epilogue = fusedActivation(parameters === null ? next : last);
  if (parameters === null && epilogue === null) return null;
  return {
    run: () => layer.forwardFused(input, epilogue ?? {}, parameters ?? layer),
    others: Number(parameters !== null) + Number(epilogue !== null),
  };
}

function isOwn(layer: Module | undefined, kind: unknown): boolean {
  return layer !== undefined && layer.constructor === kind && !Object.hasOwn(layer, 'forward');
}

/** The epilogue that does what an activation module does, or null where there is none. */
function fusedActivation(layer: Module | undefined): FusedOptions | null {
  if (isOwn(layer, ReLU)) return { activation: 'relu' };
  if (isOwn(layer, Tanh)) return { activation: 'tanh' };
  if (isOwn(layer, Sigmoid)) return { activation: 'sigmoid' };
  if (!isOwn(layer, LeakyReLU)) return null;
  const { negativeSlope } = layer as LeakyReLU;
  // The gradient is taken from the output, whose sign a negative slope would turn.
  return negativeSlope >= 0 ? { activation: 'leaky_relu', negativeSlope } : null;
}
