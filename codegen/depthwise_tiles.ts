/**
 * What the CUDA depthwise kernels derive from a shape and a tile: a thread sums some neighbouring positions of a row with
 * every residue class, of one channel (NCHW) or of as many as 16 or 8 bytes hold (NHWC). Costs, contexts and launches read the
 * same numbers from here.
 */

import type { Layout } from './problem.js';
import { DTYPE_TABLE, type Dtype } from './target.js';
import type { BakedShape } from './tiles.js';
import { type Window, windowOf } from './window.js';

export interface DepthwiseTile {
  /** Positions of a thread, neighbours in a row. */
  readonly positions: number;
  /** Threads of a block along positions, and along channels. */
  readonly lanes: number;
  readonly blockChannels: number;
}

export const DEPTHWISE_THREADS = 128;
/** Sums of a thread, and with what it reads of a row: more would leave too few registers. */
const MOST_SUMS = 64;
const MOST_VALUES = 48;
/** Sums, and values of all rows: compilers read ahead, and spill what is more. */
const MOST_HELD = 200;
/** Largest static shared memory of a block, in floats. */
const MOST_MEMORY = 12288;
/** Multiply-adds in the text of one output, unrolled. */
const MOST_PRODUCTS = 2048;

/** `{ tile: 't2', block: 'b16x8' }` → numbers. */
export function parseDepthwiseTile(tunables: Readonly<Record<string, number | string>>): DepthwiseTile {
  const [lanes, blockChannels] = String(tunables.block).slice(1).split('x').map(Number) as [number, number];
  return { positions: Number(String(tunables.tile).slice(1)), lanes, blockChannels };
}

export interface DepthwisePlan extends Window {
  /** Channels of a thread. */
  readonly vector: number;
  readonly sums: number;
  /** Values of a source row that a thread holds. */
  readonly values: number;
  /** Multiply-adds of a thread. */
  readonly products: number;
  /** Sums that are neighbours in memory. */
  readonly run: number;
  /** Floats of shared memory. */
  readonly memory: number;
}

interface Kind {
  readonly layout: Layout;
  readonly dtype: Dtype;
}

export function depthwisePlan(
  form: 'expand' | 'contract',
  shape: BakedShape,
  { layout, dtype }: Kind,
  { positions, blockChannels }: DepthwiseTile,
): DepthwisePlan {
  const window = windowOf(form, shape, positions, layout);
  const { rows, columns, rowReads, width } = window;
  const outputColumns = positions * columns.phases.length;
  const heldByChannel = rows.phases.length * outputColumns + rowReads.length * width;
  const channels = 16 / DTYPE_TABLE[dtype].bytes;
  const vector = layout === 'nchw' ? 1 : heldByChannel * channels <= MOST_HELD ? channels : channels / 2;
  return {
    ...{ ...window, vector },
    sums: rows.phases.length * outputColumns * vector,
    values: vector * width,
    products: shape.r * shape.s * positions * vector,
    run: layout === 'nchw' ? outputColumns : vector,
    memory: layout === 'nchw' ? 0 : shape.r * shape.s * (blockChannels * vector + 4),
  };
}

/** Blocks a multiprocessor: memory takes the time, so that many threads shall wait for it at once. */
export function depthwiseResident({ sums, values, rowReads }: DepthwisePlan): number {
  const held = sums + 1.25 * rowReads.length * values;
  return held > 120 ? 2 : held > 72 ? 3 : 4;
}

/** Why a depthwise kernel of this tile cannot be: a thread would hold too much, or a block. Null where it can. */
export function depthwiseReason(plan: DepthwisePlan): string | null {
  if (plan.span > 32) return 'its threads read at most 32 neighbouring columns';
  if (plan.sums > MOST_SUMS) return `its threads hold at most ${MOST_SUMS} sums, not ${plan.sums}`;
  if (plan.values > MOST_VALUES) return `its threads hold at most ${MOST_VALUES} values of a row, not ${plan.values}`;
  if (plan.products > MOST_PRODUCTS) return `its text holds at most ${MOST_PRODUCTS} products, not ${plan.products}`;
  if (plan.rowReads.length * plan.values + plan.sums > MOST_HELD) return 'its threads read too much at once';
  return plan.memory > MOST_MEMORY ? 'its weights take more shared memory than a block has' : null;
}
