/**
 * The unit of the CPU kernels that slide over rows (`slide`): one generated file, with a register tile for each pattern of
 * shifts and number of rows.
 */

import {
  type Accumulator,
  type DrivenKernel,
  drivenKernel,
  drivenKernels,
  engineName,
  familyUnit,
  storages,
} from './cpu_engine.js';
import type { CpuUnit } from './cpu_unit.js';
import { type CpuIsa, cpuTileOf } from './target.js';
import { SLIDE_ACCUMULATOR, SLIDE_ISA, SLIDE_PATTERNS, type SlidePattern } from './variants_slide.js';

export const SLIDE_UNIT: CpuUnit = {
  ...familyUnit('slide', SLIDE_ACCUMULATOR, slideKernels, slideContext),
  isas: [SLIDE_ISA],
};

function slideKernels(isa: CpuIsa, accumulator: Accumulator): DrivenKernel[] {
  return drivenKernels(accumulator, ['expand'], (form, storage, layout) => {
    const engine = `ENGINE_${storage.short.toUpperCase()}`;
    return drivenKernel({ form, storage, layout, how: 'slide', isa, table: 'general', driver: 'slide_expand', engine });
  });
}

/** Vector registers. */
const REGISTERS = 32;
/** Most rows of a tile (MAX_SLIDE_ROWS of cpu/conv_slide.h), its sums of a position, and its vectors (MAX_SLIDE_VECTORS). */
const [MOST_ROWS, MOST_SUMS, MOST_VECTORS] = [6, 12, 8];

function slideContext(isa: CpuIsa, accumulator: Accumulator): Record<string, unknown> {
  const { width, rows, lanes } = cpuTileOf(isa, accumulator);
  const patterns = SLIDE_PATTERNS.map((pattern, i) => {
    const most = Math.min(MOST_ROWS, Math.floor(MOST_SUMS / pattern.phases.length));
    const tiles = range(most).map((row) => slideTile(`slide_${i}_${row + 1}`, pattern, row + 1));
    return {
      phases: pattern.phases.length,
      window: pattern.window,
      first: pattern.phases.map(({ first }) => first).join(', '),
      taps: pattern.phases.map(({ taps }) => taps).join(', '),
      rows: most,
      tiles,
      micro: tiles.map(({ name }) => name).join(', '),
      vectors: tiles.map(({ vectors }) => vectors.length).join(', '),
    };
  });
  return {
    width,
    tile_rows: rows,
    lanes,
    patterns,
    lane_bits: range(width)
      .map((i) => 2 ** i)
      .join(', '),
    exact: storages(accumulator).map(({ short }) => engineName(isa, short)),
  };
}

/** What the template unrolls for one tile: the sums stay in registers beside the inputs of one shift and a weight. */
function slideTile(name: string, { phases, window }: SlidePattern, rows: number) {
  const count = Math.min(MOST_VECTORS, Math.floor((REGISTERS - 1) / (rows * phases.length + 1)));
  const vectors = range(count);
  const sum = (row: number, phase: number, v: number) => `s${row}_${phase}_${v}`;
  const cells = range(rows).flatMap((row) => phases.map((_, phase) => ({ row, phase })));
  let weights = 0;
  const shifts = range(window).map((shift) => {
    const readers = range(phases.length).filter(
      (f) => shift >= phases[f]!.first && shift < phases[f]!.first + phases[f]!.taps,
    );
    const products = readers.flatMap((phase) =>
      range(rows).map((row) => ({
        weight: weights++,
        sums: vectors.map((v) => ({ vector: v, name: sum(row, phase, v) })),
      })),
    );
    return { shift, products };
  });
  const sums = cells.flatMap(({ row, phase }) =>
    vectors.map((v) => ({ name: sum(row, phase, v), row, phase, vector: v })),
  );
  return { name, vectors, sums, shifts, weights };
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
