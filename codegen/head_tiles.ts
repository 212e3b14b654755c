/**
 * What the CUDA head kernels, for few output channels, derive from a shape and a tile: a thread sums some neighbouring
 * positions of a row with every residue class and output channel, over a share of the input channels. Costs, contexts and
 * launches read the same numbers from here.
 */

import type { Axis } from './phases.js';
import type { Layout } from './problem.js';
import { axesOf, type BakedShape } from './tiles.js';

export interface HeadTile {
  /** Output channels of a group. */
  readonly outputs: number;
  /** Positions of a thread, neighbours in a row. */
  readonly positions: number;
  /** Threads of a block along positions, and threads that share the input channels of each. */
  readonly lanes: number;
  readonly splits: number;
}

export const HEAD_THREADS = 128;
/** Elements that are read at once: columns in NCHW, channels in NHWC. */
const TOGETHER = 4;
/** Bytes of staged weights; blocks, not memory, shall limit how many run together. */
const STAGED_BYTES = 16384;
/** Largest static shared memory of a block, in floats. */
const MOST_MEMORY = 12288;
/** Sums of a thread, and values of one source row that it holds: more would leave too few registers. */
const MOST_SUMS = 64;
const MOST_VALUES = 40;
/** Sums, and values of all rows of one round: compilers read ahead, and spill what is more. */
const MOST_HELD = 160;
/** Multiply-adds in the text of one round, unrolled. */
const MOST_PRODUCTS = 2048;

/** `{ tile: 'o3t4', block: 'b32x4' }` → numbers. */
export function parseHeadTile(tunables: Readonly<Record<string, number | string>>): HeadTile {
  const [outputs, positions] = String(tunables.tile).slice(1).split('t').map(Number) as [number, number];
  const [lanes, splits] = String(tunables.block).slice(1).split('x').map(Number) as [number, number];
  return { outputs, positions, lanes, splits };
}

/** Columns that are read at once, by their place in the window of a source row. */
export interface ColumnRead {
  readonly at: number;
  readonly count: number;
}

/** One row of the source, relative to a position's, and the rows of the kernel that carry it to a residue. */
export interface RowRead {
  readonly index: number;
  readonly delta: number;
  readonly uses: readonly { readonly tap: number; readonly phase: number }[];
}

/** A tap of a kernel row: its residue, and where in the window the first position reads it. */
export interface ColumnUse {
  readonly tap: number;
  readonly phase: number;
  readonly at: number;
}

export interface HeadPlan {
  readonly rows: Axis;
  readonly columns: Axis;
  readonly rowReads: readonly RowRead[];
  readonly columnReads: readonly ColumnRead[];
  readonly columnUses: readonly ColumnUse[];
  /** The window: its first column relative to the first position's, and how many it has. */
  readonly first: number;
  readonly span: number;
  /** Channels that a thread reads at once. */
  readonly vector: number;
  /** Sums of a thread. */
  readonly sums: number;
  /** Values of a source row that a thread holds. */
  readonly values: number;
  /** Multiply-adds of one round of a thread. */
  readonly products: number;
  /** Floats of a kernel row's weights, channels that are staged together, floats of shared memory. */
  readonly tapRow: number;
  readonly depth: number;
  readonly memory: number;
  /** Between the partial sums of threads that share channels, so that a warp's have banks of their own. */
  readonly splitPitch: number;
  /** Sums that are neighbours in memory. */
  readonly run: number;
}

export function headPlan(form: 'expand' | 'contract', shape: BakedShape, layout: Layout, tile: HeadTile): HeadPlan {
  const { rows, columns } = axesOf(form, shape);
  const { outputs, positions, lanes, splits } = tile;
  const window = windowOf(columns, positions, layout);
  const outputColumns = positions * columns.phases.length;
  const sums = rows.phases.length * outputColumns * outputs;
  const tapRow = Math.ceil((shape.s * outputs) / TOGETHER) * TOGETHER;
  const rowReads = rowReadsOf(rows);
  const width = window.columnReads.reduce((sum, { count }) => sum + count, 0);
  const held = (channels: number) => sums + rowReads.length * width * channels + tapRow;
  const vector = layout === 'nchw' ? 1 : ([TOGETHER, TOGETHER / 2].find((size) => held(size) <= MOST_HELD) ?? 1);
  const share = vector * splits;
  const depth = Math.max(1, Math.floor(STAGED_BYTES / 4 / (shape.r * tapRow * share))) * share;
  const splitPitch = lanes + (layout === 'nchw' ? 0 : 32 / splits);
  const partials = splits === 1 ? 0 : sums * splits * splitPitch;
  const run = layout === 'nchw' ? outputColumns : shape.groups === 1 ? outputColumns * outputs : outputs;
  return {
    ...{ rows, columns, ...window, rowReads, vector, sums, tapRow, depth, splitPitch, run },
    values: vector * width,
    products: shape.r * shape.s * positions * outputs * vector,
    memory: Math.max(depth * shape.r * tapRow, partials),
  };
}

export function rowReadsOf(rows: Axis): RowRead[] {
  const uses = rows.phases.flatMap(({ taps }, phase) => taps.map(({ tap, delta }) => ({ tap, delta, phase })));
  const deltas = [...new Set(uses.map(({ delta }) => delta))].sort((a, b) => a - b);
  return deltas.map((delta, index) => ({ index, delta, uses: uses.filter((use) => use.delta === delta) }));
}

/** In NCHW the window is cut into aligned fours or pairs where positions begin at one; what a thread does not use is not read. */
export function windowOf(columns: Axis, positions: number, layout: Layout) {
  const uses = columns.phases.flatMap(({ taps }, phase) => taps.map(({ tap, delta }) => ({ tap, delta, phase })));
  const step = columns.sourceStep;
  const used = new Set(uses.flatMap(({ delta }) => Array.from({ length: positions }, (_, t) => t * step + delta)));
  const [least, most] = [Math.min(...used, Infinity), Math.max(...used, -Infinity)];
  const cut = layout === 'nchw' ? [TOGETHER, TOGETHER / 2, 1].find((size) => (positions * step) % size === 0)! : 1;
  const first = used.size === 0 ? 0 : Math.floor(least / cut) * cut;
  const span = used.size === 0 ? 1 : Math.ceil((most + 1 - first) / cut) * cut;
  const columnReads: ColumnRead[] = [];
  for (let at = 0; at < span; at += cut) {
    const there = Array.from({ length: cut }, (_, i) => at + i).filter((i) => used.has(first + i));
    if (there.length > 1) columnReads.push({ at, count: cut });
    else if (there.length === 1) columnReads.push({ at: there[0]!, count: 1 });
  }
  const columnUses = uses.map(({ tap, delta, phase }) => ({ tap, phase, at: delta - first }));
  return { first, span, columnReads, columnUses };
}

/**
 * Blocks a multiprocessor: four leave a thread 128 registers, three 168. Compilers read a round's rows ahead, so that its
 * values count as a whole; in NHWC, four channels of them, they would spill with less than two blocks leave.
 */
export function headResident({ sums, values, vector, rowReads, tapRow }: HeadPlan): number {
  const held = sums + 1.25 * rowReads.length * values + tapRow;
  if (vector > 1 || held > 110) return 2;
  return held > 84 ? 3 : 4;
}

/** Why a head kernel of this tile cannot be: a thread would hold too much, or a block. Null where it can. */
export function headReason(plan: HeadPlan): string | null {
  if (plan.span > 32) return 'its threads read at most 32 neighbouring columns';
  if (plan.sums > MOST_SUMS) return `its threads hold at most ${MOST_SUMS} sums, not ${plan.sums}`;
  if (plan.values > MOST_VALUES) return `its threads hold at most ${MOST_VALUES} values of a row, not ${plan.values}`;
  if (plan.products > MOST_PRODUCTS) return `its text holds at most ${MOST_PRODUCTS} products, not ${plan.products}`;
  return plan.memory > MOST_MEMORY ? 'its weights and partial sums take more shared memory than a block has' : null;
}
