/** What the matrix-product kernels of the weight gradient do, and into how many parts that is best cut. */

import { gpuOf } from './gpu.js';
import { seconds, type Work } from './gpu_work.js';
import { type GemmTile, pixelsRead, THREAD_M } from './igemm_tiles.js';
import { bytes } from './passes.js';
import type { Geometry, Problem } from './problem.js';
import { DTYPE_TABLE, type Target } from './target.js';
import { wgradBlocks, wgradPlan, wgradResident } from './wgrad_tiles.js';

const WARP = 32;
/** Wavefronts of a load of four floats a thread, as in variants_cuda_igemm.ts. */
const LOAD_WAVEFRONTS = 2;
/** Instructions of a thread: once, for a chunk of positions, for a copy, around a step of k, for a sum that it stores. */
const ONCE = 400;
const CHUNK = 200;
const COPY = 3.5;
const STEP = 30;
const OUTPUT = 8;
/** Cycles that a block waits: until the first tiles are there and the last sums gone, and at the barrier of a step. */
const ENDS_LATENCY = 3000;
const STEP_LATENCY = 60;

export const weightsOf = ({ cs, cl, r, s, groups }: Geometry): number => ((cs * cl) / groups) * r * s;

/** Both launches, or the one that there is without parts. */
export function wgradWork(problem: Problem, tile: GemmTile, target: Target, parts: number): Work[] {
  const { geometry: g } = problem;
  const { m, n } = wgradBlocks(g, tile);
  const steps = Math.ceil(Math.ceil((g.n * g.hs * g.ws) / tile.k) / parts);
  const depth = steps * tile.k;
  const sums = THREAD_M * tile.threadN;
  const loads = (THREAD_M + tile.threadN) / 4;
  const copies = ((tile.m + tile.n) * tile.k) / tile.threads;
  const thread =
    ONCE + (1 + depth / tile.threads) * CHUNK + depth * (sums + loads) + steps * (COPY * copies + STEP) + OUTPUT * sums;
  const warps = tile.threads / WARP;
  const taps = g.r * g.s;
  const pixels = pixelsRead('contract', g, taps) / taps;
  const products: Work = {
    blocks: m * n * parts,
    threads: tile.threads,
    resident: wgradResident(tile, target, wgradPlan(tile, problem.layout)),
    instructions: warps * thread,
    fma: depth * tile.m * tile.n,
    mma: null,
    sharedBytes: depth * (warps * loads * LOAD_WAVEFRONTS * 128 + (tile.m + tile.n) * 4) + 2 * tile.m * tile.n * 4,
    l2Bytes: depth * (tile.m + tile.n * pixels) * 4 + tile.m * tile.n * 4,
    dramBytes: productBytes(problem, parts),
    latency: ENDS_LATENCY + steps * STEP_LATENCY,
  };
  return withSum(products, problem, parts);
}

/** Bytes of memory that the products take: each tensor once, or instead of the weight the sums of all parts. */
export function productBytes(problem: Problem, parts: number): number {
  const weights = weightsOf(problem.geometry);
  const size = DTYPE_TABLE[problem.dtype].bytes;
  return bytes(problem) + (parts > 1 ? weights * (parts * 4 - size) : 0);
}

/** The launch of the products and, where there are parts, that of sum_parts. */
export function withSum(products: Work, { geometry, dtype }: Problem, parts: number): Work[] {
  return parts === 1 ? [products] : [products, sumOfParts(weightsOf(geometry), parts, DTYPE_TABLE[dtype].bytes)];
}

/** The launch of sum_parts: runs of four sums a thread. */
function sumOfParts(weights: number, parts: number, size: number): Work {
  const threads = 256;
  const lanes = Math.max(1, Math.min(8, parts / 4));
  const runs = (4 * threads) / lanes;
  return {
    blocks: Math.ceil(weights / runs),
    threads,
    resident: 3,
    instructions: (threads / WARP) * (100 + (8 * parts) / lanes),
    fma: 0,
    mma: null,
    sharedBytes: 0,
    l2Bytes: runs * (parts * 4 + size),
    dramBytes: (parts * 4 + size) * weights,
    latency: 2000,
  };
}

/** Bytes of all parts together. */
const MOST_BYTES = 64 * 2 ** 20;
/** Steps of the tile's k that a part has at least. */
const LEAST_STEPS = 4;
const MOST_PARTS = 1024;

/** The number of parts that the model finds fastest: a function of the problem and the target alone. */
export function wgradParts(problem: Problem, tile: GemmTile, target: Target): number {
  return bestParts(problem, tile.k, target, (parts) => wgradWork(problem, tile, target, parts));
}

/** The same for products that take `k` positions a step, and do `work` when they are cut into so many parts. */
export function bestParts(
  { geometry: g }: Problem,
  k: number,
  target: Target,
  work: (parts: number) => readonly Work[],
): number {
  const steps = Math.ceil((g.n * g.hs * g.ws) / k);
  const most = Math.min(MOST_PARTS, steps / LEAST_STEPS, MOST_BYTES / (4 * weightsOf(g)));
  const gpu = gpuOf(target);
  let best = { parts: 1, time: seconds(work(1), gpu) };
  for (let parts = 2; parts <= most; parts += Math.max(1, parts >> 2)) {
    // Only counts that give every part as many steps as they say.
    const even = Math.ceil(steps / Math.ceil(steps / parts));
    const time = seconds(work(even), gpu);
    if (time < best.time) best = { parts: even, time };
  }
  return best.parts;
}
