/** What the template of the CUDA kernels of depthwise weight gradients takes: its schema, and its values from a spec. */

import { z } from 'zod';
import { WINDOW_SCHEMA, windowValues } from './context_window.js';
import { depthwiseWgradPlan, depthwiseWgradResident, parseDepthwiseWgradTile } from './depthwise_wgrad_tiles.js';
import type { Baked, Spec } from './spec.js';

const count = z.int().min(1).max(0x7fffffff);

export const DEPTHWISE_WGRAD_SCHEMA = {
  ...WINDOW_SCHEMA,
  positions: count,
  lanes: count,
  block_channels: count,
  vector: count,
  pairs: count,
  grouped: z.enum(['true', 'false']),
  piece: count,
} as const;

export function depthwiseWgradValues(spec: Spec, baked: Baked) {
  const tile = parseDepthwiseWgradTile(spec.tunables);
  const plan = depthwiseWgradPlan(baked, spec, tile);
  return {
    ...windowValues(plan, baked),
    positions: tile.positions,
    lanes: tile.lanes,
    block_channels: tile.blockChannels,
    vector: plan.smalls,
    pairs: tile.vector,
    grouped: String(tile.grouped),
    piece: plan.piece,
    threads: tile.threads,
    resident: depthwiseWgradResident(plan),
  };
}
