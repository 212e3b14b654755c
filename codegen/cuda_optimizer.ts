/** The CUDA family of optimiser steps: one launch for a group of tensors, which come in tables by value. */

import { z } from 'zod';
import { blocksFor, type CudaFamily } from './cuda_family.js';
import { type Operation, STORAGE_BYTES, type StorageType } from './operations.js';

const THREADS = 256;
/** Blocks that a multiprocessor shall hold at least: 80 registers a thread, without which some compilers spill. */
const RESIDENT = 3;
/** Runs that a thread takes of a chunk. */
const RUNS = 4;

const runOf = (type: StorageType) => Math.min(4, 16 / STORAGE_BYTES[type]);

/** Elements of one tensor that a block takes at a time. */
const chunkOf = (type: StorageType) => THREADS * RUNS * runOf(type);

const capacityOf = ({ args }: Operation, kind: 'P' | 'L') => args.find((arg) => arg.kind === kind)?.capacity ?? 0;

export const OPTIMIZERS: readonly CudaFamily[] = [
  {
    template: 'optimizer.cu.njk',
    computes: ({ group }) => group !== undefined,
    threads: THREADS,
    schema: {
      run: z.int().min(1).max(4),
      resident: z.literal(RESIDENT),
      chunk: z.int().min(THREADS),
      roles: z.int().min(1).max(8),
      capacity: z.int().min(1).max(256),
    },
    values: (operation, type) => {
      const capacity = capacityOf(operation, 'L');
      const roles = capacityOf(operation, 'P') / capacity;
      return { run: runOf(type), resident: RESIDENT, chunk: chunkOf(type), roles, capacity };
    },
    // The scalars begin with how many tensors there are, and the elements of each.
    launcher: (_, type) => {
      const chunk = chunkOf(type);
      return (scalars) => {
        let chunks = 0;
        for (let t = 1; t <= scalars[0]!; t++) chunks += Math.ceil(scalars[t]! / chunk);
        return blocksFor(chunks, 1, THREADS);
      };
    },
  },
];
