/** The CUDA rows of `depthwise`: expand and contract where every channel is a group of its own. */

import {
  DEPTHWISE_THREADS,
  type DepthwisePlan,
  type DepthwiseTile,
  depthwisePlan,
  depthwiseReason,
  depthwiseResident,
  parseDepthwiseTile,
} from './depthwise_tiles.js';
import { WARP, type Work, wholeSectors } from './gpu_work.js';
import { bytes } from './passes.js';
import { positionsOf } from './phases.js';
import type { Problem } from './problem.js';
import { DTYPE_TABLE } from './target.js';
import { sidesOf } from './tiles.js';
import { type LaunchGeometry, modelled, type Tunables, type Variant } from './variant.js';
import { GRID_X, GRID_Y, shapeReason, type Volume } from './variants_cuda.js';

/** In NCHW threads lie along positions, in NHWC also along channels: the more of them, the longer the runs in memory. */
const TILES: Readonly<Record<'nchw' | 'nhwc', readonly Tunables[]>> = {
  nchw: ['t4', 't2', 't1', 't8'].map((tile) => ({ tile, block: 'b128x1' })),
  nhwc: ['t2', 't4', 't1'].flatMap((tile) => ['b4x32', 'b8x16', 'b16x8', 'b64x2'].map((block) => ({ tile, block }))),
};

export const CUDA_DEPTHWISE_VARIANT: Variant = {
  name: 'depthwise',
  device: 'cuda',
  forms: ['expand', 'contract'],
  template: 'depthwise.cu.njk',
  kind: 'specialised',
  tunables: ({ dtype, layout }) => (dtype === 'float64' ? [] : TILES[layout]),
  legal: (problem, form, tunables) => reason(problem, form as Volume, tunables),
  ...modelled((problem, form, tunables) => work(problem, form as Volume, tunables)),
  launch: (problem, form, tunables) => launch(problem, form as Volume, tunables),
};

/** Positions that a thread of NHWC takes one after another: staging a block's weights is worth its while then. */
const ROUNDS = 8;
/** Blocks that keep a large GPU busy: rounds are fewer where there are not so many. */
const ENOUGH_BLOCKS = 2048;

interface Blocks {
  readonly x: number;
  readonly y: number;
  /** Groups of positions a thread. */
  readonly rounds: number;
}

function blocksOf({ geometry: g, layout }: Problem, form: Volume, tile: DepthwiseTile, plan: DepthwisePlan): Blocks {
  const { output } = sidesOf(form, g);
  const across = Math.ceil(positionsOf(output.width, plan.columns.outputStep) / tile.positions);
  const items = g.n * positionsOf(output.height, plan.rows.outputStep) * across;
  if (layout === 'nchw') return { x: Math.ceil((items * g.groups) / DEPTHWISE_THREADS), y: 1, rounds: 1 };
  const y = Math.ceil(g.groups / (tile.blockChannels * plan.vector));
  const groups = Math.ceil(items / tile.lanes);
  const rounds = Math.max(1, Math.min(ROUNDS, Math.floor((groups * y) / ENOUGH_BLOCKS)));
  return { x: Math.ceil(groups / rounds), y, rounds };
}

function launch(problem: Problem, form: Volume, tunables: Tunables): LaunchGeometry {
  const tile = parseDepthwiseTile(tunables);
  const plan = depthwisePlan(form, problem.geometry, problem, tile);
  const { x, y } = blocksOf(problem, form, tile, plan);
  return { grid: [Math.max(1, x), y, 1], block: [DEPTHWISE_THREADS, 1, 1], sharedBytes: 0 };
}

function reason(problem: Problem, form: Volume, tunables: Tunables): string | null {
  const { geometry: g } = problem;
  if (g.cs !== g.groups || g.cl !== g.groups) return 'it takes one channel a group on both sides';
  const early = shapeReason(g) ?? depthwiseReason(depthwisePlan(form, g, problem, parseDepthwiseTile(tunables)));
  if (early !== null) return early;
  const { grid } = launch(problem, form, tunables);
  if (grid[1] > GRID_Y) return `its grid has at most ${GRID_Y} tiles of channels, and these are more`;
  return grid[0] > GRID_X ? 'its grid is too small for this many positions' : null;
}

/** Instructions of a thread: at its ends, of a group of positions, around a read, for a staged weight, for an output; more for 16 bits. */
const ENDS = 100;
const GROUP = 120;
const READ = 6;
const STAGED = 12;
const OUTPUT = { 2: 18, 4: 6 };
const CONVERTED = { 2: 3, 4: 0 };
/** Cycles that a block waits: until its first reads and the last outputs are gone, for staged weights, and for the reads of a group. */
const ENDS_LATENCY = 1500;
const STAGED_LATENCY = 600;
const GROUP_LATENCY = 600;
/** Rows of the source come more than once from the second level of cache: neighbouring rows of outputs are in other blocks. */
const SHARED_ROWS = 0.7;

function work(problem: Problem, form: Volume, tunables: Tunables): Work[] {
  const { geometry: g, layout, dtype } = problem;
  const tile = parseDepthwiseTile(tunables);
  const plan = depthwisePlan(form, g, problem, tile);
  const { x, y, rounds } = blocksOf(problem, form, tile, plan);
  const size = DTYPE_TABLE[dtype].bytes as 2 | 4;
  const reads = plan.rowReads.length * plan.columnReads.length;
  const taps = g.r * g.s;
  const weights = layout === 'nchw' ? taps : (taps * plan.vector) / 4;
  const staged = layout === 'nchw' ? 0 : (taps * tile.blockChannels * plan.vector) / DEPTHWISE_THREADS;
  const converted = CONVERTED[size] * plan.rowReads.length * plan.values;
  const group = GROUP + plan.products + reads * READ + weights + converted + OUTPUT[size] * plan.sums;
  const warps = DEPTHWISE_THREADS / WARP;
  const stored = plan.sums * size;
  // Channels of a block are neighbours in NHWC: sectors that they do not fill are moved as a whole.
  const across = tile.blockChannels * plan.vector * size;
  const sectors = layout === 'nchw' ? 1 : wholeSectors(across) / across;
  const read = plan.rowReads.length * tile.positions * plan.columns.sourceStep * plan.vector * size;
  return [
    {
      blocks: x * y,
      threads: DEPTHWISE_THREADS,
      resident: depthwiseResident(plan),
      instructions: warps * (ENDS + staged * STAGED + rounds * group),
      fma: DEPTHWISE_THREADS * rounds * plan.products,
      mma: null,
      sharedBytes: DEPTHWISE_THREADS * rounds * (reads * 16 + weights * (layout === 'nchw' ? 4 : 16) + stored),
      l2Bytes: DEPTHWISE_THREADS * rounds * sectors * (SHARED_ROWS * read + stored) + staged * DEPTHWISE_THREADS * size,
      dramBytes: bytes(problem),
      latency: ENDS_LATENCY + (layout === 'nchw' ? 0 : STAGED_LATENCY) + rounds * GROUP_LATENCY,
    },
  ];
}
