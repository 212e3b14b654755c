/**
 * The register tiles of the CPU micro-kernels, as the lists that the template unrolls: which sums there are, what is
 * loaded, what is multiplied with what.
 */

import type { CpuTile } from './target.js';

/**
 * Where the operands of a micro-kernel lie: A by k or by rows in packed panels, A by k and B where the tensor has it, or
 * segments of packed panels with A by k.
 */
export type MicroKind = 'by_k' | 'by_row' | 'direct' | 'segments';

/** Sizes of a register tile and of packed panels, in elements. */
export interface MicroTile extends CpuTile {
  /** From one row to the next of an A that is packed by rows. */
  readonly k_pitch: number;
}

interface Shape {
  readonly tile: MicroTile;
  readonly kind: MicroKind;
  readonly rows: number;
  readonly vectors: number;
}

const PACKED =
  'int64_t depth, const void* from_a, const void* from_b, void* to, int64_t c_pitch, int64_t accumulate, const void* ahead';
const DIRECT =
  'int64_t depth, const void* from_a, const void* from_b, int64_t pitch, int64_t first, int64_t last, void* to';
const SEGMENTS =
  'const Segment* segments, int64_t count, const void* from_a, const void* from_b, void* to, int64_t accumulate';
const PARAMETERS: Readonly<Record<MicroKind, string>> = {
  by_k: PACKED,
  by_row: PACKED,
  direct: DIRECT,
  segments: SEGMENTS,
};

/** Every micro-kernel of a kind: for one vector of lanes and for two, for 1, 2, … rows. */
export function microKernels(tile: MicroTile, kind: MicroKind) {
  const rows = range(tile.rows).map((row) => row + 1);
  return [1, 2].map((vectors) => rows.map((count) => microKernel({ tile, kind, rows: count, vectors })));
}

function microKernel(shape: Shape) {
  const { tile, kind } = shape;
  const cells = cellsOf(shape);
  const ways = range(waysOf(cells.length));
  return {
    name: `micro_${kind}_${shape.rows}x${shape.vectors * tile.width}`,
    parameters: PARAMETERS[kind],
    accumulate: kind === 'direct' ? 'true' : 'accumulate',
    fetches: fetchesAhead(shape),
    masks: kind === 'direct' ? vectorsOf(shape) : [],
    // From one row of C to the next: where it is known it costs nothing, else one addition and no multiplication.
    pitch: PARAMETERS[kind] === PACKED ? 'c_pitch' : `${tile.lanes}`,
    lines: range(shape.rows).map((row) =>
      vectorsOf(shape).map((v) => ({ name: sumName({ row, vector: v.index }, 0), offset: v.offset })),
    ),
    sums: ways.flatMap((way) => cells.map((cell) => ({ name: sumName(cell, way) }))),
    loops: [...new Set([ways.length, 1])].map((count) => loopOf(shape, count)),
    merges: ways.slice(1).flatMap((way) => cells.map((cell) => ({ into: sumName(cell, 0), from: sumName(cell, way) }))),
  };
}

/** Sums that each element is split into: about eight additions have to be under way for the units to be busy. */
function waysOf(cells: number): number {
  return cells <= 3 ? 4 : cells < 8 ? 2 : 1;
}

/**
 * Tiles of few rows wait for B, which then comes from memory in one stream: so many elements are asked for ahead. Tiles
 * of more rows ask for what their caller says comes next, one line for each k.
 */
const FEW_ROWS = 7;
const PREFETCHED = 2048;

function fetchesAhead({ kind, rows }: Shape): boolean {
  return (kind === 'by_k' || kind === 'by_row') && rows > FEW_ROWS;
}

interface Cell {
  readonly row: number;
  readonly vector: number;
}

const sumName = (cell: Cell, way: number) => `c${cell.row}_${cell.vector}_${way}`;

function cellsOf(shape: Shape): Cell[] {
  return range(shape.rows).flatMap((row) => vectorsOf(shape).map(({ index }) => ({ row, vector: index })));
}

function vectorsOf(shape: Shape) {
  return range(shape.vectors).map((index) => ({ index, offset: index * shape.tile.width }));
}

/** One pass takes `ways` neighbouring k. */
function loopOf(shape: Shape, ways: number) {
  const { tile, kind } = shape;
  const [rowStep, kStep] = kind === 'by_row' ? [tile.k_pitch, 1] : [1, tile.a_pitch];
  const bStep = (count: number) => (kind === 'direct' ? `${count} * pitch` : `${count * tile.lanes}`);
  const load = (offset: number, way: number, mask: number) =>
    kind === 'direct'
      ? `load_masked(b + ${bStep(way)} + ${offset}, mask${mask})`
      : `*reinterpret_cast<const Vector*>(b + ${bStep(way)} + ${offset})`;
  return {
    ways,
    prefetches:
      kind === 'by_row' && shape.rows <= FEW_ROWS
        ? range(ways * shape.vectors).map((v) => PREFETCHED + v * tile.width)
        : [],
    a_step: ways * kStep,
    b_step: bStep(ways),
    loads: range(ways).flatMap((way) =>
      vectorsOf(shape).map((v) => ({ name: `b${v.index}_${way}`, load: load(v.offset, way, v.index) })),
    ),
    products: range(ways).flatMap((way) =>
      cellsOf(shape).map((cell) => ({
        sum: sumName(cell, way),
        a: cell.row * rowStep + way * kStep,
        b: `b${cell.vector}_${way}`,
      })),
    ),
  };
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
