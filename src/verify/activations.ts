/** The activations that kernels can fuse, and their derivatives, as functions of the number before them. */

import type { Activation } from '../../codegen/problem.js';

export const SLOPE = 0.125;

export const ACTIVATE: Readonly<Record<Activation, (v: number) => number>> = {
  none: (v) => v,
  relu: (v) => (v < 0 ? 0 : v),
  leaky_relu: (v) => (v < 0 ? v * SLOPE : v),
  tanh: Math.tanh,
  sigmoid: (v) => 1 / (1 + Math.exp(-v)),
};

export const DERIVATIVE: Readonly<Record<Activation, (v: number) => number>> = {
  none: () => 1,
  relu: (v) => (v > 0 ? 1 : 0),
  leaky_relu: (v) => (v > 0 ? 1 : SLOPE),
  tanh: (v) => 1 - Math.tanh(v) ** 2,
  sigmoid: (v) => ACTIVATE.sigmoid(v) * (1 - ACTIVATE.sigmoid(v)),
};
