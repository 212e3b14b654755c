/**
 * The tensor-core row of the weight gradient: one matrix product over the positions in float16, in bfloat16 and, where it is
 * allowed, in TF32, whose float32 sums are cut into parts where there are few tiles.
 */

import { apart } from './diagonal.js';
import { tensorCoreReason } from './mma_tiles.js';
import { mmaWgradPlan, mmaWgradTunables, parseMmaWgradTile, parseWgradReadings, piecesOf } from './mma_wgrad_tiles.js';
import type { Contraction, Problem } from './problem.js';
import type { Target } from './target.js';
import { type LaunchGeometry, modelled, type Parting, type Place, type Tunables, type Variant } from './variant.js';
import { wgradProductReason } from './variants_cuda_wgrad.js';
import { wgradBlocks } from './wgrad_tiles.js';
import { mmaWgradParts, mmaWgradWork } from './work_mma_wgrad.js';
import { weightsOf } from './work_wgrad.js';

export const MMA_WGRAD_VARIANT: Variant = {
  name: 'mma',
  device: 'cuda',
  forms: ['wgrad'],
  template: 'mma_wgrad.cu.njk',
  kind: 'specialised',
  tunables: (problem, _, target) => mmaWgradTunables(problem, target),
  parting,
  legal: reason,
  ...modelled((problem, _, tunables, target) =>
    mmaWgradWork(problem, tunables, target, mmaWgradParts(problem, tunables, target)),
  ),
  launch,
};

function parting(problem: Problem, _: Contraction, tunables: Tunables, target: Target): Parting | null {
  const parts = mmaWgradParts(problem, tunables, target);
  return parts === 1 ? null : { parts, elements: weightsOf(apart(problem, tunables).geometry) };
}

function launch(problem: Problem, _: Contraction, tunables: Tunables, target: Target): LaunchGeometry {
  const tile = parseMmaWgradTile(tunables);
  const { m, n } = wgradBlocks(problem.geometry, tile);
  const { bytes } = mmaWgradPlan(tunables, problem, target);
  return { grid: [n, m, mmaWgradParts(problem, tunables, target)], block: [tile.threads, 1, 1], sharedBytes: bytes };
}

function reason(problem: Problem, _: Contraction, tunables: Tunables, place: Place): string | null {
  const { geometry: g, dtype } = problem;
  const early = tensorCoreReason(dtype, place) ?? wgradProductReason(g, parseMmaWgradTile(tunables));
  if (early !== null) return early;
  if (mmaWgradPlan(tunables, problem, place.target).resident === 0) return 'its tiles are larger than shared memory';
  const { small, large } = parseWgradReadings(tunables);
  const pieces = piecesOf(problem);
  if (small.bytes === pieces.small && large.bytes === pieces.large) return null;
  return `it reads ${small.bytes} and ${large.bytes} bytes at a time, and they come in pieces of ${pieces.small} and ${pieces.large}`;
}
