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
const operand = z.string().regex(/^(out|x\d)$/);
const list = z.string().regex(/^[\w ,.()[\]]*$/);
const strided = { resident, operands: z.array(operand), dims: z.literal(POINTWISE_DIMS), outer: z.array(z.int()) };

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
      width,
      expr: z.string().regex(/^[\w\s()+\-*/<>=!?:,]+$/),
      ...strided,
      inputs: z.array(operand),
      scalars: z.array(z.string().regex(/^[a-z]+$/)),
      arguments: list,
      packed_values: list,
      single_values: list,
    },
    values: (operation, type, target) => {
      const { inputs, scalars, expr } = POINTWISE[operation.name as PointwiseName];
      const names = indices(inputs).map((i) => `x${i}`);
      const numbers = scalars.map((_, i) => `s${i}`);
      return {
        width: elementsAtOnce(type),
        expr,
        inputs: names,
        scalars: [...scalars],
        arguments: [...names, ...numbers].map((name) => `T ${name}`).join(', '),
        packed_values: [...names.map((name) => `load(${name}_pack.at[v])`), ...numbers].join(', '),
        single_values: [...names.map((name) => `load(${name}[at.${name}])`), ...numbers].join(', '),
        ...stridedValues(names, target, type === 'f64' || inputs === 3 ? 4 : 5),
      };
    },
    launcher: (operation, type) => byShape(operation, THREADS * elementsAtOnce(type)),
  },
  {
    template: 'copy.cu.njk',
    computes: isCopy,
    threads: THREADS,
    schema: {
      width,
      ...strided,
      tile: z.literal(COPY_TILE),
      tile_bits: z.literal(Math.log2(COPY_TILE)),
      staged: z.int(),
    },
    values: (_, type, target) => ({
      width: elementsAtOnce(type),
      ...stridedValues(['x0'], target, 6),
      tile: COPY_TILE,
      tile_bits: Math.log2(COPY_TILE),
      // Rows have one element more than their tile, so that columns lie in different banks; two elements are the shortest.
      staged: COPY_TILE + COPY_TILE / 2,
    }),
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
    schema: { width },
    values: (_, type) => ({ width: elementsAtOnce(type) }),
    launcher: (operation, type) => byCount(operation, THREADS * elementsAtOnce(type)),
  },
  {
    template: 'random.cu.njk',
    computes: (operation) => operation.family === 'random',
    threads: THREADS,
    schema: {},
    values: () => ({}),
    launcher: (operation) => byCount(operation, THREADS * 4),
  },
];

/**
 * Operands and dimensions of a strided launch; those that can be outside of the innermost one, innermost first; and the
 * blocks a multiprocessor shall hold, since only what many threads have asked for at once keeps its memory busy (one of
 * sm_75 holds 1024 threads).
 */
function stridedValues(inputs: readonly string[], target: Target, wanted: number): Record<string, unknown> {
  const most = target.kind === 'cuda' && target.arch === 75 ? 1024 / THREADS : wanted;
  const outer = indices(POINTWISE_DIMS - 1).reverse();
  return { operands: ['out', ...inputs], dims: POINTWISE_DIMS, outer, resident: Math.min(wanted, most) };
}
