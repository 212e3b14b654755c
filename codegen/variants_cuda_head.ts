/**
 * The CUDA rows of `head`: expand and contract with at most four output channels a group, where a matrix product's tile
 * would be mostly empty. Costs are in the units of codegen/variants_cuda.ts.
 */

import { HEAD_THREADS, headPlan, headReason, parseHeadTile } from './head_tiles.js';
import { positionsOf } from './phases.js';
import type { Problem } from './problem.js';
import { sidesOf } from './tiles.js';
import type { LaunchGeometry, Tunables, Variant } from './variant.js';
import { concurrent, GRID_X, GRID_Y, LOAD, shapeReason, THREAD, type Volume } from './variants_cuda.js';

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
  cost: (problem, form, tunables) => cost(problem, form as Volume, tunables),
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

/** A thread's products do not wait for one another: one warp keeps a scheduler busy that otherwise needs this many. */
const INDEPENDENT = 4;

/** How much dearer a read of NHWC is whose warp touches the lines of many pixels. */
const SCATTER: Readonly<Record<number, number>> = { 4: 1.5 };

function cost(problem: Problem, form: Volume, tunables: Tunables): number {
  const { geometry: g, layout } = problem;
  const tile = parseHeadTile(tunables);
  const plan = headPlan(form, g, layout, tile);
  const inputs = sidesOf(form, g).source.channels / g.groups;
  const rounds = Math.ceil(inputs / (tile.splits * plan.vector));
  const scatter = layout === 'nchw' ? 1 : (SCATTER[tile.splits] ?? 1);
  const loads = plan.rowReads.length * plan.columnReads.length * LOAD * scatter;
  const weights = (plan.vector * g.r * plan.tapRow) / 4;
  const staged = (inputs * g.r * g.s * tile.outputs * LOAD * 2) / HEAD_THREADS;
  const stores = plan.sums * (tile.splits === 1 ? LOAD : 2 * LOAD);
  const { grid } = launch(problem, form, tunables);
  const issued = 2 * THREAD + rounds * (plan.products + loads + weights + 8) + staged + stores;
  return concurrent(grid[0] * grid[1] * HEAD_THREADS * INDEPENDENT, issued / INDEPENDENT);
}
