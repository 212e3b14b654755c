/** What the template of the CUDA head kernels takes: its schema, and its values from a spec. */

import { z } from 'zod';
import { HEAD_THREADS, type HeadPlan, headPlan, headResident, parseHeadTile } from './head_tiles.js';
import { ACTIVATIONS } from './problem.js';
import type { Baked, Spec } from './spec.js';

const count = z.int().min(1).max(0x7fffffff);
const index = z.int().min(0).max(0x7fffffff);
const offset = z.int().min(-0x7fffffff).max(0x7fffffff);

/** What a thread reads of the source, and what for: of head and depthwise kernels. */
export const WINDOW_SCHEMA = {
  row_phases: count,
  column_phases: count,
  row_source_step: count,
  column_source_step: count,
  first_column: offset,
  span: count,
  taps: count,
  kernel_height: count,
  kernel_width: count,
  row_reads: z.array(
    z.strictObject({
      index,
      delta: offset,
      uses: z.array(z.strictObject({ tap: index, delta: offset, phase: index })),
    }),
  ),
  column_reads: z.array(z.strictObject({ at: index, count })),
  column_uses: z.array(z.strictObject({ tap: index, phase: index, at: index })),
} as const;

export const HEAD_SCHEMA = {
  ...WINDOW_SCHEMA,
  outputs: count,
  positions: count,
  lanes: count,
  splits: count,
  vector: count,
  tap_row: count,
  depth: count,
  memory: count,
  split_pitch: count,
  has_bias: z.enum(['true', 'false']),
  activation: index,
} as const;

type Window = Pick<HeadPlan, 'rows' | 'columns' | 'first' | 'span' | 'rowReads' | 'columnReads' | 'columnUses'>;

export function windowValues(plan: Window, baked: Baked) {
  return {
    row_phases: plan.rows.phases.length,
    column_phases: plan.columns.phases.length,
    row_source_step: plan.rows.sourceStep,
    column_source_step: plan.columns.sourceStep,
    first_column: plan.first,
    span: plan.span,
    taps: baked.r * baked.s,
    kernel_height: baked.r,
    kernel_width: baked.s,
    row_reads: plan.rowReads,
    column_reads: plan.columnReads,
    column_uses: plan.columnUses,
  };
}

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
    depth: plan.depth,
    memory: plan.memory,
    split_pitch: plan.splitPitch,
    run: plan.run,
    has_bias: String(baked.bias),
    activation: ACTIVATIONS.indexOf(baked.activation),
  };
}
