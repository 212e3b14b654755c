/** The CPU row of kernels for few positions, which read each weight once, tap by tap. */

import { withOverheads } from './cpu_overheads.js';
import { existingTaps, meanDepth } from './passes.js';
import type { Contraction, Geometry, Problem } from './problem.js';
import { ACCUMULATOR_BYTES, type CpuTile, cpuTileOf, DTYPE_TABLE, type Target } from './target.js';
import { ONE_LAUNCH, PACKED_HEADER, type Packing, type Tunables, type Variant } from './variant.js';

export const TAPWISE_VARIANT: Variant = {
  name: 'tapwise',
  device: 'cpu',
  forms: ['expand', 'contract'],
  template: 'igemm.cpp.njk',
  kind: 'general',
  tunables: () => [{}],
  packs: tapwisePacking,
  legal: tapwiseLegal,
  cost: withOverheads('tapwise', (problem, form, _, { target }) => tapwiseCost(problem, form, tileOf(problem, target))),
  launch: () => ONE_LAUNCH,
};

function tileOf({ dtype }: Problem, target: Target): CpuTile {
  return cpuTileOf(target.kind === 'cpu' ? target.isa : 'baseline', DTYPE_TABLE[dtype].accumulator);
}

/** Input and output channels of a group. */
function channels({ cs, cl, groups }: Geometry, form: Contraction): readonly [inputs: number, outputs: number] {
  return form === 'expand' ? [cs / groups, cl / groups] : [cl / groups, cs / groups];
}

/** Panels of output channels, in each the taps and the input channels, as cpu/conv_tapwise.cc lays them out. */
function tapwisePacking(problem: Problem, form: Contraction, _: Tunables, target: Target): Packing {
  const { cs, cl, groups, r, s } = problem.geometry;
  const [inputs, outputs] = channels(problem.geometry, form);
  const { lanes } = tileOf(problem, target);
  const bytes =
    groups *
    Math.ceil(outputs / lanes) *
    lanes *
    r *
    s *
    inputs *
    ACCUMULATOR_BYTES[DTYPE_TABLE[problem.dtype].accumulator];
  return { bytes: PACKED_HEADER + bytes, key: [cs, cl, r, s, groups].join(' ') };
}

/** Positions of the small side in all images: inputs are packed as a whole. */
const MOST_ROWS = 1024;

function tapwiseLegal({ geometry: g }: Problem): string | null {
  const rows = g.n * g.hs * g.ws;
  return rows <= MOST_ROWS ? null : `it takes at most ${MOST_ROWS} positions of the small side, got ${rows}`;
}

/** Positions of an image from which on its sums, which every tap adds to, leave the first-level cache. */
const FEW_POSITIONS = 16;

/**
 * By what was measured, in the unit of igemm's: what a weight's way from memory costs is shared by the rows of its tap;
 * stores by what an output is the sum of.
 */
function tapwiseCost({ geometry: g, layout }: Problem, form: Contraction, { lanes }: CpuTile): number {
  const [, outputs] = channels(g, form);
  const rows = Math.max(0.1, (g.n * existingTaps(g)) / (g.r * g.s));
  const half = lanes / 2;
  const filled = Math.max(1, outputs) / (Math.ceil(Math.max(1, outputs) / half) * half);
  const scattered = g.hs * g.ws > FEW_POSITIONS ? 0.4 : 0;
  // In NCHW the large side is packed element by element, whatever the outputs.
  const packed = form === 'contract' && layout === 'nchw' ? 16 / Math.max(1, outputs) : 0;
  return (0.9 + 0.9 / rows + (layout === 'nchw' ? 15 : 8) / meanDepth(form, g) + scattered) / filled + packed;
}
