/**
 * The CUDA row of `igemm` for the weight gradient in float32: one matrix product over the positions, whose sum is cut
 * into parts where there are few tiles.
 */

import { MOST_AXIS_TAPS, parseGemmTile } from './igemm_tiles.js';
import type { Contraction, Geometry, Problem } from './problem.js';
import type { Target } from './target.js';
import { type LaunchGeometry, modelled, type Parting, type Place, type Tunables, type Variant } from './variant.js';
import { GRID_X, GRID_Y, shapeReason } from './variants_cuda.js';
import { wgradBlocks, wgradPlan } from './wgrad_tiles.js';
import { weightsOf, wgradParts, wgradWork } from './work_wgrad.js';

const TILES: readonly Tunables[] = [
  { tile: 'm128n128k16', thread: 't8x8' },
  { tile: 'm64n128k16', thread: 't8x8' },
  { tile: 'm64n64k16', thread: 't8x4' },
  { tile: 'm32n128k16', thread: 't8x4' },
];

export const IGEMM_WGRAD_VARIANT: Variant = {
  name: 'igemm',
  device: 'cuda',
  forms: ['wgrad'],
  template: 'igemm_wgrad.cu.njk',
  kind: 'specialised',
  tunables: ({ dtype }) => (dtype === 'float32' ? TILES : []),
  parting,
  legal: reason,
  ...modelled((problem, _, tunables, target) => {
    const tile = parseGemmTile(tunables);
    return wgradWork(problem, tile, target, wgradParts(problem, tile, target));
  }),
  launch,
};

function parting(problem: Problem, _: Contraction, tunables: Tunables, target: Target): Parting | null {
  const parts = wgradParts(problem, parseGemmTile(tunables), target);
  return parts === 1 ? null : { parts, elements: weightsOf(problem.geometry) };
}

function launch(problem: Problem, _: Contraction, tunables: Tunables, target: Target): LaunchGeometry {
  const tile = parseGemmTile(tunables);
  const { m, n } = wgradBlocks(problem.geometry, tile);
  const { bytes } = wgradPlan(tile, problem.layout);
  return { grid: [n, m, wgradParts(problem, tile, target)], block: [tile.threads, 1, 1], sharedBytes: bytes };
}

function reason(problem: Problem, _: Contraction, tunables: Tunables, { target }: Place): string | null {
  if (isShort(problem, tunables, target))
    return 'with groups this tile is short of registers on compute capability 10.0';
  return wgradProductReason(problem.geometry, parseGemmTile(tunables));
}

/** The largest tile in NCHW fills its registers there, and the number of a group was spilled (`npm run resources`, 20 bytes). */
function isShort({ geometry, layout }: Problem, { tile }: Tunables, target: Target): boolean {
  const isLargest = layout === 'nchw' && tile === 'm128n128k16';
  return isLargest && geometry.groups > 1 && target.kind === 'cuda' && target.arch === 100;
}

/** Why products of such a tile do not compute a weight gradient; null where they do. */
export function wgradProductReason(g: Geometry, tile: { readonly m: number; readonly n: number }): string | null {
  const early = shapeReason(g);
  if (early !== null) return early;
  if (Math.max(g.r, g.s) > MOST_AXIS_TAPS) return `it takes at most ${MOST_AXIS_TAPS} taps on an axis`;
  if (weightsOf(g) === 0) return 'it computes weights, and here are none';
  const { m, n } = wgradBlocks(g, tile);
  if (m > GRID_Y) return `its grid has at most ${GRID_Y} tiles of channels, and these are more`;
  return n > GRID_X ? 'its grid is too small for this many channels' : null;
}
