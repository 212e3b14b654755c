/** What the template of the tensor-core kernels of the weight gradient takes: its schema, and its values from a spec. */

import { z } from 'zod';
import { joinValues } from './context_igemm.js';
import { togetherOf } from './diagonal.js';
import { isAsynchronous } from './igemm_tiles.js';
import { mmaWgradPlan, parseMmaWgradTile, parseWgradReadings, rowsArePositions } from './mma_wgrad_tiles.js';
import type { Baked, Spec } from './spec.js';

const count = z.int().min(1).max(0x7fffffff);
const size = z.literal([2, 4, 8, 16]);

export const MMA_WGRAD_SCHEMA = {
  asynchronous: z.boolean(),
  staged: z.boolean(),
  joined: z.boolean(),
  most_tiles: count,
  by_position: z.boolean(),
  diagonal: count,
  planes: z.enum(['true', 'false']),
  small_copied: z.boolean(),
  small_bytes: size,
  large_copied: z.boolean(),
  large_bytes: size,
  kernel_height: count,
  kernel_width: count,
  tile_m: count,
  tile_n: count,
  tile_k: count,
  warp_m: count,
  warp_n: count,
  together: count,
  stages: count,
} as const;

export function mmaWgradValues(spec: Spec, { r, s }: Baked) {
  const { tunables, target } = spec;
  const tile = parseMmaWgradTile(tunables);
  const { stages, together, resident } = mmaWgradPlan(tunables, spec, target);
  const { small, large, staged } = parseWgradReadings(tunables);
  return {
    asynchronous: isAsynchronous(target),
    staged,
    ...joinValues(spec),
    by_position: rowsArePositions(spec),
    diagonal: togetherOf(tunables),
    planes: String(spec.layout === 'nchw'),
    small_copied: !small.staged,
    small_bytes: small.bytes,
    large_copied: !large.staged,
    large_bytes: large.bytes,
    resident: Math.max(1, resident),
    threads: tile.threads,
    kernel_height: r,
    kernel_width: s,
    tile_m: tile.m,
    tile_n: tile.n,
    tile_k: tile.k,
    warp_m: tile.warpM,
    warp_n: tile.warpN,
    together,
    stages,
  };
}
