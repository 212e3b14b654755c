/** What the matrix-product kernels of the weight gradient do, and into how many parts that is best cut. */

import { gpuOf } from './gpu.js';
import { WARP, type Work } from './gpu_work.js';
import { type GemmTile, pixelsRead, THREAD_M } from './igemm_tiles.js';
import { bytes } from './passes.js';
import type { Geometry, Problem } from './problem.js';
import { DTYPE_TABLE, type Target } from './target.js';
import { wgradBlocks, wgradPlan, wgradResident } from './wgrad_tiles.js';
import { bestParts, inParts, type Results } from './work_parts.js';

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

/** A weight is what may be left in parts. */
export const weightResults = ({ geometry, dtype }: Problem): Results => ({
  elements: weightsOf(geometry),
  size: DTYPE_TABLE[dtype].bytes,
});

/** Both launches, or the one that there is without parts. */
export function wgradWork(problem: Problem, tile: GemmTile, target: Target, parts: number): Work[] {
  return inParts(wgradProducts(problem, tile, target, parts), weightResults(problem), parts);
}

/** The launch of the products, each of whose blocks has one of so many parts. */
export function wgradProducts(problem: Problem, tile: GemmTile, target: Target, parts: number): Work {
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
  return {
    blocks: m * n * parts,
    threads: tile.threads,
    resident: wgradResident(tile, target, wgradPlan(tile, problem.layout)),
    instructions: warps * thread,
    fma: depth * tile.m * tile.n,
    mma: null,
    sharedBytes: depth * (warps * loads * LOAD_WAVEFRONTS * 128 + (tile.m + tile.n) * 4) + 2 * tile.m * tile.n * 4,
    l2Bytes: depth * (tile.m + tile.n * pixels) * 4 + tile.m * tile.n * 4,
    dramBytes: bytes(problem),
    latency: ENDS_LATENCY + steps * STEP_LATENCY,
  };
}

/** Steps of the tile's k that a part has at least. */
export const LEAST_STEPS = 4;

/** The number of parts that the model finds fastest: a function of the problem and the target alone. */
export function wgradParts(problem: Problem, tile: GemmTile, target: Target): number {
  return bestPositions(problem, tile.k, target, (parts) => wgradWork(problem, tile, target, parts));
}

/** The same for products that take `k` positions a step, and do `work` when they are cut into so many parts. */
export function bestPositions(
  { geometry: g }: Problem,
  k: number,
  target: Target,
  work: (parts: number) => readonly Work[],
): number {
  const steps = Math.ceil((g.n * g.hs * g.ws) / k);
  return bestParts({ steps, least: LEAST_STEPS, elements: weightsOf(g), work }, gpuOf(target), 1);
}
