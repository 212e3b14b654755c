/** The units of the convolution engine: micro-kernels, packing and entries for each element type. */

import type { CpuUnit } from './cpu_unit.js';

export const ENGINE_UNITS: readonly CpuUnit[] = [];
