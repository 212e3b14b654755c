/** The functions of torch.nn.functional that this package has, under its names. */

export { type ConvTranspose2dOptions, convTranspose2d } from './ops/conv_transpose2d.js';
export { type Conv2dOptions, conv2d } from './ops/conv2d.js';
export { leakyRelu, relu, sigmoid, tanh } from './ops/elementwise.js';
export { type PadMode, type PadOptions, pad } from './ops/pad.js';
