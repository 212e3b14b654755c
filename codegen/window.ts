/**
 * What a thread of the head and depthwise kernels reads of the source for neighbouring positions of a row, and what it uses
 * each value for.
 */

import type { Axis } from './phases.js';
import type { Layout } from './problem.js';
import { axesOf, type BakedShape } from './tiles.js';

/** Elements that are read at once: columns in NCHW, channels in NHWC. */
export const TOGETHER = 4;

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

export interface Window {
  readonly rows: Axis;
  readonly columns: Axis;
  readonly rowReads: readonly RowRead[];
  readonly columnReads: readonly ColumnRead[];
  readonly columnUses: readonly ColumnUse[];
  /** Its first column relative to the first position's, and how many it has. */
  readonly first: number;
  readonly span: number;
  /** Columns that are read. */
  readonly width: number;
}

export function windowOf(form: 'expand' | 'contract', shape: BakedShape, positions: number, layout: Layout): Window {
  const { rows, columns } = axesOf(form, shape);
  const found = columnsOf(columns, positions, layout);
  const width = found.columnReads.reduce((sum, { count }) => sum + count, 0);
  return { rows, columns, rowReads: rowReadsOf(rows), ...found, width };
}

function rowReadsOf(rows: Axis): RowRead[] {
  const uses = rows.phases.flatMap(({ taps }, phase) => taps.map(({ tap, delta }) => ({ tap, delta, phase })));
  const deltas = [...new Set(uses.map(({ delta }) => delta))].sort((a, b) => a - b);
  return deltas.map((delta, index) => ({ index, delta, uses: uses.filter((use) => use.delta === delta) }));
}

/** In NCHW the window is cut into aligned fours or pairs where positions begin at one; what a thread does not use is not read. */
function columnsOf(columns: Axis, positions: number, layout: Layout) {
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
