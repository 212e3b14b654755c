/**
 * What the CUDA kernels of depthwise weight gradients, and of small groups', derive from a shape and a tile: a thread holds all
 * taps of `vector` neighbouring channels, or of one channel of the small side with so many of the large one, and takes some neighbouring positions of a row at a time: what it reads of the small side is the
 * window of expand, what it reads of the large one all residues there. Costs, contexts and launches read the same numbers
 * from here.
 */

import type { Layout } from './problem.js';
import { DTYPE_TABLE, type Dtype } from './target.js';
import type { BakedShape } from './tiles.js';
import { type Window, windowOf } from './window.js';

export interface DepthwiseWgradTile {
  /** Positions that a thread takes at a time, neighbours in a row. */
  readonly positions: number;
  /** Pairs of channels that a thread has. */
  readonly vector: number;
  /** Whether they share a channel of the small side; otherwise each has its own. */
  readonly grouped: boolean;
  /** Threads of a block along positions, and along channels. */
  readonly lanes: number;
  readonly blockChannels: number;
  readonly threads: number;
}

/** `{ tile: 't2v4', block: 'b16x8' }` → numbers; `t2o4` where four channels of the large side share one of the small side. */
export function parseDepthwiseWgradTile(tunables: Readonly<Record<string, number | string>>): DepthwiseWgradTile {
  const tile = String(tunables.tile);
  const [positions, vector] = tile.slice(1).split(/[vo]/).map(Number) as [number, number];
  const [lanes, blockChannels] = String(tunables.block).slice(1).split('x').map(Number) as [number, number];
  return { positions, vector, grouped: tile.includes('o'), lanes, blockChannels, threads: lanes * blockChannels };
}

export interface DepthwiseWgradPlan extends Window {
  /** Sums of a thread: taps and pairs. */
  readonly cells: number;
  /** Channels of the small side. */
  readonly smalls: number;
  /** Values that a thread reads of a row of the small side, and of all rows of the large one. */
  readonly small: number;
  readonly large: number;
  /** Neighbours of the large side that are read at once: columns in NCHW, channels in NHWC. */
  readonly piece: number;
  /** Multiply-adds of a thread for its positions. */
  readonly products: number;
  /** Floats of shared memory, for what half of the threads hand to the others. */
  readonly memory: number;
}

interface Kind {
  readonly layout: Layout;
  readonly dtype: Dtype;
}

export function depthwiseWgradPlan(
  shape: BakedShape,
  { layout, dtype }: Kind,
  { positions, vector, grouped, threads }: DepthwiseWgradTile,
): DepthwiseWgradPlan {
  const window = windowOf('expand', shape, positions, layout);
  const columns = positions * window.columns.phases.length;
  const cells = shape.r * shape.s * vector;
  const { bytes } = DTYPE_TABLE[dtype];
  const smalls = grouped ? 1 : vector;
  const along = layout === 'nchw' ? columns : vector;
  return {
    ...{ ...window, cells, smalls },
    small: smalls * window.width,
    large: window.rows.phases.length * columns * vector,
    piece: [8, 4, 2, 1].find((size) => along % size === 0 && size * bytes <= 16)!,
    products: cells * positions,
    memory: (cells * threads) / 2,
  };
}

/** Sums of a thread, and with what it reads: more would leave too few registers. */
const MOST_CELLS = 98;
const MOST_HELD = 176;
const MOST_LARGE = 64;
/** Largest static shared memory of a block, in floats. */
const MOST_MEMORY = 12288;
/** Multiply-adds in the text of a thread, unrolled. */
const MOST_PRODUCTS = 1024;

const heldOf = ({ cells, small, large }: DepthwiseWgradPlan): number => cells + large + small;

/** Blocks of 128 threads a multiprocessor: many threads shall wait for memory at once. */
export function depthwiseWgradResident(plan: DepthwiseWgradPlan): number {
  const held = heldOf(plan);
  // Of 81 sums and 23 values ptxas spills some for compute capability 10 and 12 (12 and 16 bytes, found by `npm run resources`).
  const registers = held > 104 || plan.cells > 72 ? 2 : held > 60 ? 3 : held > 40 ? 4 : 6;
  return Math.min(registers, Math.floor(24000 / (plan.memory + 256)));
}

/** Why a kernel of this tile cannot be: a thread would hold too much, or a block. Null where it can. */
export function depthwiseWgradReason(plan: DepthwiseWgradPlan): string | null {
  if (plan.span > 32) return 'its threads read at most 32 neighbouring columns';
  if (plan.cells > MOST_CELLS) return `its threads hold at most ${MOST_CELLS} sums, not ${plan.cells}`;
  if (plan.large > MOST_LARGE) return `its threads read at most ${MOST_LARGE} values at once, not ${plan.large}`;
  if (plan.products > MOST_PRODUCTS) return `its text holds at most ${MOST_PRODUCTS} products, not ${plan.products}`;
  if (heldOf(plan) > MOST_HELD) return 'its threads hold too much at once';
  return plan.memory > MOST_MEMORY ? 'its sums take more shared memory than a block has' : null;
}
