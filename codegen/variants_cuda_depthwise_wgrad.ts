/**
 * The CUDA rows of `depthwise` for the weight gradient, where every channel is a group of its own, and of `pairwise`, where groups
 * have few channels, or one side has.
 */

import {
  type DepthwiseWgradPlan,
  type DepthwiseWgradTile,
  depthwiseWgradPlan,
  depthwiseWgradReason,
  depthwiseWgradResident,
  parseDepthwiseWgradTile,
} from './depthwise_wgrad_tiles.js';
import { gpuOf } from './gpu.js';
import { SECTOR, WARP, type Work, wholeSectors } from './gpu_work.js';
import { bytes } from './passes.js';
import { positionsOf } from './phases.js';
import type { Contraction, Geometry, Layout, Problem } from './problem.js';
import { DTYPE_TABLE, type Target } from './target.js';
import { type LaunchGeometry, modelled, type Parting, type Tunables, type Variant } from './variant.js';
import { GRID_X, shapeReason } from './variants_cuda.js';
import { TOGETHER } from './window.js';
import { bestParts, inParts } from './work_parts.js';
import { weightResults, weightsOf } from './work_wgrad.js';

/** In NCHW threads lie along positions, in NHWC also along channels: the more of them, the longer the runs in memory. */
const TILES: Readonly<Record<'nchw' | 'nhwc', readonly Tunables[]>> = {
  nchw: ['t4v1', 't8v1', 't2v1', 't1v1'].flatMap((tile) => ['b128x1', 'b32x4'].map((block) => ({ tile, block }))),
  nhwc: ['t2v4', 't1v4', 't2v8', 't1v8', 't4v2', 't2v2', 't1v2', 't4v1', 't2v1', 't1v1'].flatMap((tile) =>
    ['b8x16', 'b4x32', 'b16x8'].map((block) => ({ tile, block })),
  ),
};

/** The same with one channel of the small side for several of the large one. */
const PAIRWISE_TILES: typeof TILES = {
  nchw: tilesOf(['t8o1', 't8o2', 't8o4', ...withOutputs('t4'), ...withOutputs('t2')], ['b128x1', 'b32x4', 'b16x8']),
  nhwc: tilesOf([...withOutputs('t4'), 't2o8'], ['b32x4', 'b16x8', 'b4x32']),
};

function withOutputs(positions: string): string[] {
  return ['o1', 'o2', 'o3', 'o4', 'o8'].map((outputs) => positions + outputs);
}

function tilesOf(tiles: readonly string[], blocks: readonly string[]): Tunables[] {
  return tiles.flatMap((tile) => blocks.map((block) => ({ tile, block })));
}

/** Channels of a group on the side that has fewer: products of matrices are faster beyond. */
const MOST_CHANNELS = 32;

export const PAIR_WGRAD_VARIANTS: readonly Variant[] = [
  row('depthwise', depthwiseReason, ({ dtype, layout }) =>
    TILES[layout].filter((tunables) => parseDepthwiseWgradTile(tunables).vector * DTYPE_TABLE[dtype].bytes <= 16),
  ),
  row('pairwise', pairwiseReason, ({ layout }) => PAIRWISE_TILES[layout]),
];

function row(
  name: string,
  reason: (g: Geometry, tile: DepthwiseWgradTile) => string | null,
  tunables: (stored: Pick<Problem, 'dtype' | 'layout'>) => readonly Tunables[],
): Variant {
  return {
    name,
    device: 'cuda',
    forms: ['wgrad'],
    template: 'depthwise_wgrad.cu.njk',
    kind: 'specialised',
    tunables: (stored) => (stored.dtype === 'float64' ? [] : tunables(stored)),
    parting: (problem, _, tunables, target) => parting(problem, tunables, target),
    legal: (problem, _, tunables) =>
      reason(problem.geometry, parseDepthwiseWgradTile(tunables)) ?? tileReason(problem, tunables),
    ...modelled((problem, _, tunables, target) => work(problem, tunables, partsOf(problem, tunables, target))),
    launch,
  };
}

function depthwiseReason({ cs, cl, groups }: Geometry): string | null {
  return cs !== groups || cl !== groups ? 'it takes one channel a group on both sides' : null;
}

function pairwiseReason({ cs, cl, groups }: Geometry, { vector }: DepthwiseWgradTile): string | null {
  if (cs === groups && cl === groups) return 'it takes groups of more than one channel';
  if (Math.min(cs, cl) / groups > MOST_CHANNELS)
    return `it takes groups of at most ${MOST_CHANNELS} channels on one side`;
  return (cl / groups) % vector === 0 ? null : `it takes ${vector} channels of the large side at once`;
}

/** Groups of positions: what a thread takes at a time. */
function itemsOf({ geometry: g }: Problem, { positions }: DepthwiseWgradTile): number {
  const across = Math.ceil(positionsOf(g.wl, g.stride[1]) / positions);
  return g.n * positionsOf(g.hl, g.stride[0]) * across;
}

const channelTiles = ({ geometry: g }: Problem, tile: DepthwiseWgradTile): number =>
  Math.ceil(pairsOf(g) / (tile.blockChannels * tile.vector));

/** Pairs of a channel of either side in one group. */
const pairsOf = ({ cs, cl, groups }: Geometry): number => (cs * cl) / groups;

/** Channels of either side that the pairs of a block have. */
function channelsOf({ cs, cl, groups }: Geometry, { grouped, vector, blockChannels }: DepthwiseWgradTile) {
  const pairs = blockChannels * vector;
  if (!grouped) return { small: pairs, large: pairs };
  const [inputs, outputs] = [cs / groups, cl / groups];
  return {
    small: Math.max(1, pairs / outputs),
    large: Math.min(pairs, outputs * Math.max(1, pairs / (inputs * outputs))),
  };
}

function parting(problem: Problem, tunables: Tunables, target: Target): Parting | null {
  const parts = partsOf(problem, tunables, target);
  return parts === 1 ? null : { parts, elements: weightsOf(problem.geometry) };
}

function launch(problem: Problem, _: Contraction, tunables: Tunables, target: Target): LaunchGeometry {
  const tile = parseDepthwiseWgradTile(tunables);
  const grid = [channelTiles(problem, tile), 1, partsOf(problem, tunables, target)] as const;
  return { grid, block: [tile.threads, 1, 1], sharedBytes: 0 };
}

function tileReason(problem: Problem, tunables: Tunables): string | null {
  const { geometry: g } = problem;
  const tile = parseDepthwiseWgradTile(tunables);
  const early = shapeReason(g) ?? depthwiseWgradReason(depthwiseWgradPlan(g, problem, tile));
  if (early !== null) return early;
  if (weightsOf(g) === 0) return 'it computes weights, and here are none';
  return channelTiles(problem, tile) > GRID_X ? 'its grid is too small for this many channels' : null;
}

function partsOf(problem: Problem, tunables: Tunables, target: Target): number {
  const tile = parseDepthwiseWgradTile(tunables);
  const steps = Math.ceil(itemsOf(problem, tile) / tile.lanes);
  const elements = weightsOf(problem.geometry);
  const cut = { steps, least: 1, elements, work: (parts: number) => work(problem, tunables, parts) };
  return bestParts(cut, gpuOf(target), 1);
}

/** Bytes of a thread's share of a wavefront. */
const WORD = 4;
/** Instructions of a thread: at its ends, of a group of positions, around a read, of a cell in a step of the tree, for a weight. */
const ENDS = 120;
const GROUP = 130;
const READ = 6;
const ADDITION = 3;
const WEIGHT = 25;
/** Cycles that a block waits: until its first reads are there and the last sums gone, for the reads of a group, at a step of the tree. */
const ENDS_LATENCY = 1500;
const GROUP_LATENCY = 600;
const TREE_LATENCY = 80;

/**
 * What a thread asks of memory for a group of positions: accesses, and bytes of the sectors that a warp's touch. In NCHW
 * neighbouring threads lie POSITIONS columns apart: where that is more than a sector, each access touches one of its own.
 */
function readsOf(plan: DepthwiseWgradPlan, { positions }: DepthwiseWgradTile, { geometry: g, layout, dtype }: Problem) {
  const size = DTYPE_TABLE[dtype].bytes;
  const planes = layout === 'nchw';
  // Rows in NCHW that do not begin at whole pieces are read element by element.
  const split = planes && (g.ws % TOGETHER !== 0 || g.wl % plan.piece !== 0);
  const piece = split ? 1 : plan.piece;
  const runs = split ? Array<number>(plan.width).fill(1) : plan.columnReads.map(({ count }) => count * plan.smalls);
  const apart = (columns: number) => (planes ? Math.min(SECTOR, columns * size) : WORD);
  const [small, large] = [apart(positions), apart(positions * plan.columns.phases.length)];
  const row = runs.reduce((sum, count) => sum + Math.max(count * size, small), 0);
  const pieces = plan.large / piece;
  return {
    count: plan.rowReads.length * runs.length + pieces,
    bytes: plan.rowReads.length * row + pieces * Math.max(piece * size, large),
  };
}

/** Warps that add up in all steps of the tree: where channels have warps of their own, each issues until its last two lanes. */
function treeWarps({ lanes, blockChannels, threads }: DepthwiseWgradTile, layout: Layout): number {
  const least = layout === 'nhwc' ? 1 : Math.min(blockChannels, threads / WARP);
  let sum = 0;
  for (let half = lanes / 2; half >= 1; half /= 2) sum += Math.max(least, (half * blockChannels) / WARP);
  return sum;
}

function work(problem: Problem, tunables: Tunables, parts: number): Work[] {
  const { layout, dtype } = problem;
  const tile = parseDepthwiseWgradTile(tunables);
  const plan = depthwiseWgradPlan(problem.geometry, problem, tile);
  const size = DTYPE_TABLE[dtype].bytes;
  const reads = readsOf(plan, tile, problem);
  const values = plan.rowReads.length * plan.small + plan.large;
  const rounds = Math.ceil(Math.ceil(itemsOf(problem, tile) / tile.lanes) / parts);
  const group = GROUP + plan.products + READ * reads.count + (size === 2 ? values : 0);
  // Half of the threads hand their sums to the other half, and so on.
  const halvings = Math.log2(tile.lanes);
  const handed = plan.cells * tile.threads * (1 - 1 / tile.lanes);
  const weights = plan.cells * tile.blockChannels;
  const ends = ENDS + 30 * halvings + (WEIGHT * weights) / tile.threads;
  const tree = ADDITION * plan.cells * treeWarps(tile, layout);
  // Channels of a block are neighbours in NHWC; rows of the small side that neighbouring parts read, too, are read twice.
  const channels = channelsOf(problem.geometry, tile);
  const sectors = (count: number) => (layout === 'nchw' ? count * size : wholeSectors(count * size));
  const rows = Math.max(1, rounds * tile.lanes * tile.positions) / Math.max(1, problem.geometry.ws);
  const again = Math.min(1 + (plan.rowReads.length - 1) / Math.max(1, rows), plan.rowReads.length);
  const read = (plan.large / tile.vector) * sectors(channels.large) + again * tile.positions * sectors(channels.small);
  const products: Work = {
    blocks: channelTiles(problem, tile) * parts,
    threads: tile.threads,
    resident: depthwiseWgradResident(plan),
    instructions: (tile.threads / WARP) * (ends + rounds * group) + tree,
    fma: tile.threads * rounds * plan.products,
    mma: null,
    sharedBytes: tile.threads * rounds * reads.bytes + 8 * handed + 8 * weights,
    l2Bytes: tile.lanes * rounds * read + weights * 4,
    dramBytes: bytes(problem),
    latency: ENDS_LATENCY + rounds * GROUP_LATENCY + halvings * TREE_LATENCY,
  };
  return inParts(products, weightResults(problem), parts);
}
