/** The CUDA families over groups of tensors, which come in tables by value: optimiser steps, sums, fills. */

import { z } from 'zod';
import { blocksFor, type CudaFamily } from './cuda_family.js';
import { groupOf, type Operation, STORAGE_BYTES, type StorageType } from './operations.js';

const THREADS = 256;
/** Blocks that a multiprocessor shall hold at least: 80 registers a thread, without which some compilers spill. */
const RESIDENT = 3;
/** Runs that a thread takes of a chunk. */
const RUNS = 4;

const runOf = (type: StorageType) => Math.min(4, 16 / STORAGE_BYTES[type]);

/** Elements of one tensor that a block takes at a time. */
const chunkOf = (type: StorageType) => THREADS * RUNS * runOf(type);

const schema = {
  run: z.int().min(1).max(4),
  resident: z.literal(RESIDENT),
  chunk: z.int().min(THREADS),
  roles: z.int().min(1).max(8),
  capacity: z.int().min(1).max(256),
};

function values({ name }: Operation, type: StorageType): Record<string, unknown> {
  const { roles, capacity } = groupOf(name);
  return { run: runOf(type), resident: RESIDENT, chunk: chunkOf(type), roles: roles.length, capacity };
}

/** The scalars begin with how many tensors there are, and the elements of each. */
const launcher: CudaFamily['launcher'] = (_, type) => {
  const chunk = chunkOf(type);
  return (scalars) => {
    let chunks = 0;
    for (let t = 1; t <= scalars[0]!; t++) chunks += Math.ceil(scalars[t]! / chunk);
    return blocksFor(chunks, 1, THREADS);
  };
};

export const GROUPS: readonly CudaFamily[] = (['optimizer', 'group'] as const).map((family) => ({
  template: `${family}.cu.njk`,
  computes: (operation) => operation.family === family,
  ...{ threads: THREADS, schema, values, launcher },
}));
