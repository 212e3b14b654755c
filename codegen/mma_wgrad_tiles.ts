/**
 * What the tensor-core kernels of the weight gradient derive from a tile, an element type and a target: a block computes
 * `m` channels of the small side by `n` columns, pairs of a channel of the large side and a tap, `k` positions at a time;
 * a warp `warpM` by `warpN` of them. Costs, contexts and launches read the same numbers from here.
 */

import { BLOCK_BYTES, blocksInMemory } from './igemm_tiles.js';
import { hasProducts, type Reading, readingOf, readings } from './mma_tiles.js';
import type { Geometry, Layout } from './problem.js';
import { DTYPE_TABLE, type Dtype, oldestOf, type Target } from './target.js';
import type { Tunables } from './variant.js';
import { positionTable } from './wgrad_tiles.js';

export interface MmaWgradTile {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly warpM: number;
  readonly warpN: number;
  readonly threads: number;
}

/** A tile, the part of a warp, the blocks that a multiprocessor's registers shall hold. */
const TILES = [
  ['m128n128k32', 'w64x64', 2],
  ['m256n128k32', 'w64x64', 1],
  ['m64n128k32', 'w32x64', 3],
  ['m128n64k32', 'w64x32', 3],
  ['m64n64k64', 'w32x32', 4],
  ['m32n128k64', 'w32x32', 3],
] as const;

/** Bytes of the widest piece in which channels are read. */
const WIDEST = 16;

/** The ways to read both sides: each by the widest piece, or those that are not by a narrower one, the same for both. */
function pairsOfReadings(
  problem: { dtype: Dtype; layout: Layout },
  target: Target,
): Pick<Tunables, 'small' | 'large'>[] {
  const [widest, ...narrow] = readings(problem, target) as [string, ...string[]];
  const mixed = narrow.flatMap((word) => [
    { small: widest, large: word },
    { small: word, large: widest },
    { small: word, large: word },
  ]);
  return [{ small: widest, large: widest }, ...mixed];
}

/** The tiles and readings that a type is offered with. */
export function mmaWgradTunables(problem: { dtype: Dtype; layout: Layout }, target: Target): readonly Tunables[] {
  const { dtype, layout } = problem;
  if (!hasProducts(dtype, target) || layout === 'nchw' || dtype === 'float32') return [];
  const pairs = pairsOfReadings(problem, target);
  return TILES.flatMap(([tile, warp]) => pairs.map((pair) => ({ tile, warp, ...pair })));
}

/** `{ tile: 'm128n64k32', warp: 'w64x32', small: 'c16', large: 'c16' }` → numbers. */
export function parseMmaWgradTile({ tile, warp }: Tunables): MmaWgradTile {
  const [m, n, k] = String(tile).slice(1).split(/[nk]/).map(Number) as [number, number, number];
  const [warpM, warpN] = String(warp).slice(1).split('x').map(Number) as [number, number];
  return { ...{ m, n, k, warpM, warpN }, threads: 32 * (m / warpM) * (n / warpN) };
}

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

/** Bytes of the pieces that the channels of both sides' positions and groups come in, as pairsOfReadings has them. */
export function piecesOf(g: Geometry, dtype: Dtype): { readonly small: number; readonly large: number } {
  const size = DTYPE_TABLE[dtype].bytes;
  const widest = (channels: number) => [16, 8, 4, 2].find((bytes) => ((channels / g.groups) * size) % bytes === 0)!;
  const [small, large] = [widest(g.cs), widest(g.cl)];
  const narrow = Math.min(small, large);
  return { small: small === WIDEST ? WIDEST : narrow, large: large === WIDEST ? WIDEST : narrow };
}

export interface MmaWgradPlan {
  /** Tiles of both operands that are there at the same time. */
  readonly stages: number;
  /** Channels of the large side that are neighbours among the columns, as they are in memory: two sectors of them. */
  readonly together: number;
  /** Of dynamic shared memory. */
  readonly bytes: number;
  /** Blocks that a multiprocessor holds, by its registers and by its shared memory; 0 where it is too small for one. */
  readonly resident: number;
}

/** Three stages where copies are asynchronous, but two if three would leave a multiprocessor without a second block. */
export function mmaWgradPlan(tunables: Tunables, dtype: Dtype, target: Target): MmaWgradPlan {
  const size = DTYPE_TABLE[dtype].bytes;
  const { m, n, k, threads } = parseMmaWgradTile(tunables);
  const registers = TILES.find(([tile, warp]) => tile === tunables.tile && warp === tunables.warp)?.[2] ?? 1;
  const planned = (stages: number): MmaWgradPlan => {
    const bytes = stages * (m + n) * k * size + positionTable(threads);
    const resident = Math.min(registers, blocksInMemory(oldestOf(target), bytes + BLOCK_BYTES));
    return { stages, together: 64 / size, bytes, resident };
  };
  const [two, three] = [planned(2), planned(3)];
  return parseWgradReadings(tunables).staged || three.resident < Math.min(2, two.resident) ? two : three;
}
