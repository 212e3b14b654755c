/**
 * Spec → the names and numbers of its template. Everything derived is derived here, and checked: only integers in range
 * and words of our own lists reach a kernel's text.
 */

import { z } from 'zod';
import { DEPTHWISE_SCHEMA, depthwiseValues } from './context_depthwise.js';
import { HEAD_SCHEMA, headValues } from './context_head.js';
import { axisTable, IGEMM_SCHEMA, igemmValues } from './context_igemm.js';
import { MMA_SCHEMA, mmaValues } from './context_mma.js';
import { IGEMM_WGRAD_SCHEMA, igemmWgradValues } from './context_wgrad.js';
import { FracstrideError } from './errors.js';
import type { ArgKind } from './passes.js';
import type { AxisPhase } from './phases.js';
import { ACTIVATIONS } from './problem.js';
import { type Baked, kernelName, type Spec, specArguments } from './spec.js';
import { MOST_ACROSS, runLength, SHARED_BLOCKS, THREADS } from './sums_geometry.js';
import { DTYPE_TABLE } from './target.js';
import { type PhasePlan, parseTile, phasePlan, wgradSegments } from './tiles.js';
import { GATHER_SUMMERS, GATHER_THREADS } from './variants_cuda.js';
import { GATHER_RESIDENT } from './work_gather.js';
import { phaseResident } from './work_phase.js';

const count = z.int().min(1).max(0x7fffffff);
const index = z.int().min(0).max(0x7fffffff);
const offset = z.int().min(-0x7fffffff).max(0x7fffffff);
const pair = z.tuple([index, index]);
/** Integers, commas and braces: the inside of an initialiser. */
const list = z.string().regex(/^[-\d, {}]*$/);
const symbol = z.string().regex(/^[a-z][a-z0-9_]*$/);

const side = z.strictObject({ name: symbol, channels: symbol, height: symbol, width: symbol });
const common = {
  name: symbol,
  specification: z.string().regex(/^[\w{}[\]":, .]*$/),
  form: z.enum(['expand', 'contract', 'wgrad', 'bgrad']),
  layout: z.enum(['nchw', 'nhwc']),
  dtype: z.enum(['f32', 'f64', 'f16', 'bf16']),
  storage: z.enum(['float', 'double', 'unsigned short']),
  accumulator: z.enum(['float', 'double']),
  parameters: z.string().regex(/^[\w*, \n]+$/),
  threads: count.max(1024),
  resident: count,
};
const read = z.strictObject({
  bit: index.max(31),
  delta: offset,
  uses: z.array(z.strictObject({ phase: index, column: index })),
});

const shape = { stride: pair, padding: pair, dilation: pair, groups: count };
const run = { run: count, run_bytes: count, run_length: count };
const steps = {
  row_output_step: count,
  row_source_step: count,
  column_output_step: count,
  column_source_step: count,
};

/** What each template takes, by the template's name. */
const SCHEMAS = {
  'gather.cu.njk': z.strictObject({ ...common, source: side, output: side }),
  'gather_wgrad.cu.njk': z.strictObject(common),
  'bgrad.cu.njk': z.strictObject({
    ...common,
    storages: z.array(z.enum(['f32', 'f64', 'f16', 'bf16'])),
    run: count.max(4),
    total: z.enum(['float', 'double']),
    most_groups: count,
    most_partials: count,
  }),
  'phase.cu.njk': z.strictObject({
    ...common,
    source: side,
    output: side,
    ...shape,
    ...steps,
    taps: count,
    kernel_width: count,
    has_bias: z.enum(['true', 'false']),
    activation: index,
    positions: count,
    channels: count,
    block_positions: count,
    block_channels: count,
    block_tile: count,
    width: count,
    together: count,
    phases: count,
    columns: count,
    depth: count,
    ...run,
    row_start: list,
    row_taps: list,
    row_deltas: list,
    column_counts: list,
    column_taps: list,
    column_groups: z.array(z.strictObject({ index, residues: list, reads: z.array(read) })),
  }),
  'igemm.cu.njk': z.strictObject({ ...common, source: side, output: side, ...shape, ...steps, ...IGEMM_SCHEMA }),
  'head.cu.njk': z.strictObject({ ...common, source: side, output: side, ...shape, ...run, ...HEAD_SCHEMA }),
  'mma.cu.njk': z.strictObject({ ...common, source: side, output: side, ...shape, ...steps, ...MMA_SCHEMA }),
  'depthwise.cu.njk': z.strictObject({ ...common, source: side, output: side, ...shape, ...run, ...DEPTHWISE_SCHEMA }),
  'igemm_wgrad.cu.njk': z.strictObject({ ...common, ...shape, ...IGEMM_WGRAD_SCHEMA }),
  'phase_wgrad.cu.njk': z.strictObject({
    ...common,
    ...shape,
    kernel_height: count,
    kernel_width: count,
    small_channels: count,
    large_channels: count,
    block_positions: count,
    block_channels: count,
    block_tile: count,
    segment: count,
    segments: count,
  }),
} as const;

type Values = Record<string, unknown>;

/**
 * The checked context of a CUDA kernel's template.
 *
 * @throws FracstrideError ERR_ARGUMENT when the spec holds a number or a word out of its range
 */
export function kernelContext(spec: Spec, template: string): Values {
  const schema = SCHEMAS[template as keyof typeof SCHEMAS];
  const checked = schema?.safeParse({ ...commonValues(spec), ...valuesFor(spec, template) });
  if (checked?.success) return checked.data;
  const issue = checked?.error.issues[0];
  const why = issue === undefined ? `no schema for ${template}` : `${issue.path.join('.')}: ${issue.message}`;
  throw new FracstrideError('ERR_ARGUMENT', `render: the spec must fit its template's schema, got ${why}`);
}

function commonValues(spec: Spec): Values {
  const { short, storage, accumulator } = DTYPE_TABLE[spec.dtype];
  const { form, layout, variant, tunables, baked } = spec;
  return {
    name: kernelName(spec),
    specification: JSON.stringify({ form, dtype: spec.dtype, layout, variant, tunables, baked }),
    form,
    layout,
    dtype: short,
    storage,
    accumulator,
    parameters: parameters(spec),
    resident: residentBlocks(spec),
  };
}

/**
 * Blocks that a multiprocessor shall hold at least; without it, compilers save registers until they spill. Gather's
 * threads get 80 registers, those of phase kernels (blocks of 128 threads) 168, or 255 where sums take two each.
 */
function residentBlocks({ baked, dtype }: Spec): number {
  return baked === null ? GATHER_RESIDENT : phaseResident(DTYPE_TABLE[dtype].accumulator === 'double');
}

/** The C type of each kind of argument but pointers; tables are structs that the templates which take them define. */
export const C_TYPES: Readonly<Record<Exclude<ArgKind, 'p'>, string>> = {
  i: 'int',
  l: 'long long',
  f: 'float',
  d: 'double',
  P: 'const pointer_table',
  L: 'const count_table',
};

function parameters(spec: Spec): string {
  const declared = specArguments(spec).map(({ name, kind, role, accumulated }) => {
    if (kind !== 'p') return `${C_TYPES[kind]} ${name}`;
    return `${role === 'in' ? 'const ' : ''}${accumulated ? 'real' : 'stored'}* __restrict__ ${name}`;
  });
  const pointers = declared.filter((text) => text.includes('*'));
  return `${pointers.join(', ')},\n    ${declared.slice(pointers.length).join(', ')}`;
}

function valuesFor(spec: Spec, template: string): Values {
  const volume = spec.form === 'expand' || spec.form === 'contract';
  if (template === 'gather.cu.njk' && volume) return { threads: GATHER_THREADS, ...sideNames(spec.form) };
  if (template === 'gather_wgrad.cu.njk') return { threads: GATHER_SUMMERS };
  if (template === 'bgrad.cu.njk') return bgradValues(spec);
  if (template === 'phase.cu.njk' && spec.baked !== null && volume) return phaseValues(spec, spec.form, spec.baked);
  if (template === 'igemm.cu.njk' && spec.baked !== null && volume)
    return { ...sideNames(spec.form), ...shapeValues(spec.baked), ...igemmValues(spec, spec.form, spec.baked) };
  if (template === 'head.cu.njk' && spec.baked !== null && volume) {
    const { run: length, ...values } = headValues(spec, spec.form, spec.baked);
    return { ...sideNames(spec.form), ...shapeValues(spec.baked), ...runValues(spec, length), ...values };
  }
  if (template === 'mma.cu.njk' && spec.baked !== null && volume)
    return { ...sideNames(spec.form), ...shapeValues(spec.baked), ...mmaValues(spec, spec.form, spec.baked) };
  if (template === 'depthwise.cu.njk' && spec.baked !== null && volume) {
    const { run: length, ...values } = depthwiseValues(spec, spec.form, spec.baked);
    return { ...sideNames(spec.form), ...shapeValues(spec.baked), ...runValues(spec, length), ...values };
  }
  if (template === 'igemm_wgrad.cu.njk' && spec.baked !== null)
    return { ...shapeValues(spec.baked), ...igemmWgradValues(spec, spec.baked) };
  if (template === 'phase_wgrad.cu.njk' && spec.baked !== null) return wgradValues(spec, spec.baked);
  return {};
}

function bgradValues({ dtype }: Spec): Values {
  const { short, bytes, accumulator } = DTYPE_TABLE[dtype];
  const run = runLength(bytes);
  const sums = { total: accumulator, most_groups: SHARED_BLOCKS, most_partials: SHARED_BLOCKS * MOST_ACROSS * run };
  return { threads: THREADS, storages: [short], run, ...sums };
}

/** The arguments that describe what is read and what is written. */
function sideNames(form: 'expand' | 'contract'): Values {
  const small = { name: 'small', channels: 'cs', height: 'hs', width: 'ws' };
  const large = { name: 'large', channels: 'cl', height: 'hl', width: 'wl' };
  return form === 'expand' ? { source: small, output: large } : { source: large, output: small };
}

/** Bytes of shared memory for staged weights: few enough that blocks, not memory, limit how many run together. */
const STAGED_BYTES = 16384;

function phaseValues(spec: Spec, form: 'expand' | 'contract', baked: Baked): Values {
  const tile = parseTile(spec.tunables);
  const plan = phasePlan(form, baked, tile, spec.dtype);
  const width = tile.channels * tile.blockChannels;
  const groups = columnGroups(plan);
  const columns = Math.max(1, ...groups.map((group) => group.taps.length));
  const bytes = DTYPE_TABLE[spec.dtype].accumulator === 'double' ? 8 : 4;
  const depth = Math.max(1, Math.min(64, Math.floor(STAGED_BYTES / (columns * width * bytes))));
  return {
    ...sideNames(form),
    ...shapeValues(baked),
    ...axisTable('row', plan.rows),
    ...runValues(spec, spec.layout === 'nchw' ? plan.together : tile.channels),
    ...axisSteps(plan),
    taps: baked.r * baked.s,
    kernel_width: baked.s,
    has_bias: String(baked.bias),
    activation: ACTIVATIONS.indexOf(baked.activation),
    positions: tile.first,
    channels: tile.channels,
    block_positions: tile.blockPositions,
    block_channels: tile.blockChannels,
    block_tile: tile.first * tile.blockPositions,
    threads: tile.blockPositions * tile.blockChannels,
    width,
    together: plan.together,
    phases: plan.blocks,
    columns,
    depth,
    column_counts: groups.map((group) => group.taps.length).join(', '),
    column_taps: groups.map((group) => `{${group.taps.join(', ') || '0'}}`).join(', '),
    column_groups: groups.map(({ index: at, residues, reads }) => ({ index: at, residues, reads })),
  };
}

function shapeValues({ stride, padding, dilation, groups }: Baked): Values {
  return { stride: [...stride], padding: [...padding], dilation: [...dilation], groups };
}

function axisSteps({ rows, columns }: PhasePlan): Values {
  return {
    row_output_step: rows.outputStep,
    row_source_step: rows.sourceStep,
    column_output_step: columns.outputStep,
    column_source_step: columns.sourceStep,
  };
}

interface ColumnGroup {
  readonly index: number;
  readonly residues: string;
  /** Columns of the kernel in the order of their reads. */
  readonly taps: readonly number[];
  readonly reads: readonly { bit: number; delta: number; uses: readonly { phase: number; column: number }[] }[];
}

/** Column phases in groups of `together`, with what each source column is used for. */
function columnGroups({ columns, together }: PhasePlan): ColumnGroup[] {
  const groups = Array.from({ length: columns.phases.length / together }, (_, i) =>
    columns.phases.slice(i * together, (i + 1) * together),
  );
  return groups.map((phases, at) => {
    const uses = usesOf(phases);
    const deltas = [...new Set(uses.map((use) => use.delta))];
    const reads = deltas.map((delta, bit) => ({
      bit,
      delta,
      uses: uses.flatMap((use, column) => (use.delta === delta ? [{ phase: use.phase, column }] : [])),
    }));
    const residues = phases.map((phase) => phase.residue).join(', ');
    return { index: at, residues, taps: uses.map((use) => use.tap), reads };
  });
}

function usesOf(phases: readonly AxisPhase[]): { tap: number; delta: number; phase: number }[] {
  return phases
    .flatMap(({ taps }, phase) => taps.map(({ tap, delta }) => ({ tap, delta, phase })))
    .sort((a, b) => a.delta - b.delta || a.phase - b.phase);
}

/** Neighbouring outputs of a thread, and how many of them one store of at most 16 bytes takes. */
function runValues(spec: Spec, length: number): Values {
  const { bytes } = DTYPE_TABLE[spec.dtype];
  const run = [8, 4, 2, 1].find((size) => length % size === 0 && size * bytes <= 16)!;
  return { run, run_bytes: run * bytes, run_length: length };
}

function wgradValues(spec: Spec, baked: Baked): Values {
  const tile = parseTile(spec.tunables);
  const segments = wgradSegments(baked.s, tile, spec.dtype);
  return {
    ...shapeValues(baked),
    threads: tile.blockPositions * tile.blockChannels,
    kernel_height: baked.r,
    kernel_width: baked.s,
    small_channels: tile.first,
    large_channels: tile.channels,
    block_positions: tile.blockPositions,
    block_channels: tile.blockChannels,
    block_tile: tile.channels * tile.blockChannels,
    segment: segments.width,
    segments: segments.count,
  };
}
