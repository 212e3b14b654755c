/**
 * What the CUDA head kernels, for few output channels, derive from a shape and a tile: a thread sums some neighbouring
 * positions of a row with every residue class and output channel, over a share of the input channels. Costs, contexts and
 * launches read the same numbers from here.
 */

import { kept } from './kept.js';
import type { Layout } from './problem.js';
import { type BakedShape, shapeKey } from './tiles.js';
import { TOGETHER, type Window, windowOf } from './window.js';

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

export interface HeadPlan extends Window {
  /** Channels that a thread reads at once. */
  readonly vector: number;
  /** Sums of a thread. */
  readonly sums: number;
  /** Values of a source row that a thread holds. */
  readonly values: number;
  /** Multiply-adds of one round of a thread. */
  readonly products: number;
  /** Floats of a kernel row's weights, of the channels that a thread reads at once, channels that are staged together. */
  readonly tapRow: number;
  readonly staged: number;
  readonly depth: number;
  /** Floats of shared memory. */
  readonly memory: number;
  /** Between the partial sums of threads that share channels, and between those of two cells. */
  readonly splitPitch: number;
  readonly cellPitch: number;
  /** Sums that a thread stores at once, and how many such pieces are neighbours in memory. */
  readonly run: number;
  readonly parts: number;
}

export const headPlan = kept(
  (form: 'expand' | 'contract', shape: BakedShape, layout: Layout, tile: HeadTile) =>
    `${form} ${shapeKey(shape)} ${layout} ${tile.outputs} ${tile.positions} ${tile.lanes} ${tile.splits}`,
  planOf,
);

function planOf(form: 'expand' | 'contract', shape: BakedShape, layout: Layout, tile: HeadTile): HeadPlan {
  const { outputs, positions, splits } = tile;
  const window = windowOf(form, shape, positions, layout);
  const { rows, columns, rowReads, width } = window;
  const outputColumns = positions * columns.phases.length;
  const sums = rows.phases.length * outputColumns * outputs;
  const tapRow = Math.ceil((shape.s * outputs) / TOGETHER) * TOGETHER;
  const held = (channels: number) => sums + rowReads.length * width * channels + tapRow;
  const vector = layout === 'nchw' ? 1 : ([TOGETHER, TOGETHER / 2].find((size) => held(size) <= MOST_HELD) ?? 1);
  const staged = stagedPitch(
    vector * shape.r * tapRow,
    layout === 'nchw' ? BANKS / Math.min(tile.lanes, BANKS) : splits,
  );
  const share = vector * splits;
  const rounds = Math.max(1, Math.floor(STAGED_BYTES / 4 / (staged * splits)));
  const neighbours = layout === 'nchw' ? outputColumns : shape.groups === 1 ? outputColumns * outputs : outputs;
  // Where partial sums are added up, any thread may store any of them: neighbours, so that a warp's stores fill sectors.
  const run = splits === 1 ? neighbours : [TOGETHER, TOGETHER / 2, 1].find((size) => neighbours % size === 0)!;
  const parts = neighbours / run;
  const { splitPitch, cellPitch } = pitchesOf(tile, layout, { run, parts });
  return {
    ...{ ...window, vector, sums, tapRow, staged, depth: rounds * share, splitPitch, cellPitch, run, parts },
    values: vector * width,
    products: shape.r * shape.s * positions * outputs * vector,
    memory: Math.max(rounds * splits * staged, splits === 1 ? 0 : sums * cellPitch),
  };
}

const BANKS = 32;

/** So many floats, and as few more as let this many threads of a warp that read fours of different channels have banks apart. */
function stagedPitch(least: number, threads: number): number {
  // Eight fours are all banks.
  const readers = Math.min(threads, BANKS / TOGETHER);
  for (let pitch = least; ; pitch += TOGETHER) {
    if (new Set(Array.from({ length: readers }, (_, i) => (i * pitch) % BANKS)).size === readers) return pitch;
  }
}

/** Times that a warp asks for shared memory for one access: the most different words in one bank. */
function wavefronts(addresses: readonly number[]): number {
  const words = new Map<number, Set<number>>();
  for (const address of addresses) {
    const bank = address % BANKS;
    words.set(bank, (words.get(bank) ?? new Set()).add(address));
  }
  return Math.max(...[...words.values()].map(({ size }) => size));
}

/** Sums that are stored at once, and such pieces that are neighbours in memory. */
type Stores = Pick<HeadPlan, 'run' | 'parts'>;

interface Pitches {
  readonly splitPitch: number;
  readonly cellPitch: number;
}

/**
 * Pitches of partial sums with the fewest conflicts of banks, and of those the smallest: they are written by a cell's lanes
 * and splits, and read by what stores them, a piece a thread, neighbours in memory by neighbours.
 */
const pitchesOf = kept(
  ({ lanes, splits }: HeadTile, layout: Layout, { run, parts }: Stores) =>
    [lanes, splits, layout, run, parts].join(' '),
  searchPitches,
);

function searchPitches({ lanes, splits }: HeadTile, layout: Layout, { run, parts }: Stores): Pitches {
  if (splits === 1) return { splitPitch: lanes, cellPitch: lanes };
  const warp = Array.from({ length: BANKS }, (_, thread) => thread);
  const writes = (pitch: number) =>
    wavefronts(
      warp.map((thread) =>
        layout === 'nchw'
          ? Math.floor(thread / lanes) * pitch + (thread % lanes)
          : (thread % splits) * pitch + Math.floor(thread / splits),
      ),
    );
  // Banks of reads repeat with every 32 floats of the pitch.
  const reads = warp.map((pitch) =>
    wavefronts(
      warp.map((at) => {
        const [cell, part] = [Math.floor(at / parts), at % parts];
        return (part + Math.floor(cell / lanes) * parts) * run * (pitch + BANKS) + (cell % lanes);
      }),
    ),
  );
  let [least, found]: [number, Pitches | null] = [Infinity, null];
  for (let splitPitch = lanes; splitPitch <= lanes + BANKS / 2; splitPitch++) {
    const written = writes(splitPitch);
    for (let cellPitch = splits * splitPitch; cellPitch < splits * splitPitch + BANKS; cellPitch++) {
      // A cell is written by each split and read of each.
      const cost = (written + reads[cellPitch % BANKS]!) * 1e6 + cellPitch;
      if (cost < least) [least, found] = [cost, { splitPitch, cellPitch }];
    }
  }
  return found!;
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
