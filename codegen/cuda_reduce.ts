/**
 * The CUDA families that add up many elements: reduce and norm. How blocks and lanes are laid out over outputs is a
 * function of the sizes, written here for the launch and in lib/cuda_sums.cu.njk for the kernel.
 */

import { z } from 'zod';
import { blocksFor, type CudaFamily, type Launcher, scalarIndex } from './cuda_family.js';
import {
  DISTANCES,
  FUSED_WITH_NORM,
  NORM_ACTIVATIONS,
  type Operation,
  STORAGE_BYTES,
  type StorageType,
} from './operations.js';
import { POINTWISE } from './pointwise.js';
import type { LaunchGeometry } from './variant.js';

const THREADS = 256;
/** Blocks that a multiprocessor shall hold at least: 80 registers a thread, without which some compilers spill. */
const RESIDENT = 3;
/** A lane has this many runs of its own before a reduction gets another. */
const LANE_TERMS = 4;
/** Neighbouring columns (runs of outputs) that a block takes at most when it has many rows. */
const MOST_ACROSS = 32;
/** Blocks of a reduction whose groups of outputs are shared: two for each multiprocessor of a large GPU, and some more. */
const SHARED_BLOCKS = 512;
const MOST_BLOCKS = 1 << 16;

const run = z.int().min(1).max(4);

/** Neighbours that a thread takes together: 16 bytes, 8 of a 16-bit type. */
const runOf = (type: StorageType) => Math.min(4, 16 / STORAGE_BYTES[type]);

/** Numbers that belong to one output: batch norm sums two at once. */
const termsOf = (operation: Operation) => (operation.family === 'norm' ? 2 : 1);

/** Sums are kept in double on every device; a maximum, and sums that were rounded as they were cut, need no more than theirs. */
const totalOf = ({ name }: Operation, type: StorageType) =>
  (name === 'max' && type !== 'f64') || name === 'sum_parts' ? 'float' : 'double';

function powerOfTwo(atLeast: number, most: number): number {
  let power = 1;
  while (power < most && power < atLeast) power *= 2;
  return power;
}

const lanesFor = (count: number, most: number) => powerOfTwo(count / LANE_TERMS, most);

/** `outputs` sums of `units` runs each. */
function rowsGeometry(outputs: number, units: number): LaunchGeometry {
  const lanes = lanesFor(units, THREADS);
  const groups = Math.ceil(outputs / (THREADS / lanes));
  return geometry(groups, lanes < THREADS ? 1 : units / (THREADS * LANE_TERMS));
}

/** `boxes` times `runs` runs of neighbouring sums of `rows` each. */
function columnsGeometry(boxes: number, rows: number, runs: number): LaunchGeometry {
  const narrow = powerOfTwo(runs, MOST_ACROSS);
  const lanes = lanesFor(rows, THREADS / narrow);
  const across = lanes * narrow < THREADS ? powerOfTwo(runs, THREADS / lanes) : narrow;
  const groups = Math.ceil(runs / across) * Math.ceil(boxes / (THREADS / (across * lanes)));
  return geometry(groups, lanes < THREADS / narrow ? 1 : rows / (lanes * LANE_TERMS));
}

/** Blocks along x for groups of outputs, along y for segments of their terms where groups are few. */
function geometry(groups: number, most: number): LaunchGeometry {
  const segments = Math.max(1, Math.floor(Math.min(SHARED_BLOCKS / groups, most)));
  return { grid: [Math.min(MOST_BLOCKS, Math.max(1, groups)), segments, 1], block: [THREADS, 1, 1], sharedBytes: 0 };
}

function reduceLauncher(operation: Operation, type: StorageType): Launcher {
  const at = scalarIndex(operation, 'outer');
  const length = runOf(type);
  return (scalars) => {
    const [outer, reduced, inner] = [scalars[at]!, scalars[at + 1]!, scalars[at + 2]!];
    if (inner === 1) return rowsGeometry(outer, Math.ceil(reduced / length));
    return columnsGeometry(outer, reduced, Math.ceil(inner / length));
  };
}

interface Planes {
  readonly n: number;
  readonly c: number;
  readonly hw: number;
  readonly last: boolean;
}

function planesLauncher(operation: Operation, launch: (planes: Planes) => LaunchGeometry): Launcher {
  const at = scalarIndex(operation, 'n');
  return (scalars) =>
    launch({ n: scalars[at]!, c: scalars[at + 1]!, hw: scalars[at + 2]!, last: scalars[at + 3] === 1 });
}

function normSums(operation: Operation, type: StorageType): Launcher {
  const length = runOf(type);
  return planesLauncher(operation, ({ n, c, hw, last }) =>
    last ? columnsGeometry(1, n * hw, Math.ceil(c / length)) : rowsGeometry(c, n * Math.ceil(hw / length)),
  );
}

function normElements(operation: Operation, type: StorageType): Launcher {
  const length = runOf(type);
  return planesLauncher(operation, ({ n, c, hw, last }) => {
    const units = last ? n * hw * Math.ceil(c / length) : n * c * Math.ceil(hw / length);
    return blocksFor(units, THREADS, THREADS);
  });
}

const isSum = ({ name }: Operation) => name === 'bn_stats' || name === 'bn_backward_stats';

/** What lib/cuda_sums.cu.njk takes. */
function sumsValues(operation: Operation, type: StorageType): Record<string, unknown> {
  const numbers = MOST_ACROSS * runOf(type) * termsOf(operation);
  const total = totalOf(operation, type);
  return { total, most_groups: SHARED_BLOCKS, most_partials: SHARED_BLOCKS * numbers };
}

const sumsSchema = {
  total: z.enum(['float', 'double']),
  most_groups: z.literal(SHARED_BLOCKS),
  most_partials: z.int().min(1),
};

/** Sums over all elements: one row. */
function allLauncher(operation: Operation, type: StorageType): Launcher {
  const at = scalarIndex(operation, 'count');
  return (scalars) => rowsGeometry(1, Math.ceil(scalars[at]! / runOf(type)));
}

const activation = z.strictObject({
  name: z.enum(FUSED_WITH_NORM),
  index: z.int(),
  forward: z.string(),
  backward: z.string(),
});

export const REDUCTIONS: readonly CudaFamily[] = [
  {
    template: 'loss.cu.njk',
    computes: (operation) => operation.family === 'loss',
    threads: THREADS,
    schema: { run, resident: z.literal(RESIDENT), expr: z.string(), ...sumsSchema },
    values: (operation, type) => ({
      run: runOf(type),
      resident: RESIDENT,
      expr: POINTWISE[DISTANCES.find((name) => operation.name === `${name}_sum`)!].expr,
      ...sumsValues(operation, type),
    }),
    launcher: allLauncher,
  },
  {
    template: 'reduce.cu.njk',
    computes: (operation) => operation.family === 'reduce',
    threads: THREADS,
    schema: { run, resident: z.literal(RESIDENT), merge: z.enum(['Sum', 'Max']), ...sumsSchema },
    values: (operation, type) => ({
      run: runOf(type),
      resident: RESIDENT,
      merge: operation.name === 'max' ? 'Max' : 'Sum',
      ...sumsValues(operation, type),
    }),
    launcher: reduceLauncher,
  },
  {
    template: 'norm_sums.cu.njk',
    computes: (operation) => operation.family === 'norm' && isSum(operation),
    threads: THREADS,
    schema: { run, resident: z.literal(RESIDENT), activations: z.array(activation), ...sumsSchema },
    values: (operation, type) => ({
      ...{ run: runOf(type), resident: RESIDENT, activations: NORM_ACTIVATIONS },
      ...sumsValues(operation, type),
    }),
    launcher: normSums,
  },
  {
    template: 'norm.cu.njk',
    computes: (operation) => operation.family === 'norm' && !isSum(operation),
    threads: THREADS,
    schema: { run, resident: z.literal(RESIDENT), activations: z.array(activation) },
    values: (_, type) => ({ run: runOf(type), resident: RESIDENT, activations: NORM_ACTIVATIONS }),
    launcher: normElements,
  },
];
