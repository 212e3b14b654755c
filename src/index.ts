/** fracstride: transposed convolutions, and what it takes to train with them, on CPUs and CUDA devices. */

import './methods.js';

export {
  areDeterministicAlgorithmsEnabled,
  backends,
  useDeterministicAlgorithms,
  type WinogradMode,
} from './backends.js';
export {
  arange,
  empty,
  full,
  type NestedNumbers,
  ones,
  onesLike,
  rand,
  randn,
  type TensorLike,
  type TensorOptions,
  tensor,
  zeros,
  zerosLike,
} from './create.js';
export * as cuda from './cuda.js';
export type { DeviceName } from './device.js';
export type { Dtype, TensorData } from './dtype.js';
export { ERROR_CODES, type ErrorCode, FracstrideError } from './errors.js';
export { backward, type GradOptions, grad } from './gradients.js';
export * as io from './io/index.js';
export { lastKernel } from './kernels.js';
export { memory } from './memory.js';
export type { BackwardOptions, ReduceOptions, ToOptions } from './method_types.js';
export type { CudaDeviceInfo, MemoryInfo } from './native.js';
export * as nn from './nn/index.js';
export type { FusedOptions, IntOrPair } from './ops/conv_checks.js';
export { to } from './ops/convert.js';
export {
  abs,
  add,
  clamp,
  div,
  eq,
  exp,
  gt,
  leakyRelu,
  log,
  maximum,
  minimum,
  mul,
  neg,
  type Operand,
  pow,
  reciprocal,
  relu,
  sigmoid,
  sign,
  sqrt,
  square,
  sub,
  tanh,
  where,
} from './ops/elementwise.js';
export { cat, stack } from './ops/join.js';
export { max, mean } from './ops/reduce.js';
export { expand, sum } from './ops/sum.js';
export {
  clone,
  contiguous,
  flatten,
  narrow,
  permute,
  reshape,
  select,
  squeeze,
  transpose,
  unsqueeze,
} from './ops/views.js';
export * as optim from './optim/index.js';
export { manualSeed } from './random.js';
export { noGrad, scope } from './scope.js';
export type { Layout } from './shape.js';
export { keep, Tensor } from './tensor.js';
