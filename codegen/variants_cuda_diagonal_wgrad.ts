/**
 * The CUDA row of `mmadiagonal` for the weight gradient: the kernels of `mma` where groups have few channels. The channels of
 * several groups fill a tile, and of its products only those of a group with itself are stored.
 */

import { onDiagonals, together, togetherOf, togetherReason } from './diagonal.js';
import { parseMmaWgradTile } from './mma_wgrad_tiles.js';
import type { Contraction, Problem } from './problem.js';
import type { Place, Tunables, Variant } from './variant.js';
import { MMA_WGRAD_VARIANT } from './variants_cuda_mma_wgrad.js';

/** How many groups become one. */
const TOGETHER = ['d2', 'd4', 'd8', 'd16'];
/** Channels of the tiles that are offered: of more, most products would be of two groups. */
const MOST_CHANNELS = 64;

export const DIAGONAL_WGRAD_VARIANT: Variant = {
  ...MMA_WGRAD_VARIANT,
  name: 'mmadiagonal',
  tunables: (...asked) => {
    const tiles = MMA_WGRAD_VARIANT.tunables(...asked);
    return onDiagonals(
      tiles.filter((tunables) => parseMmaWgradTile(tunables).m <= MOST_CHANNELS),
      TOGETHER,
    );
  },
  restated: (problem, _, tunables) => together(problem, tunables),
  legal: reason,
};

function reason(problem: Problem, form: Contraction, tunables: Tunables, place: Place): string | null {
  const { m } = parseMmaWgradTile(tunables);
  const { cs, groups } = problem.geometry;
  const count = togetherOf(tunables);
  const early = togetherReason(problem, tunables);
  if (early !== null) return early;
  if (cs / groups > m) return `its tiles hold ${m} channels of the small side, and ${count} groups have ${cs / groups}`;
  return MMA_WGRAD_VARIANT.legal(problem, form, tunables, place);
}
