/**
 * The units of the CPU kernels with output positions in the lanes (`direct`): one generated file an accumulator type and
 * instruction set, with the register tiles that its vectors allow.
 */

import { type Accumulator, type DrivenKernel, drivenKernel, drivenKernels, familyUnits } from './cpu_engine.js';
import { ACCUMULATOR_BYTES, CPU_VECTOR_BYTES, type CpuIsa } from './target.js';

export const DIRECT_UNITS = familyUnits('direct', directKernels, directContext);

function directKernels(isa: CpuIsa, accumulator: Accumulator): DrivenKernel[] {
  return drivenKernels(accumulator, ['expand', 'contract'], (form, storage, layout) => {
    const engine = `ENGINE_${storage.short.toUpperCase()}`;
    return drivenKernel({
      form,
      storage,
      layout,
      how: 'direct',
      isa,
      table: 'packing',
      driver: `conv_direct_${form}`,
      engine,
    });
  });
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
    width,
    lanes,
    counts: range(lanes).map((i) => i + 1),
    lane_bits: range(width)
      .map((i) => 2 ** i)
      .join(', '),
    micro: tiles.flat(),
    tables: tiles.map((kernels) => kernels.map(({ name }) => name).join(', ')),
    rows: MOST_ROWS[isa].join(', '),
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
