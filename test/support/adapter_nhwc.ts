/** The adapter of adapter.ts with channels-last inputs, as a module of its own for checkers that load one by path. */

import { publicAdapter } from './adapter.js';

export { dtypes } from './adapter.js';

const nhwc = publicAdapter({ device: 'cpu', layout: 'nhwc' });
export const { convTranspose2d, conv2d, convTranspose2dBackward, conv2dBackward, module } = nhwc;
export const { convTranspose2dDoubleBackward, conv2dDoubleBackward } = nhwc;
