/** What the template of the CUDA igemm kernels of the weight gradient takes: its schema, and its values from a spec. */

import { z } from 'zod';
import { joinValues } from './context_igemm.js';
import { isAsynchronous, parseGemmTile } from './igemm_tiles.js';
import type { Baked, Spec } from './spec.js';
import { wgradPlan, wgradResident } from './wgrad_tiles.js';

const count = z.int().min(1).max(0x7fffffff);

export const IGEMM_WGRAD_SCHEMA = {
  staged: z.boolean(),
  joined: z.boolean(),
  most_tiles: count,
  asynchronous: z.boolean(),
  kernel_height: count,
  kernel_width: count,
  tile_m: count,
  tile_n: count,
  tile_k: count,
  thread_n: count,
  lanes_m: count,
  depth_lanes: count,
  together: count,
  stages: count,
  pitch: count,
} as const;

export function igemmWgradValues(spec: Spec, { r, s }: Baked) {
  const { tunables, layout, target } = spec;
  const tile = parseGemmTile(tunables);
  const plan = wgradPlan(tile, layout);
  const { stages, pitch, lanesM, depthLanes, together } = plan;
  return {
    asynchronous: isAsynchronous(target),
    staged: !isAsynchronous(target),
    ...joinValues(spec),
    resident: wgradResident(tile, target, plan),
    threads: tile.threads,
    kernel_height: r,
    kernel_width: s,
    tile_m: tile.m,
    tile_n: tile.n,
    tile_k: tile.k,
    thread_n: tile.threadN,
    lanes_m: lanesM,
    depth_lanes: depthLanes,
    together,
    stages,
    pitch,
  };
}
