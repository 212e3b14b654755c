/**
 * What the CUDA igemm kernels derive from a shape and a tile: a block computes `m` positions of one residue class by `n`
 * output channels, `k` channels of one tap at a time; a warp has 8 by 4 threads, or 4 by 8 for few positions, each of them 8
 * positions by 4 or 8 channels. Costs, contexts and launches read the same numbers from here.
 */

import { gpuOf } from './gpu.js';
import { SECTOR } from './gpu_work.js';
import type { Axis } from './phases.js';
import type { Layout, Problem } from './problem.js';
import type { Target } from './target.js';
import { axesOf, type BakedShape } from './tiles.js';

export interface GemmTile {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Output channels of a thread; it has 8 positions. */
  readonly threadN: number;
  readonly threads: number;
}

export const THREAD_M = 8;
/** Threads of a warp along m. */
export const lanesOfM = ({ m }: GemmTile): number => Math.min(8, m / THREAD_M);
/** Bytes of what a kernel knows of a tap, in shared memory. */
export const TAP_BYTES = 16;
/** Channels of packed weights come in fours, which are copied at once. */
export const PITCH_MULTIPLE = 4;
/** Rows, and columns, of taps of one residue: bits of half a word say which lie outside the source. */
export const MOST_AXIS_TAPS = 16;

/** `{ tile: 'm128n64k16', thread: 't8x8' }` → numbers. */
export function parseGemmTile(tunables: Readonly<Record<string, number | string>>): GemmTile {
  const [m, n, k] = String(tunables.tile).slice(1).split(/[nk]/).map(Number) as [number, number, number];
  const threadN = Number(String(tunables.thread).split('x')[1]);
  return { m, n, k, threadN, threads: (m * n) / (THREAD_M * threadN) };
}

/** Whether global memory is copied into shared memory without passing through registers: from compute capability 8.0 on. */
export function isAsynchronous(target: Target): boolean {
  return target.kind === 'cuda' && target.arch >= 80;
}

export interface GemmPlan {
  readonly rows: Axis;
  readonly columns: Axis;
  readonly phases: number;
  /** Most taps that one phase has. */
  readonly mostTaps: number;
}

export function gemmPlan(form: 'expand' | 'contract', shape: BakedShape): GemmPlan {
  const { rows, columns } = axesOf(form, shape);
  return {
    rows,
    columns,
    phases: rows.phases.length * columns.phases.length,
    mostTaps: mostTaps(rows) * mostTaps(columns),
  };
}

export function mostTaps({ phases }: Axis): number {
  return Math.max(...phases.map(({ taps }) => taps.length));
}

/** Pixels that neighbouring positions and their taps read, for each position and pixel of the stride. */
const HALO = 1.3;

/**
 * Pixels that a tile reads of the second level of cache for each of its positions: all taps of one slab of channels read
 * the same ones, which stay in the first level meanwhile.
 */
export function pixelsRead(form: 'expand' | 'contract', { stride }: Pick<BakedShape, 'stride'>, taps: number): number {
  return Math.min(taps, form === 'contract' ? HALO * stride[0] * stride[1] : HALO);
}

/**
 * Sectors that stores ask for each that they fill: in NCHW those of neighbouring positions are a stride apart, and what lies
 * between them is another residue's.
 */
export function sectorsStored({ columns }: GemmPlan, layout: Layout, element: number): number {
  return layout === 'nchw' ? Math.min(columns.outputStep, SECTOR / element) : 1;
}

/** How many times faster than one that fills its sectors a kernel shall be whose neighbouring outputs lie apart. */
export function apartMargin({ geometry, layout }: Problem, form: 'expand' | 'contract'): number {
  return sectorsStored(gemmPlan(form, geometry), layout, 4) > 1 ? 1.04 : 1;
}

/** How a block's shared memory is laid out. */
export interface GemmMemory {
  /** Tiles of A and B that are there at the same time. */
  readonly stages: number;
  /** From one k of A to the next. In NHWC eight neighbouring k are written at once: they need banks of their own. */
  readonly pitch: number;
  /** Threads that read A along k: neighbours where channels are neighbours in memory. */
  readonly lanes: number;
  readonly bytes: number;
}

export function gemmMemory(tile: GemmTile, layout: Layout, target: Target, taps: number): GemmMemory {
  const stages = isAsynchronous(target) ? 3 : 2;
  const pitch = layout === 'nchw' ? tile.m : tile.m + 4;
  const lanes = layout === 'nchw' ? tile.threads / tile.m : 8;
  return { stages, pitch, lanes, bytes: stages * tile.k * (pitch + tile.n) * 4 + taps * TAP_BYTES };
}

/** Blocks that are asked for at most: of four warps, and of fewer. */
const MOST_RESIDENT = { wide: 3, narrow: 6 } as const;
/** Blocks of more than one resident may have together this many threads: each then has at least 128 registers. */
const RESIDENT_THREADS = 512;

/** What the driver takes of a multiprocessor's shared memory for each block. */
const RESERVED_BYTES = 1024;
/** What a block has of it besides the tiles: where it is. */
export const BLOCK_BYTES = 64;

/** Blocks of so many bytes that a multiprocessor's shared memory holds; 0 where it is too small for one. */
export function blocksInMemory(target: Target, bytes: number): number {
  return Math.floor(gpuOf(target).sharedMemory / (bytes + RESERVED_BYTES));
}

/** What a kernel is made for, beyond its tile: the phases of its plan, and whether its blocks take parts of k. */
interface Made {
  readonly layout: Layout;
  readonly phases: number;
  readonly split: boolean;
}

/**
 * Blocks a multiprocessor: as many as its shared memory and registers hold. Where tiles pass through registers, 128 of them
 * are too few; neither do they suffice ptxas for compute capability 12 where the phase is known when it compiles (it spills
 * 20 bytes, found by `npm run resources`), nor from 10 on for the largest tile in parts (8 bytes) or in NCHW (24 bytes).
 */
export function gemmResident(
  { threads }: GemmTile,
  target: Target,
  { layout, phases, split }: Made,
  memory: GemmMemory,
): number {
  const arch = target.kind === 'cuda' ? target.arch : 0;
  const largest = threads === RESIDENT_THREADS / 2;
  const tight = (arch >= 120 && phases === 1) || (arch >= 100 && largest && (split || layout === 'nchw'));
  const registers = (!isAsynchronous(target) || tight ? RESIDENT_THREADS / 2 : RESIDENT_THREADS) / threads;
  const most = threads < 128 ? MOST_RESIDENT.narrow : MOST_RESIDENT.wide;
  return Math.max(1, Math.min(most, registers, blocksInMemory(target, memory.bytes + BLOCK_BYTES)));
}
