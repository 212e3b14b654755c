/** Modules, as torch.nn has them. */

export { LeakyReLU, ReLU, Sigmoid, Tanh } from './activation.js';
export type { Size2 } from './arguments.js';
export { ModuleList, Sequential } from './containers.js';
export type { ConvOptions } from './conv_base.js';
export { ConvTranspose2d, type ConvTranspose2dModuleOptions, type ForwardOptions } from './conv_transpose2d.js';
export { Conv2d, type Conv2dModuleOptions, type PaddingMode } from './conv2d.js';
export * as functional from './functional.js';
export * as init from './init.js';
export { LazyConvTranspose2d } from './lazy.js';
export { Linear, type LinearOptions } from './linear.js';
export { BCEWithLogitsLoss, L1Loss, MSELoss } from './loss.js';
export { type Layer, Module } from './module.js';
export { BatchNorm2d, type BatchNorm2dOptions } from './norm.js';
export { isParameter, type Parameter, parameter } from './parameter.js';
export type { Placement } from './placement.js';
export { Flatten, Identity, Unflatten } from './shape.js';
export type { LoadOptions, LoadReport, StateDict } from './state.js';
