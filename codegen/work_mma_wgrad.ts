/** What the tensor-core kernels of the weight gradient do, and into how many parts that is best cut. */

import { apart, togetherOf } from './diagonal.js';
import { WARP, type Work, wholeSectors } from './gpu_work.js';
import { pixelsRead } from './igemm_tiles.js';
import { MATRICES, PRODUCT, type Reading } from './mma_tiles.js';
import { mmaWgradPlan, parseMmaWgradTile, parseWgradReadings, rowsArePositions } from './mma_wgrad_tiles.js';
import { bytes } from './passes.js';
import type { Problem } from './problem.js';
import { DTYPE_TABLE, type Target } from './target.js';
import type { Tunables } from './variant.js';
import { wgradBlocks } from './wgrad_tiles.js';
import { inParts } from './work_parts.js';
import { bestPositions, weightResults } from './work_wgrad.js';

const WAVEFRONT = 128;
const WORD = 4;
/**
 * Instructions of a thread: once, for a chunk of positions, for a piece that is copied, carried or put together, to round
 * the elements of a fragment, around a step of k, for a sum
 * that it stores in the type of the weight, or as it is.
 */
const ONCE = 600;
const CHUNK = 200;
const COPY = 4;
const CARRY = 6;
const PAIR = 11;
const ROUNDED = 4;
const STEP = 25;
const OUTPUT = 18;
const PARTIAL = 10;
/** Cycles that a block waits: until the first tiles are there and the last sums gone, at the barrier of a step, for loads. */
const ENDS_LATENCY = 3000;
const STEP_LATENCY = 60;
const LOAD_LATENCY = 600;

/** Both launches, or the one that there is without parts. */
export function mmaWgradWork(problem: Problem, tunables: Tunables, target: Target, parts: number): Work[] {
  return inParts(mmaWgradProducts(problem, tunables, target, parts), weightResults(apart(problem, tunables)), parts);
}

/** The launch of the products, each of whose blocks has one of so many parts. */
export function mmaWgradProducts(problem: Problem, tunables: Tunables, target: Target, parts: number): Work {
  const { geometry: g, dtype } = problem;
  const asked = apart(problem, tunables);
  const size = DTYPE_TABLE[dtype].bytes;
  const tile = parseMmaWgradTile(tunables);
  const { small, large, staged } = parseWgradReadings(tunables);
  const { together, resident, stages } = mmaWgradPlan(tunables, problem, target);
  const { m, n } = wgradBlocks(g, tile);
  const steps = Math.ceil(Math.ceil((g.n * g.hs * g.ws) / tile.k) / parts);
  const depth = steps * tile.k;
  const warps = tile.threads / WARP;
  const deep = (tile.k * size) / PRODUCT.bytes;
  const fragments = (tile.warpM / 16 + tile.warpN / 16) * deep;
  const products = (tile.warpM / PRODUCT.rows) * (tile.warpN / PRODUCT.columns) * deep;
  const pieces = (width: number, bytes: number) => (width * size * tile.k) / bytes / tile.threads;
  // Where rows are channels, a thread moves words of one or two positions.
  const byPosition = rowsArePositions(problem);
  const ofSmall = pieces(tile.m, byPosition ? small.bytes : WORD);
  const ofLarge = pieces(tile.n, byPosition ? large.bytes : WORD);
  const moves = ofSmall * movesOf(small, byPosition) + ofLarge * movesOf(large, byPosition);
  const rounded = dtype === 'float32' ? ROUNDED * fragments : 0;
  const moved = ofSmall * movedBytes(small) + ofLarge * movedBytes(large) + Math.max(ofSmall, ofLarge) * WAVEFRONT;
  const sums = (tile.m * tile.n) / tile.threads;
  const stored = (tile.m * tile.n) / togetherOf(tunables);
  const taps = g.r * g.s;
  // Copies of 16 bytes pass by the first level of cache; the others find there what another tap has read.
  const pixels = large.bytes === 16 ? 1 : pixelsRead('contract', g, taps) / taps;
  const sectors = (width: number, channels: number) => (width * wholeSectors(channels * size)) / channels;
  // What stands in for channels and columns behind the last is read with those.
  const [rows, columns] = [g.cs / m, ((g.cl / g.groups) * taps) / n];
  const read =
    problem.layout === 'nchw'
      ? (rows + pixels * columns) * size
      : sectors(rows, Math.min(g.cs / g.groups, tile.m)) +
        pixels * sectors(columns, Math.min(g.cl / g.groups, together));
  return {
    blocks: m * n * parts,
    threads: tile.threads,
    resident,
    instructions:
      warps *
      (ONCE +
        (1 + depth / tile.threads) * CHUNK +
        steps * (products + fragments + rounded + STEP) +
        (steps + stages - 1) * moves +
        (parts > 1 ? PARTIAL : OUTPUT) * sums),
    fma: 0,
    mma: { type: dtype === 'float32' ? 'tf32' : 'f16', multiplyAdds: depth * tile.m * tile.n },
    sharedBytes: steps * warps * (fragments * MATRICES + moved) + 2 * tile.m * tile.n * 4,
    l2Bytes: depth * read + stored * (parts > 1 ? 4 : size),
    dramBytes: bytes(asked),
    latency: ENDS_LATENCY + steps * (staged ? LOAD_LATENCY : STEP_LATENCY),
  };
}

/** Instructions of a thread for a piece; words of two positions are put together. */
const movesOf = ({ staged, bytes }: Reading, byPosition: boolean): number =>
  staged ? (byPosition || bytes === WORD ? CARRY : PAIR) : COPY;

/** Bytes that a warp moves with a piece a thread: into shared memory, before that through registers where they are staged. */
const movedBytes = ({ staged, bytes }: Reading): number => (staged ? 2 : 1) * Math.max(WAVEFRONT, WARP * bytes);

/** The number of parts that the model finds fastest: a function of the problem and the target alone. */
export function mmaWgradParts(problem: Problem, tunables: Tunables, target: Target): number {
  const { k } = parseMmaWgradTile(tunables);
  return bestPositions(apart(problem, tunables), k, target, (parts) => mmaWgradWork(problem, tunables, target, parts));
}
