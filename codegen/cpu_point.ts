/** The units of the kernels for small sides with few positions (`point`): products with the weight where it lies. */

import { type Accumulator, type DrivenKernel, drivenKernel, drivenKernels, familyUnits } from './cpu_engine.js';
import { type CpuIsa, cpuTileOf } from './target.js';

export const POINT_UNITS = familyUnits('point', pointKernels, pointContext);

function pointKernels(isa: CpuIsa, accumulator: Accumulator): DrivenKernel[] {
  return drivenKernels(accumulator, ['contract', 'wgrad'], (form, storage, layout) => {
    const engine = `ENGINE_${storage.short.toUpperCase()}`;
    return drivenKernel({
      form,
      storage,
      layout,
      how: 'point',
      isa,
      table: 'general',
      driver: `point_${form}`,
      engine,
    });
  });
}

function pointContext(isa: CpuIsa, accumulator: Accumulator): Record<string, unknown> {
  const { rows, width } = cpuTileOf(isa, accumulator);
  return {
    rows,
    width,
    counts: Array.from({ length: rows }, (_, i) => i + 1),
  };
}
