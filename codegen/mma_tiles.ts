/**
 * What the tensor-core kernels derive from a tile, an element type and a target: a block computes `m` positions of one
 * residue class by `n` output channels, `k` channels of one tap at a time; a warp `warpM` by `warpN` of them. Costs,
 * contexts and launches read the same numbers from here.
 */

import { blocksInMemory, isAsynchronous, TAP_BYTES } from './igemm_tiles.js';
import { kept } from './kept.js';
import type { Layout } from './problem.js';
import { DTYPE_TABLE, type Dtype, oldestOf, type Target } from './target.js';
import type { Place, Tunables } from './variant.js';

/** What a block computes, and a warp of it. */
export interface WarpTile {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly warpM: number;
  readonly warpN: number;
  readonly threads: number;
}

export interface MmaTile extends WarpTile {
  /** Tiles of A and B that are there at the same time where copies are asynchronous. */
  readonly stages: number;
  /** Blocks that a multiprocessor's registers shall hold. */
  readonly resident: number;
}

/** Bytes of a warp's row of matrix operands: one 16-byte row of eight of them. */
const CHUNK_BYTES = 16;
/** What a block keeps in shared memory besides tiles and taps: where it is. */
const BLOCK_BYTES = 48;

/** A tile, the bytes of a row of it, the part of a warp, the tiles that are there at once, the blocks that registers allow. */
const TILES = [
  ['m128n128', 64, 'w64x64', 3, 2],
  ['m256n128', 64, 'w64x64', 4, 1],
  ['m256n128', 128, 'w64x64', 3, 1],
  ['m128n128', 128, 'w64x32', 3, 2],
  ['m128n64', 128, 'w64x32', 3, 3],
  ['m64n64', 128, 'w32x32', 3, 4],
  ['m128n32', 128, 'w32x32', 3, 4],
  ['m128n16', 128, 'w32x16', 3, 4],
  ['m32n64', 128, 'w32x16', 4, 4],
  ['m256n64', 64, 'w64x64', 4, 2],
  ['m128n64', 64, 'w32x64', 4, 2],
  ['m128n32', 64, 'w32x32', 4, 3],
  ['m256n64', 32, 'w64x64', 4, 2],
] as const;

/** The tiles that a type is offered with. */
export function mmaTiles(dtype: Dtype, target: Target): readonly Tunables[] {
  if (!hasProducts(dtype, target)) return [];
  return TILES.map(([tile, bytes, warp, stages]) => ({
    tile: `${tile}k${bytes / DTYPE_TABLE[dtype].bytes}`,
    warp,
    stages: `s${stages}`,
  }));
}

/** Whether the tensor cores of a target multiply a type: float16 from compute capability 7.5 on, bfloat16 and TF32 from 8.0 on. */
export function hasProducts(dtype: Dtype, target: Target): boolean {
  if (target.kind === 'cpu' || dtype === 'float64') return false;
  return dtype === 'float16' || isAsynchronous(target);
}

/** Why tensor cores may not or cannot multiply a type; null where they do. */
export function tensorCoreReason(
  dtype: Dtype,
  { target, products }: Pick<Place, 'target' | 'products'>,
): string | null {
  if (dtype === 'float32' && products !== 'tf32') {
    return 'it multiplies in TF32, which backends.cuda.matmul.allowTf32 does not allow';
  }
  return hasProducts(dtype, target) ? null : `tensor cores of this target do not multiply ${dtype}`;
}

/** `{ tile: 'm128n64k64', warp: 'w64x32' }` → numbers. */
export const parseWarpTile = kept(
  ({ tile, warp }: Tunables) => `${tile} ${warp}`,
  ({ tile, warp }): WarpTile => {
    const [m, n, k] = String(tile).slice(1).split(/[nk]/).map(Number) as [number, number, number];
    const [warpM, warpN] = String(warp).slice(1).split('x').map(Number) as [number, number];
    return { ...{ m, n, k, warpM, warpN }, threads: 32 * (m / warpM) * (n / warpN) };
  },
);

/** The same with `stages: 's3'`. */
export const parseMmaTile = kept(
  ({ tile, warp, stages }: Tunables) => `${tile} ${warp} ${stages}`,
  (tunables): MmaTile => {
    const { warp, stages } = tunables;
    const tile = parseWarpTile(tunables);
    const name = `m${tile.m}n${tile.n}`;
    const resident = TILES.find((row) => row[0] === name && row[2] === warp && `s${row[3]}` === stages)?.[4] ?? 1;
    return { ...tile, resident, stages: Number(String(stages).slice(1)) };
  },
);

/** Elements in a chunk, the unit in which rows of tiles are moved and the inputs of packed weights are padded. */
export function chunkOf(dtype: Dtype): number {
  return CHUNK_BYTES / DTYPE_TABLE[dtype].bytes;
}

/** How the source is read into shared memory: asynchronously, or through registers; so many bytes at a time. */
export interface Reading {
  readonly staged: boolean;
  readonly bytes: number;
}

/** Bytes of the largest piece, of 16 at most, that so many channels at every position are made of. */
export function widestPiece(channels: number, dtype: Dtype): number {
  const run = channels * DTYPE_TABLE[dtype].bytes;
  return [16, 8, 4, 2].find((size) => run % size === 0)!;
}

/** `c16`: asynchronous copies of 16 bytes; `r2`: two bytes at a time through registers. */
export function parseReading({ read }: Tunables): Reading {
  return readingOf(read);
}

export function readingOf(setting: number | string | undefined): Reading {
  const word = String(setting);
  return { staged: word.startsWith('r'), bytes: Number(word.slice(1)) };
}

/**
 * Whether ptxas finds registers enough for the chunks of A that a thread carries from global to shared memory: not where
 * they are eight, nor beside the sums of 64×32 in 128 registers (up to 52 bytes spilled, found by `npm run resources`).
 */
export function isRoomy(tunables: Tunables): boolean {
  const { m, k, warpM, warpN, threads } = parseMmaTile(tunables);
  // Elements that pass through registers have 16 bits.
  const carried = (m * k * 2) / CHUNK_BYTES / threads;
  return !parseReading(tunables).staged || (carried <= 4 && (warpM !== 64 || warpN !== 32));
}

/** Multiply-adds of one product instruction, and bytes of k that it takes. */
export const PRODUCT = { rows: 16, columns: 8, bytes: 32 } as const;
/** Bytes that a matrix load of a warp moves. */
export const MATRICES = 512;

/** What weights are multiplied by when they are packed for TF32: a third to two thirds of the last bit that products read. */
export const TF32_ROUNDING = 1 + 11 / 2 ** 15;

/** The ways to read a source, widest first. */
export function readings({ dtype, layout }: { dtype: Dtype; layout: Layout }, target: Target): readonly string[] {
  const element = DTYPE_TABLE[dtype].bytes;
  const sizes = (layout === 'nchw' ? [] : [16, 8, 4, 2]).filter((bytes) => bytes > element);
  return [...sizes, element].map((bytes) => `${isAsynchronous(target) && bytes >= 4 ? 'c' : 'r'}${bytes}`);
}

export interface MmaMemory {
  readonly stages: number;
  readonly bytes: number;
  /** Blocks that a multiprocessor holds, by its registers and by its shared memory; 0 where it is too small for one. */
  readonly resident: number;
}

/** How a block's shared memory is laid out, with `taps` the most that a residue has. */
export function mmaMemory(tunables: Tunables, dtype: Dtype, target: Target, taps: number): MmaMemory {
  const { m, n, k, stages: most, resident } = parseMmaTile(tunables);
  const stages = parseReading(tunables).staged ? 2 : most;
  const bytes = stages * (m + n) * k * DTYPE_TABLE[dtype].bytes + BLOCK_BYTES + taps * TAP_BYTES;
  return { stages, bytes, resident: Math.min(resident, blocksInMemory(oldestOf(target), bytes)) };
}
