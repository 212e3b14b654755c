/** What a thread reads of the source, and what for, in the templates of the head and depthwise kernels. */

import { z } from 'zod';
import type { Baked } from './spec.js';
import type { Window } from './window.js';

const count = z.int().min(1).max(0x7fffffff);
const index = z.int().min(0).max(0x7fffffff);
const offset = z.int().min(-0x7fffffff).max(0x7fffffff);

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
