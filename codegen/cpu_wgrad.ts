/**
 * The units of the weight gradient: one generated file an accumulator type and instruction set, with its micro-kernels
 * over segments of positions, its packing and stores, and the entries of its kernels.
 */

import { type Accumulator, PASS_NAMES, storages, vectorContext } from './cpu_engine.js';
import { microKernels } from './cpu_micro.js';
import type { CpuKernel, CpuUnit } from './cpu_unit.js';
import { contractionExtents, extentsText } from './extents.js';
import { kindsOf } from './operations.js';
import { argumentTable } from './passes.js';
import { LAYOUTS } from './problem.js';
import { type CpuIsa, cpuTileOf } from './target.js';

export const WGRAD_UNITS: readonly CpuUnit[] = (['float', 'double'] as const).map((accumulator) => ({
  what: `wgrad_${accumulator}`,
  template: 'wgrad.cpp.njk',
  context: (isa) => wgradContext(isa, accumulator),
  kernels: (isa) => wgradKernels(isa, accumulator),
}));

/** Positions of one product: a panel of each operand then stays in a first-level cache. */
const BLOCK_DEPTH = 128;

function wgradContext(isa: CpuIsa, accumulator: Accumulator): Record<string, unknown> {
  const sizes = cpuTileOf(isa, accumulator);
  const tile = { ...sizes, k_pitch: BLOCK_DEPTH + sizes.width };
  const micro = (['segments', 'row_segments'] as const).map((kind) => microKernels(tile, kind));
  return {
    ...tile,
    ...vectorContext(sizes.width, accumulator),
    accumulator,
    micro: micro.flat(2),
    tables: micro.map((halves) => halves.map((kernels) => kernels.map((kernel) => kernel.name).join(', '))),
    engines: storages(accumulator).map(({ short }) => short.toUpperCase()),
    kernels: wgradKernels(isa, accumulator),
  };
}

interface WgradKernel extends CpuKernel {
  /** The driver's call. */
  readonly call: string;
}

function wgradKernels(isa: CpuIsa, accumulator: Accumulator): WgradKernel[] {
  const { rows, lanes } = cpuTileOf(isa, accumulator);
  const table = argumentTable('wgrad', 'general');
  return storages(accumulator).flatMap(({ short, bytes }) =>
    LAYOUTS.map((layout) => ({
      name: `${PASS_NAMES.wgrad}_${short}_${layout}__igemm_t${rows}x${lanes}__${isa}`,
      kinds: kindsOf(table),
      extents: extentsText(table, contractionExtents('wgrad', bytes)),
      call: `conv_wgrad(params, ENGINE_${short.toUpperCase()}, ${layout.toUpperCase()})`,
    })),
  );
}
