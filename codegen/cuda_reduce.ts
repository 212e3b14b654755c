/** The CUDA families that add up many elements: reduce and norm. */

import { z } from 'zod';
import { blocksFor, type CudaFamily, type Launcher, scalarIndex } from './cuda_family.js';
import {
  DISTANCES,
  FUSED_WITH_NORM,
  NORM_ACTIVATIONS,
  type Operation,
  type Planes,
  STORAGE_BYTES,
  type StorageType,
} from './operations.js';
import { POINTWISE } from './pointwise.js';
import { columnsGeometry, MOST_ACROSS, rowsGeometry, runLength, SHARED_BLOCKS, THREADS } from './sums_geometry.js';
import type { LaunchGeometry } from './variant.js';

/** Blocks that a multiprocessor shall hold at least: 80 registers a thread, without which some compilers spill. */
const RESIDENT = 3;
/** The same where two numbers are summed at once, for which 80 do not do. */
const RESIDENT_OF_TWO = 2;

const run = z.int().min(1).max(4);

const runOf = (type: StorageType) => runLength(STORAGE_BYTES[type]);

/** Numbers that belong to one output: batch norm sums two at once. */
const termsOf = (operation: Operation) => (operation.family === 'norm' ? 2 : 1);

/** Sums are kept in double on every device; a maximum, and sums that were rounded as they were cut, need no more than theirs. */
const totalOf = ({ name }: Operation, type: StorageType) =>
  (name === 'max' && type !== 'f64') || name === 'sum_parts' ? 'float' : 'double';

function reduceLauncher(operation: Operation, type: StorageType): Launcher {
  const at = scalarIndex(operation, 'outer');
  const length = runOf(type);
  return (scalars) => {
    const [outer, reduced, inner] = [scalars[at]!, scalars[at + 1]!, scalars[at + 2]!];
    if (inner === 1) return rowsGeometry(outer, Math.ceil(reduced / length));
    return columnsGeometry(outer, reduced, Math.ceil(inner / length));
  };
}

function planesLauncher(operation: Operation, launch: (planes: Planes) => LaunchGeometry): Launcher {
  const at = scalarIndex(operation, 'n');
  return (scalars) =>
    launch({ n: scalars[at]!, c: scalars[at + 1]!, hw: scalars[at + 2]!, last: scalars[at + 3] === 1 });
}

function sumsGeometry(bytes: number, { n, c, hw, last }: Planes): LaunchGeometry {
  const length = runLength(bytes);
  return last ? columnsGeometry(1, n * hw, Math.ceil(c / length)) : rowsGeometry(c, n * Math.ceil(hw / length));
}

const normSums = (operation: Operation, type: StorageType): Launcher =>
  planesLauncher(operation, (planes) => sumsGeometry(STORAGE_BYTES[type], planes));

/**
 * Whether each block sums up channels of its own, of elements of so many bytes: then it can compute their elements, too, in
 * the same launch. Where channels are shared by blocks, because they are few and long, one block each would take longer than
 * a second launch.
 */
export function hasOwnChannels(bytes: number, planes: Planes): boolean {
  return sumsGeometry(bytes, planes).grid[1] === 1;
}

const normTogether = (operation: Operation, type: StorageType): Launcher =>
  planesLauncher(operation, (planes) => {
    const { grid, ...rest } = sumsGeometry(STORAGE_BYTES[type], planes);
    return { grid: [grid[0], 1, 1], ...rest };
  });

function normElements(operation: Operation, type: StorageType): Launcher {
  const length = runOf(type);
  return planesLauncher(operation, ({ n, c, hw, last }) => {
    const units = last ? n * hw * Math.ceil(c / length) : n * c * Math.ceil(hw / length);
    return blocksFor(units, THREADS, THREADS);
  });
}

const isSum = ({ name }: Operation) => name === 'bn_stats' || name === 'bn_backward_stats';
const isTogether = ({ name }: Operation) => name === 'bn_forward' || name === 'bn_backward';

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
  ...[
    { template: 'norm_sums.cu.njk', is: isSum, launcher: normSums },
    { template: 'norm_together.cu.njk', is: isTogether, launcher: normTogether },
  ].map(
    ({ template, is, launcher }): CudaFamily => ({
      template,
      computes: (operation) => operation.family === 'norm' && is(operation),
      threads: THREADS,
      schema: { run, resident: z.literal(RESIDENT_OF_TWO), activations: z.array(activation), ...sumsSchema },
      values: (operation, type) => ({
        ...{ run: runOf(type), resident: RESIDENT_OF_TWO, activations: NORM_ACTIVATIONS },
        ...sumsValues(operation, type),
      }),
      launcher,
    }),
  ),
  {
    template: 'norm.cu.njk',
    computes: (operation) => operation.family === 'norm' && !isSum(operation) && !isTogether(operation),
    threads: THREADS,
    schema: { run, resident: z.literal(RESIDENT), activations: z.array(activation) },
    values: (_, type) => ({ run: runOf(type), resident: RESIDENT, activations: NORM_ACTIVATIONS }),
    launcher: normElements,
  },
];
