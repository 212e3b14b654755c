/** The units of the kernels that are not convolutions: one template a family of cpu_ops.ts. */

import type { CpuUnit } from './cpu_unit.js';

export const OPERATION_UNITS: readonly CpuUnit[] = [];
