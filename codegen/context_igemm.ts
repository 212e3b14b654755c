/** What the template of the CUDA igemm kernels takes: its schema, and its values from a spec. */

import { z } from 'zod';
import { togetherOf } from './diagonal.js';
import {
  type GemmPlan,
  gemmMemory,
  gemmPlan,
  gemmResident,
  isAsynchronous,
  lanesOfM,
  PITCH_MULTIPLE,
  parseGemmTile,
} from './igemm_tiles.js';
import { mergedShape } from './merged.js';
import { PARTS_ARG } from './passes.js';
import type { Axis } from './phases.js';
import { ACTIVATIONS } from './problem.js';
import { type Baked, type Spec, specArguments, variantOf } from './spec.js';
import { MOST_TILES } from './work_parts.js';

const count = z.int().min(1).max(0x7fffffff);
/** Integers and commas: the inside of an initialiser. */
const list = z.string().regex(/^[-\d, ]+$/);

/** What both kinds of matrix products take of a shape: its taps, residue by residue, and what follows the sums. */
export const PLAN_SCHEMA = {
  taps: count,
  kernel_width: count,
  phases: count,
  column_phases: count,
  row_start: list,
  row_taps: list,
  row_deltas: list,
  column_start: list,
  column_taps: list,
  column_deltas: list,
  residues: count,
  row_origin: z.int().min(0),
  column_origin: z.int().min(0),
  has_bias: z.enum(['true', 'false']),
  activation: z.int().min(0),
  split: z.boolean(),
  joined: z.boolean(),
  most_tiles: count,
  diagonal: count,
  merged: z.boolean(),
  folded: z.boolean(),
  folded_taps: count,
} as const;

export const IGEMM_SCHEMA = {
  ...PLAN_SCHEMA,
  asynchronous: z.boolean(),
  staged: z.boolean(),
  pitch_multiple: count,
  tile_m: count,
  tile_n: count,
  tile_k: count,
  thread_n: count,
  lanes_m: count,
  stages: count,
  a_pitch: count,
  a_lanes: count,
} as const;

export function igemmValues(spec: Spec, form: 'expand' | 'contract', baked: Baked) {
  const { tunables, layout, target } = spec;
  const tile = parseGemmTile(tunables);
  const plan = planOf(spec, form, baked);
  const memory = gemmMemory(tile, layout, target, plan.mostTaps);
  const { stages, pitch, lanes } = memory;
  return {
    asynchronous: isAsynchronous(target),
    staged: !isAsynchronous(target),
    resident: gemmResident(tile, target, { layout, phases: plan.phases, split: isSplit(spec) }, memory),
    threads: tile.threads,
    pitch_multiple: PITCH_MULTIPLE,
    tile_m: tile.m,
    tile_n: tile.n,
    tile_k: tile.k,
    thread_n: tile.threadN,
    lanes_m: lanesOfM(tile),
    stages,
    a_pitch: pitch,
    a_lanes: lanes,
    ...planValues(spec, plan, baked),
  };
}

/** Whether blocks leave sums of a part of k. */
const isSplit = (spec: Spec): boolean => specArguments(spec).includes(PARTS_ARG);

/** Whether the blocks of a tile join their sums, and for how many tiles there are counters. */
export const joinValues = (spec: Spec) => ({ joined: variantOf(spec).joins === true, most_tiles: MOST_TILES });

/** Whether the residues of outputs are columns of one product. */
const isMerged = (spec: Spec): boolean => variantOf(spec).merges === true;

/** The taps of a kernel's product, and how far apart its outputs lie. */
export function planOf(spec: Spec, form: 'expand' | 'contract', baked: Baked): GemmPlan {
  if (!isMerged(spec)) return gemmPlan(form, baked);
  const { rows, columns, ...plan } = gemmPlan(form, mergedShape(baked));
  const [high, wide] = baked.stride;
  return { ...plan, rows: { ...rows, outputStep: high }, columns: { ...columns, outputStep: wide } };
}

export function planValues(spec: Spec, plan: GemmPlan, baked: Baked) {
  const merged = isMerged(spec);
  const shape = merged ? mergedShape(baked) : baked;
  const folded = variantOf(spec).folds === true;
  return {
    split: isSplit(spec),
    ...joinValues(spec),
    diagonal: togetherOf(spec.tunables),
    ...{ merged, folded },
    residues: merged ? baked.stride[0] * baked.stride[1] : 1,
    row_origin: merged ? baked.padding[0] : 0,
    column_origin: merged ? baked.padding[1] : 0,
    folded_taps: folded ? shape.r * shape.s : 1,
    taps: folded ? 1 : shape.r * shape.s,
    kernel_width: shape.s,
    phases: plan.phases,
    column_phases: plan.columns.phases.length,
    ...axisTable('row', plan.rows),
    ...axisTable('column', plan.columns),
    ...axisSteps(plan),
    has_bias: String(baked.bias),
    activation: ACTIVATIONS.indexOf(baked.activation),
  };
}

export function axisSteps({ rows, columns }: { readonly rows: Axis; readonly columns: Axis }) {
  return {
    row_output_step: rows.outputStep,
    row_source_step: rows.sourceStep,
    column_output_step: columns.outputStep,
    column_source_step: columns.sourceStep,
  };
}

/** The taps of an axis, phase by phase, with where each phase begins. */
export function axisTable(name: 'row' | 'column', { phases }: Axis): Record<string, string> {
  const starts = [0];
  for (const phase of phases) starts.push(starts.at(-1)! + phase.taps.length);
  const taps = phases.flatMap((phase) => phase.taps);
  return {
    [`${name}_start`]: starts.join(', '),
    [`${name}_taps`]: taps.map((tap) => tap.tap).join(', '),
    [`${name}_deltas`]: taps.map((tap) => tap.delta).join(', '),
  };
}
