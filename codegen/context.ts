/**
 * Spec → the names and numbers of its template. Everything derived is derived here, and checked: only integers in range
 * and words of our own lists reach a kernel's text.
 */

import { z } from 'zod';
import { DEPTHWISE_SCHEMA, depthwiseValues } from './context_depthwise.js';
import { DEPTHWISE_WGRAD_SCHEMA, depthwiseWgradValues } from './context_depthwise_wgrad.js';
import { HEAD_SCHEMA, headValues } from './context_head.js';
import { IGEMM_SCHEMA, igemmValues } from './context_igemm.js';
import { MMA_SCHEMA, mmaValues } from './context_mma.js';
import { MMA_WGRAD_SCHEMA, mmaWgradValues } from './context_mma_wgrad.js';
import { PHASE_SCHEMA, PHASE_WGRAD_SCHEMA, phaseValues, phaseWgradValues } from './context_phase.js';
import { IGEMM_WGRAD_SCHEMA, igemmWgradValues } from './context_wgrad.js';
import { FracstrideError } from './errors.js';
import type { ArgKind } from './passes.js';
import { type Baked, kernelName, type Spec, specArguments } from './spec.js';
import { MOST_ACROSS, runLength, SHARED_BLOCKS, THREADS } from './sums_geometry.js';
import { DTYPE_TABLE } from './target.js';
import { GATHER_SUMMERS, GATHER_THREADS } from './variants_cuda.js';
import { GATHER_RESIDENT } from './work_gather.js';
import { phaseResident } from './work_phase.js';

const count = z.int().min(1).max(0x7fffffff);
const index = z.int().min(0).max(0x7fffffff);
const pair = z.tuple([index, index]);
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
const shape = { stride: pair, padding: pair, dilation: pair, groups: count };
const run = { run: count, run_bytes: count, run_length: count };
const steps = {
  row_output_step: count,
  row_source_step: count,
  column_output_step: count,
  column_source_step: count,
};

type Values = Record<string, unknown>;
type Volume = 'expand' | 'contract';

/** What a template takes, and where a spec has it. */
interface Taken {
  readonly schema: z.ZodType<Values>;
  readonly values: (spec: Spec) => Values;
}

const taken = (more: z.ZodRawShape, values: (spec: Spec) => Values): Taken => ({
  schema: z.strictObject({ ...common, ...more }),
  values,
});

/** A kernel whose text holds one shape, of a weight gradient. */
function shaped(more: z.ZodRawShape, values: (spec: Spec, baked: Baked) => Values): Taken {
  return taken({ ...shape, ...more }, (spec) =>
    spec.baked === null ? {} : { ...shapeValues(spec.baked), ...values(spec, spec.baked) },
  );
}

/** The same of an expansion or contraction. */
function volume(more: z.ZodRawShape, values: (spec: Spec, form: Volume, baked: Baked) => Values): Taken {
  return shaped({ source: side, output: side, ...more }, (spec, baked) =>
    isVolume(spec.form) ? { ...sideNames(spec.form), ...values(spec, spec.form, baked) } : {},
  );
}

/** The same with `run` neighbouring outputs a thread. */
function volumeOfRuns(
  more: z.ZodRawShape,
  values: (spec: Spec, form: Volume, baked: Baked) => Values & { run: number },
): Taken {
  return volume({ ...run, ...more }, (spec, form, baked) => {
    const { run: length, ...others } = values(spec, form, baked);
    return { ...runValues(spec, length), ...others };
  });
}

const isVolume = (form: Spec['form']): form is Volume => form === 'expand' || form === 'contract';

const BGRAD_SCHEMA = {
  storages: z.array(z.enum(['f32', 'f64', 'f16', 'bf16'])),
  run: count.max(4),
  total: z.enum(['float', 'double']),
  most_groups: count,
  most_partials: count,
};

/** By the template's name. */
const TEMPLATES: Readonly<Record<string, Taken>> = {
  'gather.cu.njk': taken({ source: side, output: side }, ({ form }) =>
    isVolume(form) ? { threads: GATHER_THREADS, ...sideNames(form) } : {},
  ),
  'gather_wgrad.cu.njk': taken({}, () => ({ threads: GATHER_SUMMERS })),
  'bgrad.cu.njk': taken(BGRAD_SCHEMA, bgradValues),
  'phase.cu.njk': volumeOfRuns({ ...steps, ...PHASE_SCHEMA }, phaseValues),
  'phase_wgrad.cu.njk': shaped(PHASE_WGRAD_SCHEMA, phaseWgradValues),
  'igemm.cu.njk': volume({ ...steps, ...IGEMM_SCHEMA }, igemmValues),
  'igemm_wgrad.cu.njk': shaped(IGEMM_WGRAD_SCHEMA, igemmWgradValues),
  'mma.cu.njk': volume({ ...steps, ...MMA_SCHEMA }, mmaValues),
  'mma_wgrad.cu.njk': shaped(MMA_WGRAD_SCHEMA, mmaWgradValues),
  'head.cu.njk': volumeOfRuns(HEAD_SCHEMA, headValues),
  'depthwise.cu.njk': volumeOfRuns(DEPTHWISE_SCHEMA, depthwiseValues),
  'depthwise_wgrad.cu.njk': shaped(DEPTHWISE_WGRAD_SCHEMA, depthwiseWgradValues),
};

/**
 * The checked context of a CUDA kernel's template.
 *
 * @throws FracstrideError ERR_ARGUMENT when the spec holds a number or a word out of its range
 */
export function kernelContext(spec: Spec, template: string): Values {
  const row = TEMPLATES[template];
  const checked = row?.schema.safeParse({ ...commonValues(spec), ...row.values(spec) });
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

function shapeValues({ stride, padding, dilation, groups }: Baked): Values {
  return { stride: [...stride], padding: [...padding], dilation: [...dilation], groups };
}

/** Neighbouring outputs of a thread, and how many of them one store of at most 16 bytes takes. */
function runValues(spec: Spec, length: number): Values {
  const { bytes } = DTYPE_TABLE[spec.dtype];
  const run = [8, 4, 2, 1].find((size) => length % size === 0 && size * bytes <= 16)!;
  return { run, run_bytes: run * bytes, run_length: length };
}
