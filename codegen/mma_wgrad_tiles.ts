/**
 * What the tensor-core kernels of the weight gradient derive from a tile, an element type and a target: a block computes
 * `m` channels of the small side by `n` columns, pairs of a channel of the large side and a tap, `k` positions at a time;
 * a warp `warpM` by `warpN` of them. Costs, contexts and launches read the same numbers from here.
 */

import { BLOCK_BYTES, blocksInMemory, isAsynchronous } from './igemm_tiles.js';
import { kept } from './kept.js';
import {
  hasProducts,
  parseWarpTile,
  type Reading,
  readingOf,
  readings,
  type WarpTile,
  widestPiece,
} from './mma_tiles.js';
import type { Problem } from './problem.js';
import { DTYPE_TABLE, oldestOf, type Target } from './target.js';
import type { Tunables } from './variant.js';
import { COLUMN_BYTES, positionTable } from './wgrad_tiles.js';

export interface MmaWgradTile extends WarpTile {
  /** Blocks that a multiprocessor's registers shall hold. */
  readonly resident: number;
}

/** A tile, positions of it where rows are positions, the part of a warp, the blocks that registers shall allow. */
const TILES = [
  ['m128n128', 32, 'w64x64', 2],
  ['m256n128', 32, 'w64x64', 1],
  ['m64n128', 32, 'w32x64', 3],
  ['m128n64', 32, 'w64x32', 3],
  ['m64n64', 64, 'w32x32', 4],
  ['m32n128', 64, 'w32x32', 3],
] as const;
/** Bytes of a row where rows are channels. */
const ROW_BYTES = 64;
/**
 * Bytes of the large side's channels that stand together among the columns in NHWC: a sector, so that a tile has as many taps of a
 * channel as may be, which are neighbours in the weight.
 */
const TOGETHER_BYTES = 32;

type Stored = Pick<Problem, 'dtype' | 'layout'>;

/**
 * Whether a row in shared memory is a position with its channels, as it is in memory in NHWC. `ldmatrix` turns elements of 16
 * bits round; TF32, and NCHW, have rows of positions instead, one a channel.
 */
export function rowsArePositions({ dtype, layout }: Stored): boolean {
  return layout === 'nhwc' && DTYPE_TABLE[dtype].bytes === 2;
}

/** Bytes of the widest piece in which channels are read. */
const WIDEST = 16;

/**
 * The ways to read both sides. Channels: each by the widest piece, or those that are not by a narrower one, the same for both.
 * Positions: one by one, but those of the small side two by two where a channel has an even number.
 */
function pairsOfReadings(stored: Stored, target: Target): Pick<Tunables, 'small' | 'large'>[] {
  const [widest, ...narrow] = readings(stored, target) as [string, ...string[]];
  const both = (word: string) => ({ small: word, large: word });
  if (stored.dtype === 'float32') return [both('c4')];
  if (!rowsArePositions(stored)) return [{ small: isAsynchronous(target) ? 'c4' : 'r4', large: widest }, both(widest)];
  const mixed = narrow.flatMap((word) => [{ small: widest, large: word }, { small: word, large: widest }, both(word)]);
  return [both(widest), ...mixed];
}

/** The tiles and readings that a type is offered with. */
export function mmaWgradTunables({ dtype, layout }: Stored, target: Target): readonly Tunables[] {
  if (!hasProducts(dtype, target)) return [];
  const stored = { dtype, layout };
  const pairs = pairsOfReadings(stored, target);
  return TILES.flatMap(([tile, positions, warp]) => {
    const k = rowsArePositions(stored) ? positions : ROW_BYTES / DTYPE_TABLE[dtype].bytes;
    // Without asynchronous copies such a tile has no registers for elements one by one or in pairs (found by `npm run resources`).
    const few = tile === 'm128n128' && !isAsynchronous(target);
    const kept = few ? pairs.filter(({ small, large }) => large !== 'r2' || (small !== 'r2' && small !== 'r4')) : pairs;
    return kept.map((pair) => ({ tile: `${tile}k${k}`, warp, ...pair }));
  });
}

/** `{ tile: 'm128n64k32', warp: 'w64x32', small: 'c16', large: 'c16' }` → numbers. */
export const parseMmaWgradTile = kept(
  ({ tile, warp }: Tunables) => `${tile} ${warp}`,
  (tunables): MmaWgradTile => {
    const tile = parseWarpTile(tunables);
    const name = `m${tile.m}n${tile.n}`;
    return { ...tile, resident: TILES.find((row) => row[0] === name && row[2] === tunables.warp)?.[3] ?? 1 };
  },
);

export interface MmaWgradReadings {
  readonly small: Reading;
  readonly large: Reading;
  /** Whether either passes through registers. */
  readonly staged: boolean;
}

export function parseWgradReadings({ small, large }: Tunables): MmaWgradReadings {
  const sides = { small: readingOf(small), large: readingOf(large) };
  return { ...sides, staged: sides.small.staged || sides.large.staged };
}

/** Bytes of the pieces that both sides are read in, as pairsOfReadings has them. */
export function piecesOf({ geometry: g, ...stored }: Problem): { readonly small: number; readonly large: number } {
  const size = DTYPE_TABLE[stored.dtype].bytes;
  if (!rowsArePositions(stored)) return { small: (g.hs * g.ws) % 2 === 0 ? 4 : size, large: size };
  const [small, large] = [widestPiece(g.cs / g.groups, stored.dtype), widestPiece(g.cl / g.groups, stored.dtype)];
  const narrow = Math.min(small, large);
  return { small: small === WIDEST ? WIDEST : narrow, large: large === WIDEST ? WIDEST : narrow };
}

export interface MmaWgradPlan {
  /** Tiles of both operands that are there at the same time. */
  readonly stages: number;
  /** Channels of the large side that are neighbours among the columns, as they are in memory. */
  readonly together: number;
  /** Of dynamic shared memory. */
  readonly bytes: number;
  /** Blocks that a multiprocessor holds, by its registers and by its shared memory; 0 where it is too small for one. */
  readonly resident: number;
}

/** Three stages where copies are asynchronous, but two if three would leave a multiprocessor without a second block. */
export function mmaWgradPlan(tunables: Tunables, stored: Stored, target: Target): MmaWgradPlan {
  const size = DTYPE_TABLE[stored.dtype].bytes;
  const tile = parseMmaWgradTile(tunables);
  // Where rows are channels, also words of columns: those of a row of threads and four besides.
  const columns = rowsArePositions(stored) ? 0 : tile.n + tile.threads / 4;
  const words = BLOCK_BYTES + columns * COLUMN_BYTES;
  const planned = (stages: number): MmaWgradPlan => {
    const bytes = stages * (tile.m + tile.n) * tile.k * size + positionTable(tile.threads);
    const resident = Math.min(tile.resident, blocksInMemory(oldestOf(target), bytes + words));
    return { stages, together: stored.layout === 'nchw' ? 1 : TOGETHER_BYTES / size, bytes, resident };
  };
  const [two, three] = [planned(2), planned(3)];
  return parseWgradReadings(tunables).staged || three.resident < Math.min(2, two.resident) ? two : three;
}
