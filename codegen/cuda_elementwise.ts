/** The CUDA families whose threads have elements of their own: pointwise, copy, cast, fill, random. */

import { z } from 'zod';
import { blocksFor, type CudaFamily, type Launcher, scalarIndex } from './cuda_family.js';
import { type Operation, STORAGE_BYTES, STORAGE_TYPES, type StorageType } from './operations.js';
import { POINTWISE, POINTWISE_DIMS, type PointwiseName } from './pointwise.js';
import type { Target } from './target.js';

const THREADS = 256;
/** Bytes that a thread reads or writes at once: the widest access there is. */
const ACCESS_BYTES = 16;
/** A block of copy moves this many elements through shared memory at a time. */
const COPY_TILE = 1024;

const width = z.int().min(1).max(8);
const resident = z.int().min(1).max(8);
/** Names and calls of our own, and initialisers of them. */
const list = z.string().regex(/^[\w ,.()[\]{}\n]*$/);
const word = z.string().regex(/^[a-z]\w*$/);
const strided = {
  width,
  resident,
  operands: z.int().min(2).max(4),
  dims: z.literal(POINTWISE_DIMS),
  pointers: list,
  shape: list,
  strides: list,
};

/** Elements of a type in one access. */
const elementsAtOnce = (type: StorageType) => ACCESS_BYTES / STORAGE_BYTES[type];

function byCount(operation: Operation, each: number): Launcher {
  const at = scalarIndex(operation, 'count');
  return (scalars) => blocksFor(scalars[at]!, each, THREADS);
}

/** The product of the shape, which follows `ndim`. */
function byShape(operation: Operation, each: number): Launcher {
  const ndim = scalarIndex(operation, 'ndim');
  return (scalars) => {
    let count = 1;
    for (let d = 1; d <= scalars[ndim]!; d++) count *= scalars[ndim + d]!;
    return blocksFor(count, each, THREADS);
  };
}

const castFrom = (operation: Operation) => operation.name.slice('cast_'.length) as StorageType;

/** Elements that a thread converts at once: no more than one access of the narrower type holds, and four at most. */
const castWidth = (operation: Operation, type: StorageType) =>
  Math.min(Math.max(elementsAtOnce(type), elementsAtOnce(castFrom(operation))), 4);

const indices = (count: number) => Array.from({ length: count }, (_, i) => i);

const isCopy = ({ name }: Operation) => name === 'copy';

export const ELEMENTWISE: readonly CudaFamily[] = [
  {
    template: 'pointwise.cu.njk',
    computes: (operation) => operation.family === 'pointwise' && !isCopy(operation),
    threads: THREADS,
    schema: {
      ...strided,
      expr: z.string().regex(/^[\w\s()+\-*/<>=!?:,]+$/),
      has_functions: z.boolean(),
      scalars: z.array(z.strictObject({ name: word, argument: word })),
      arguments: list,
      packed_values: list,
      single_values: list,
    },
    values: (operation, type, target) => {
      const { inputs, scalars, expr } = POINTWISE[operation.name as PointwiseName];
      const named = scalars.map((argument, i) => ({ name: `s${i}`, argument }));
      const numbers = named.map(({ name }) => name);
      const each = (text: (t: number) => string) => [...indices(inputs).map((i) => text(i + 1)), ...numbers].join(', ');
      return {
        ...stridedValues(inputs, type, target, type === 'f64' || inputs === 3 ? 4 : 5),
        expr,
        has_functions: expr.includes('fs_'),
        scalars: named,
        arguments: [...indices(inputs).map((i) => `T x${i}`), ...numbers.map((name) => `T ${name}`)].join(', '),
        packed_values: each((t) => `load(x[${t}].at[v])`),
        single_values: each((t) => `load(operands[${t}][place.at[${t}]])`),
      };
    },
    launcher: (operation, type) => byShape(operation, THREADS * elementsAtOnce(type)),
  },
  {
    template: 'copy.cu.njk',
    computes: isCopy,
    threads: THREADS,
    schema: { ...strided, tile_bits: z.literal(Math.log2(COPY_TILE)) },
    values: (_, type, target) => ({ ...stridedValues(1, type, target, 3), tile_bits: Math.log2(COPY_TILE) }),
    launcher: (operation) => byShape(operation, COPY_TILE),
  },
  {
    template: 'cast.cu.njk',
    computes: (operation) => operation.family === 'cast',
    threads: THREADS,
    schema: { width, from: z.enum(STORAGE_TYPES) },
    values: (operation, type) => ({ width: castWidth(operation, type), from: castFrom(operation) }),
    launcher: (operation, type) => byCount(operation, THREADS * castWidth(operation, type)),
  },
  {
    template: 'fill.cu.njk',
    computes: (operation) => operation.family === 'fill',
    threads: THREADS,
    schema: { width, formula: z.string(), settings: list },
    values: ({ name }, type) => ({
      width: elementsAtOnce(type),
      ...(name === 'fill'
        ? { formula: 'value', settings: 'value' }
        : { formula: 'start + i · step', settings: 'start, step' }),
    }),
    launcher: (operation, type) => byCount(operation, THREADS * elementsAtOnce(type)),
  },
  {
    template: 'random.cu.njk',
    computes: (operation) => operation.family === 'random',
    threads: THREADS,
    schema: { fused: z.enum(['fmaf', 'fma']) },
    values: (_, type) => ({ fused: type === 'f64' ? 'fma' : 'fmaf' }),
    launcher: (operation) => byCount(operation, THREADS * 4),
  },
];

/**
 * The operands of a strided launch as initialisers, out first, and the blocks a multiprocessor shall hold, since only
 * what many threads have asked for at once keeps its memory busy (one of sm_75 holds 1024 threads).
 */
function stridedValues(inputs: number, type: StorageType, target: Target, wanted: number): Record<string, unknown> {
  const most = target.kind === 'cuda' && target.arch === 75 ? 1024 / THREADS : wanted;
  const names = ['out', ...indices(inputs).map((i) => `x${i}`)];
  const dims = (prefix: string) => indices(POINTWISE_DIMS).map((d) => `${prefix}${d}`);
  return {
    width: elementsAtOnce(type),
    resident: Math.min(wanted, most),
    operands: names.length,
    dims: POINTWISE_DIMS,
    pointers: names.join(', '),
    shape: dims('shape').join(', '),
    strides: names.map((name) => `\n      {${dims(`${name}_stride`).join(', ')}}`).join(','),
  };
}
