/**
 * The units of the kernels that multiply rows by panels of two vectors of lanes where they lie: for large sides of few
 * channels (`head`), by columns of channels and taps, the same for outputs of few channels or of few sums (`scatter`), and
 * for small sides with few positions (`point`).
 */

import { type Accumulator, type DrivenKernel, drivenKernel, drivenKernels, familyUnits } from './cpu_engine.js';
import type { CpuUnit } from './cpu_unit.js';
import type { Contraction } from './problem.js';
import { type CpuIsa, cpuTileOf } from './target.js';

export const PANEL_UNITS: readonly CpuUnit[] = [
  ...panelUnits('head', ['contract']),
  ...panelUnits('scatter', ['expand']),
  ...panelUnits('point', ['contract', 'wgrad']),
];

/** Of a variant, which is also the name of its template and of its drivers. */
function panelUnits(how: string, forms: readonly Contraction[]): readonly CpuUnit[] {
  const kernels = (isa: CpuIsa, accumulator: Accumulator): DrivenKernel[] =>
    drivenKernels(accumulator, forms, (form, storage, layout) => {
      const engine = `ENGINE_${storage.short.toUpperCase()}`;
      return drivenKernel({ form, storage, layout, how, isa, table: 'general', driver: `${how}_${form}`, engine });
    });
  return familyUnits(how, kernels, panelContext);
}

function panelContext(isa: CpuIsa, accumulator: Accumulator): Record<string, unknown> {
  const { rows, width } = cpuTileOf(isa, accumulator);
  const bits = Array.from({ length: width }, (_, i) => 2 ** i);
  return { rows, width, counts: Array.from({ length: rows }, (_, i) => i + 1), lane_bits: bits.join(', ') };
}
