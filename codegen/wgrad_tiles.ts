/**
 * What the CUDA igemm kernels of the weight gradient derive from a shape and a tile: a block computes `m` channels of the
 * small side by `n` columns, pairs of a channel of the large side and a tap, over `k` positions at a time. Costs,
 * contexts and launches read the same numbers from here.
 */

import { BLOCK_BYTES, blocksInMemory, type GemmTile, isAsynchronous, lanesOfM } from './igemm_tiles.js';
import type { Geometry, Layout } from './problem.js';
import type { Target } from './target.js';

/** Bytes of what a kernel knows of a position, in shared memory. */
const POSITION_BYTES = 16;
/** Threads of a warp along k where neighbouring positions are neighbours in memory: a sector of float32. */
const SECTOR_LANES = 8;

/** Bytes of the table of positions: two chunks of one a thread. */
export function positionTable(threads: number): number {
  return 2 * threads * POSITION_BYTES;
}

export interface WgradPlan {
  /** Tiles of both operands that are there at the same time. */
  readonly stages: number;
  /** Elements from one k to the next: both operands, and four that give eight neighbouring k banks of their own. */
  readonly pitch: number;
  /** Threads of a warp along m. */
  readonly lanesM: number;
  /** Threads that copy along k; the others copy along the columns. */
  readonly depthLanes: number;
  /** Channels of the large side that are neighbours among the columns, as they are in memory. */
  readonly together: number;
  /** Of dynamic shared memory. */
  readonly bytes: number;
}

/**
 * Two stages are enough from sm_80 on: a block computes for 2,000 cycles and more with one tile while the next is on its
 * way, and two blocks then fit the 100 KB of a multiprocessor that the smaller GPUs have.
 */
const STAGES = 2;

export function wgradPlan(tile: GemmTile, layout: Layout): WgradPlan {
  const pitch = tile.m + tile.n + 4;
  return {
    stages: STAGES,
    pitch,
    lanesM: lanesOfM(tile),
    depthLanes: layout === 'nchw' ? SECTOR_LANES : tile.threads / 32,
    together: layout === 'nchw' ? 1 : 8,
    bytes: STAGES * tile.k * pitch * 4 + positionTable(tile.threads),
  };
}

/** Bytes a block keeps of each column besides: where it reads, and its tap. */
export const COLUMN_BYTES = 8;

/**
 * Blocks that a multiprocessor holds at least: of 128 registers a thread, or of all there are where tiles pass through them,
 * and as many as its shared memory holds.
 */
export function wgradResident(tile: GemmTile, target: Target, { bytes }: WgradPlan): number {
  const registers = (isAsynchronous(target) ? 512 : 256) / tile.threads;
  const memory = blocksInMemory(target, bytes + tile.n * COLUMN_BYTES + BLOCK_BYTES);
  return Math.max(1, Math.min(4, registers, memory));
}

/** Tiles of the small side's channels, of all groups, and tiles of columns. */
export function wgradBlocks(
  g: Geometry,
  tile: { readonly m: number; readonly n: number },
): { readonly m: number; readonly n: number } {
  const columns = (g.cl / g.groups) * g.r * g.s;
  return { m: Math.ceil(g.cs / g.groups / tile.m) * g.groups, n: Math.ceil(columns / tile.n) };
}
