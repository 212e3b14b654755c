/** The units of the kernels for small sides with few positions (`point`): products with the weight where it lies. */

import { type Accumulator, PASS_NAMES, storages, vectorContext } from './cpu_engine.js';
import type { CpuKernel, CpuUnit } from './cpu_unit.js';
import { contractionExtents, extentsText } from './extents.js';
import { kindsOf } from './operations.js';
import { argumentTable } from './passes.js';
import { LAYOUTS } from './problem.js';
import { type CpuIsa, cpuTileOf } from './target.js';

export const POINT_UNITS: readonly CpuUnit[] = (['float', 'double'] as const).map((accumulator) => ({
  what: `point_${accumulator}`,
  template: 'point.cpp.njk',
  context: (isa) => pointContext(isa, accumulator),
  kernels: (isa) => pointKernels(isa, accumulator),
}));

interface PointKernel extends CpuKernel {
  /** The driver's call. */
  readonly call: string;
}

function pointKernels(isa: CpuIsa, accumulator: Accumulator): PointKernel[] {
  return storages(accumulator).flatMap(({ short, bytes }) =>
    LAYOUTS.flatMap((layout) =>
      (['expand', 'contract', 'wgrad'] as const).map((form) => ({
        name: `${PASS_NAMES[form]}_${short}_${layout}__point__${isa}`,
        kinds: kindsOf(argumentTable(form, 'general')),
        extents: extentsText(argumentTable(form, 'general'), contractionExtents(form, bytes)),
        call: `point_${form}(params, ENGINE_${short.toUpperCase()}, ${layout.toUpperCase()})`,
      })),
    ),
  );
}

function pointContext(isa: CpuIsa, accumulator: Accumulator): Record<string, unknown> {
  const { rows, width } = cpuTileOf(isa, accumulator);
  return {
    accumulator,
    rows,
    width,
    ...vectorContext(width, accumulator),
    counts: Array.from({ length: rows }, (_, i) => i + 1),
    engines: storages(accumulator).map(({ short }) => short.toUpperCase()),
    kernels: pointKernels(isa, accumulator),
  };
}
