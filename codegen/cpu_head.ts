/** The units of the kernels for large sides of few channels (`head`): products over columns of channels and taps. */

import { type Accumulator, type DrivenKernel, drivenKernel, drivenKernels, familyUnits } from './cpu_engine.js';
import { type CpuIsa, cpuTileOf } from './target.js';

export const HEAD_UNITS = familyUnits('head', headKernels, headContext);

function headKernels(isa: CpuIsa, accumulator: Accumulator): DrivenKernel[] {
  return drivenKernels(accumulator, ['contract'], (form, storage, layout) => {
    const engine = `ENGINE_${storage.short.toUpperCase()}`;
    const driver = `head_${form}`;
    return drivenKernel({ form, storage, layout, how: 'head', isa, table: 'general', driver, engine });
  });
}

function headContext(isa: CpuIsa, accumulator: Accumulator): Record<string, unknown> {
  const { rows, width } = cpuTileOf(isa, accumulator);
  return { rows, width, counts: Array.from({ length: rows }, (_, i) => i + 1) };
}
