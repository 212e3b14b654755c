/**
 * The CUDA rows of `head`: expand and contract with at most four output channels a group, where a matrix product's tile
 * would be mostly empty.
 */

import { SECTOR, WARP, type Work } from './gpu_work.js';
import {
  HEAD_THREADS,
  type HeadPlan,
  type HeadTile,
  headPlan,
  headReason,
  headResident,
  parseHeadTile,
} from './head_tiles.js';
import { blocksInMemory } from './igemm_tiles.js';
import { bytes } from './passes.js';
import { positionsOf } from './phases.js';
import type { Problem } from './problem.js';
import { DTYPE_TABLE, type Target } from './target.js';
import { sidesOf } from './tiles.js';
import { type LaunchGeometry, modelled, type Tunables, type Variant } from './variant.js';
import { GRID_X, GRID_Y, shapeReason, type Volume } from './variants_cuda.js';

const MOST_OUTPUTS = 4;
/** Positions a thread; few where there are few, or where the residues of one make many sums. */
const POSITIONS = { nchw: [4, 8, 2, 1], nhwc: [4, 2, 1] } as const;
/** In NHWC threads that share channels read whole sectors together. */
const BLOCKS = { nchw: ['b128x1', 'b32x4', 'b16x8', 'b4x32'], nhwc: ['b16x8', 'b32x4', 'b4x32'] } as const;

const tunablesOf = (layout: 'nchw' | 'nhwc'): Tunables[] =>
  Array.from({ length: MOST_OUTPUTS }, (_, i) => i + 1).flatMap((outputs) =>
    POSITIONS[layout].flatMap((positions) =>
      BLOCKS[layout].map((block) => ({ tile: `o${outputs}t${positions}`, block })),
    ),
  );
const TILES = { nchw: tunablesOf('nchw'), nhwc: tunablesOf('nhwc') };

export const HEAD_VARIANT: Variant = {
  name: 'head',
  device: 'cuda',
  forms: ['expand', 'contract'],
  template: 'head.cu.njk',
  kind: 'specialised',
  tunables: ({ dtype, layout }) => (dtype === 'float64' ? [] : TILES[layout]),
  legal: (problem, form, tunables) => reason(problem, form as Volume, tunables),
  ...modelled((problem, form, tunables, target) => work(problem, form as Volume, tunables, target)),
  launch: (problem, form, tunables) => launch(problem, form as Volume, tunables),
};

function launch({ geometry: g, layout }: Problem, form: Volume, tunables: Tunables): LaunchGeometry {
  const tile = parseHeadTile(tunables);
  const { rows, columns } = headPlan(form, g, layout, tile);
  const { output } = sidesOf(form, g);
  const across = Math.ceil(positionsOf(output.width, columns.outputStep) / tile.positions);
  const items = g.n * positionsOf(output.height, rows.outputStep) * across;
  return {
    grid: [Math.max(1, Math.ceil(items / tile.lanes)), g.groups, 1],
    block: [HEAD_THREADS, 1, 1],
    sharedBytes: 0,
  };
}

function reason(problem: Problem, form: Volume, tunables: Tunables): string | null {
  const { geometry: g, layout } = problem;
  const tile = parseHeadTile(tunables);
  const outputs = sidesOf(form, g).output.channels / g.groups;
  if (outputs > MOST_OUTPUTS || outputs === 0) return `it takes one to ${MOST_OUTPUTS} output channels a group`;
  if (outputs !== tile.outputs) return `this tile is for ${tile.outputs} output channels a group`;
  const early = shapeReason(g) ?? headReason(headPlan(form, g, layout, tile));
  if (early !== null) return early;
  const { grid } = launch(problem, form, tunables);
  if (grid[1] > GRID_Y) return `its grid has at most ${GRID_Y} groups, and these are more`;
  return grid[0] > GRID_X ? 'its grid is too small for this many positions' : null;
}

/** Instructions of a thread: at its ends, of a round of its loop, around a read, for a staged weight, for an output. */
const ENDS = 200;
const ROUND = 12;
const READ = 3;
const STAGED = 12;
const OUTPUT = 5;
/** More for one of 16 bits, which is rounded and put together with another. */
const HALF = 12;
/** Converting 16-bit values, an instruction or two each. */
const CONVERSION = 1.3;
/** Cycles that a block waits: until its first weights are there and the last outputs gone, and for the reads of a round. */
const ENDS_LATENCY = 2500;
const ROUND_LATENCY = 400;

function work(problem: Problem, form: Volume, tunables: Tunables, target: Target): Work[] {
  const { geometry: g, layout, dtype } = problem;
  const tile = parseHeadTile(tunables);
  const plan = headPlan(form, g, layout, tile);
  const { source } = sidesOf(form, g);
  const inputs = source.channels / g.groups;
  const size = DTYPE_TABLE[dtype].bytes;
  const warps = HEAD_THREADS / WARP;
  const rounds = Math.ceil(inputs / (tile.splits * plan.vector));
  const reads = plan.rowReads.length * plan.columnReads.length;
  const weights = (plan.vector * g.r * plan.tapRow) / 4;
  const values = size === 2 ? plan.rowReads.length * plan.values * CONVERSION : 0;
  const staged = (inputs * g.r * g.s * tile.outputs) / HEAD_THREADS;
  const partials = tile.splits === 1 ? 0 : 2 * plan.sums;
  const round = plan.products + reads * READ + weights + values + ROUND;
  const { grid } = launch(problem, form, tunables);
  const readBytes = (layout === 'nchw' ? 4 : plan.vector) * size;
  const stored = (HEAD_THREADS / tile.splits) * plan.sums * size;
  return [
    {
      blocks: grid[0] * grid[1],
      threads: HEAD_THREADS,
      resident: Math.max(1, Math.min(headResident(plan), blocksInMemory(target, plan.memory * 4))),
      instructions:
        warps *
        (ENDS + rounds * round + staged * STAGED + partials + (size === 2 ? OUTPUT + HALF : OUTPUT) * plan.sums),
      fma: HEAD_THREADS * rounds * plan.products,
      mma: null,
      // A weight is one word for a whole warp in NCHW; in NHWC the threads of a lane read one channel each.
      sharedBytes: warps * rounds * (weights * 128 + reads * WARP * readBytes) + warps * partials * 128 + stored,
      l2Bytes: inputs * size * (sourcePixels(problem, form, tile, plan) + g.r * g.s * tile.outputs) + stored,
      dramBytes: bytes(problem),
      latency: ENDS_LATENCY + rounds * ROUND_LATENCY,
    },
  ];
}

/** Pixels of the source that a block reads: what several of its rows read stays in the first level of cache. */
function sourcePixels({ geometry: g, dtype }: Problem, form: Volume, tile: HeadTile, plan: HeadPlan): number {
  const { source, output } = sidesOf(form, g);
  const across = positionsOf(output.width, plan.columns.outputStep);
  const rows = Math.max(1, (tile.lanes * tile.positions) / Math.max(1, across));
  const high = (rows - 1) * plan.rows.sourceStep + plan.rowReads.length;
  const wide = Math.min(across, tile.lanes * tile.positions) * plan.columns.sourceStep + plan.span - tile.positions;
  return high * Math.min(source.width + SECTOR / DTYPE_TABLE[dtype].bytes, wide);
}
