/** What the template of the CUDA depthwise kernels takes: its schema, and its values from a spec. */

import { z } from 'zod';
import { WINDOW_SCHEMA, windowValues } from './context_window.js';
import { DEPTHWISE_THREADS, depthwisePlan, depthwiseResident, parseDepthwiseTile } from './depthwise_tiles.js';
import { ACTIVATIONS } from './problem.js';
import type { Baked, Spec } from './spec.js';

const count = z.int().min(1).max(0x7fffffff);

export const DEPTHWISE_SCHEMA = {
  ...WINDOW_SCHEMA,
  positions: count,
  lanes: count,
  block_channels: count,
  vector: count,
  has_bias: z.enum(['true', 'false']),
  activation: z.int().min(0),
} as const;

export function depthwiseValues(spec: Spec, form: 'expand' | 'contract', baked: Baked) {
  const tile = parseDepthwiseTile(spec.tunables);
  const plan = depthwisePlan(form, baked, spec, tile);
  return {
    ...windowValues(plan, baked),
    positions: tile.positions,
    lanes: tile.lanes,
    block_channels: tile.blockChannels,
    vector: plan.vector,
    threads: DEPTHWISE_THREADS,
    resident: depthwiseResident(plan),
    run: plan.run,
    has_bias: String(baked.bias),
    activation: ACTIVATIONS.indexOf(baked.activation),
  };
}
