/**
 * The units of the CPU kernels with output positions in the lanes (`direct`): one generated file an accumulator type and
 * instruction set, with the register tiles that its vectors allow.
 */

import { type Accumulator, argumentsOf, PASS_NAMES, storages, vectorContext } from './cpu_engine.js';
import type { CpuKernel, CpuUnit } from './cpu_unit.js';
import { contractionExtents, extentsText } from './extents.js';
import { kindsOf } from './operations.js';
import { LAYOUTS } from './problem.js';
import { ACCUMULATOR_BYTES, CPU_VECTOR_BYTES, type CpuIsa } from './target.js';

export const DIRECT_UNITS: readonly CpuUnit[] = (['float', 'double'] as const).map((accumulator) => ({
  what: `direct_${accumulator}`,
  template: 'direct.cpp.njk',
  context: (isa) => directContext(isa, accumulator),
  kernels: (isa) => directKernels(isa, accumulator),
}));

interface DirectKernel extends CpuKernel {
  /** The driver's call. */
  readonly call: string;
}

function directKernels(isa: CpuIsa, accumulator: Accumulator): DirectKernel[] {
  return storages(accumulator).flatMap(({ short, bytes }) =>
    LAYOUTS.flatMap((layout) =>
      (['expand', 'contract'] as const).map((form) => ({
        name: `${PASS_NAMES[form]}_${short}_${layout}__direct__${isa}`,
        kinds: kindsOf(argumentsOf(form)),
        extents: extentsText(argumentsOf(form), contractionExtents(form, bytes)),
        call: `conv_direct_${form}(params, ENGINE_${short.toUpperCase()}, ${layout.toUpperCase()})`,
      })),
    ),
  );
}

/** Most rows of a tile of 1, 2, 4 and 8 vectors: sums, a tile's inputs and a weight fill the registers. */
const MOST_ROWS: Readonly<Record<CpuIsa, readonly number[]>> = {
  avx512: [14, 14, 6, 3],
  avx2: [12, 6, 3, 1],
  baseline: [12, 6, 3, 1],
};

function directContext(isa: CpuIsa, accumulator: Accumulator): Record<string, unknown> {
  const width = CPU_VECTOR_BYTES[isa] / ACCUMULATOR_BYTES[accumulator];
  const tiles = MOST_ROWS[isa].map((rows, i) =>
    range(rows).map((row) => pixelTile({ rows: row + 1, vectors: 2 ** i, width })),
  );
  const lanes = 2 * width;
  return {
    accumulator,
    width,
    lanes,
    counts: range(lanes).map((i) => i + 1),
    ...vectorContext(width, accumulator),
    lane_bits: range(width)
      .map((i) => 2 ** i)
      .join(', '),
    micro: tiles.flat(),
    tables: tiles.map((kernels) => kernels.map(({ name }) => name).join(', ')),
    rows: MOST_ROWS[isa].join(', '),
    engines: storages(accumulator).map(({ short }) => short.toUpperCase()),
    kernels: directKernels(isa, accumulator),
  };
}

/** What the template unrolls for one register tile. */
function pixelTile({ rows, vectors, width }: { rows: number; vectors: number; width: number }) {
  const columns = range(vectors).map((index) => ({ index, offset: index * width }));
  return {
    name: `tile_${rows}x${vectors * width}`,
    rows,
    vectors: columns,
    sums: range(rows).flatMap((row) =>
      columns.map(({ index, offset }) => ({ name: `s${row}_${index}`, row, vector: index, offset })),
    ),
  };
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
