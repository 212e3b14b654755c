/** What the template of the CUDA head kernels takes: its schema, and its values from a spec. */

import { z } from 'zod';
import { WINDOW_SCHEMA, windowValues } from './context_window.js';
import { HEAD_THREADS, headPlan, headResident, parseHeadTile } from './head_tiles.js';
import { ACTIVATIONS } from './problem.js';
import type { Baked, Spec } from './spec.js';

const count = z.int().min(1).max(0x7fffffff);
const index = z.int().min(0).max(0x7fffffff);

export const HEAD_SCHEMA = {
  ...WINDOW_SCHEMA,
  outputs: count,
  positions: count,
  lanes: count,
  splits: count,
  vector: count,
  tap_row: count,
  staged: count,
  depth: count,
  memory: count,
  split_pitch: count,
  cell_pitch: count,
  parts: count,
  has_bias: z.enum(['true', 'false']),
  activation: index,
} as const;

export function headValues(spec: Spec, form: 'expand' | 'contract', baked: Baked) {
  const tile = parseHeadTile(spec.tunables);
  const plan = headPlan(form, baked, spec.layout, tile);
  return {
    ...tile,
    ...windowValues(plan, baked),
    threads: HEAD_THREADS,
    resident: headResident(plan),
    vector: plan.vector,
    tap_row: plan.tapRow,
    staged: plan.staged,
    depth: plan.depth,
    memory: plan.memory,
    split_pitch: plan.splitPitch,
    cell_pitch: plan.cellPitch,
    parts: plan.parts,
    run: plan.run,
    has_bias: String(baked.bias),
    activation: ACTIVATIONS.indexOf(baked.activation),
  };
}
