/** The CUDA row of `depthwise` for the weight gradient, where every channel is a group of its own. */

import {
  type DepthwiseWgradPlan,
  type DepthwiseWgradTile,
  depthwiseWgradPlan,
  depthwiseWgradReason,
  depthwiseWgradResident,
  parseDepthwiseWgradTile,
} from './depthwise_wgrad_tiles.js';
import { gpuOf } from './gpu.js';
import { SECTOR, type Work, wholeSectors } from './gpu_work.js';
import { bytes } from './passes.js';
import { positionsOf } from './phases.js';
import type { Contraction, Problem } from './problem.js';
import { DTYPE_TABLE, type Target } from './target.js';
import { type LaunchGeometry, modelled, type Parting, type Tunables, type Variant } from './variant.js';
import { GRID_X, shapeReason } from './variants_cuda.js';
import { bestParts, inParts } from './work_parts.js';
import { weightResults, weightsOf } from './work_wgrad.js';

/** In NCHW threads lie along positions, in NHWC also along channels: the more of them, the longer the runs in memory. */
const TILES: Readonly<Record<'nchw' | 'nhwc', readonly Tunables[]>> = {
  nchw: ['t4v1', 't8v1', 't2v1', 't1v1'].flatMap((tile) => ['b128x1', 'b32x4'].map((block) => ({ tile, block }))),
  nhwc: ['t2v4', 't1v4', 't2v8', 't1v8', 't4v2', 't2v2', 't1v2', 't4v1', 't2v1', 't1v1'].flatMap((tile) =>
    ['b8x16', 'b4x32', 'b16x8'].map((block) => ({ tile, block })),
  ),
};

export const CUDA_DEPTHWISE_WGRAD_VARIANT: Variant = {
  name: 'depthwise',
  device: 'cuda',
  forms: ['wgrad'],
  template: 'depthwise_wgrad.cu.njk',
  kind: 'specialised',
  tunables: ({ dtype, layout }) =>
    dtype === 'float64'
      ? []
      : TILES[layout].filter((row) => parseDepthwiseWgradTile(row).vector * DTYPE_TABLE[dtype].bytes <= 16),
  parting: (problem, _, tunables, target) => parting(problem, tunables, target),
  legal: reason,
  ...modelled((problem, _, tunables, target) => work(problem, tunables, partsOf(problem, tunables, target))),
  launch,
};

/** Groups of positions: what a thread takes at a time. */
function itemsOf({ geometry: g }: Problem, { positions }: DepthwiseWgradTile): number {
  const across = Math.ceil(positionsOf(g.wl, g.stride[1]) / positions);
  return g.n * positionsOf(g.hl, g.stride[0]) * across;
}

const channelTiles = ({ geometry: g }: Problem, tile: DepthwiseWgradTile): number =>
  Math.ceil(g.groups / (tile.blockChannels * tile.vector));

function parting(problem: Problem, tunables: Tunables, target: Target): Parting | null {
  const parts = partsOf(problem, tunables, target);
  return parts === 1 ? null : { parts, elements: weightsOf(problem.geometry) };
}

function launch(problem: Problem, _: Contraction, tunables: Tunables, target: Target): LaunchGeometry {
  const tile = parseDepthwiseWgradTile(tunables);
  const grid = [channelTiles(problem, tile), 1, partsOf(problem, tunables, target)] as const;
  return { grid, block: [tile.threads, 1, 1], sharedBytes: 0 };
}

function reason(problem: Problem, _: Contraction, tunables: Tunables): string | null {
  const { geometry: g } = problem;
  if (g.cs !== g.groups || g.cl !== g.groups) return 'it takes one channel a group on both sides';
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

const WARP = 32;
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
function readsOf(plan: DepthwiseWgradPlan, { positions, vector }: DepthwiseWgradTile, { layout, dtype }: Problem) {
  const size = DTYPE_TABLE[dtype].bytes;
  const step = (columns: number) => (layout === 'nchw' ? Math.min(SECTOR, columns * size) : 0);
  const width = layout === 'nchw' ? 1 : vector;
  const large = plan.large / (layout === 'nchw' ? plan.piece : vector);
  const [apart, pieces] = [step(positions), step(positions * plan.columns.phases.length)];
  const row = plan.columnReads.reduce((sum, { count }) => sum + Math.max(count * width * size, apart), 0);
  return {
    count: plan.rowReads.length * plan.columnReads.length + large,
    bytes: plan.rowReads.length * row + large * Math.max(plan.piece * width * size, pieces),
  };
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
  const tree = (2 * ADDITION * handed + WEIGHT * weights) / tile.threads + 30 * halvings;
  // Channels of a block are neighbours in NHWC; rows of the small side that neighbouring parts read, too, are read twice.
  const across = tile.blockChannels * tile.vector * size;
  const whole = layout === 'nchw' ? 1 : wholeSectors(across) / across;
  const rows = Math.max(1, rounds * tile.lanes * tile.positions) / Math.max(1, problem.geometry.ws);
  const again = 1 + (plan.rowReads.length - 1) / Math.max(1, rows);
  const read = plan.large + Math.min(again, plan.rowReads.length) * tile.positions * tile.vector;
  const products: Work = {
    blocks: channelTiles(problem, tile) * parts,
    threads: tile.threads,
    resident: depthwiseWgradResident(plan),
    instructions: (tile.threads / WARP) * (ENDS + rounds * group + tree),
    fma: tile.threads * rounds * plan.products,
    mma: null,
    sharedBytes: tile.threads * rounds * reads.bytes + 8 * handed + 8 * weights,
    l2Bytes: tile.threads * rounds * read * size * whole + weights * 4,
    dramBytes: bytes(problem),
    latency: ENDS_LATENCY + rounds * GROUP_LATENCY + halvings * TREE_LATENCY,
  };
  return inParts(products, weightResults(problem), parts);
}
