/** One row of the CUDA families: which operations a template computes, what it needs to know, how it is launched. */

import type { z } from 'zod';
import type { Operation, StorageType } from './operations.js';
import type { Target } from './target.js';
import type { LaunchGeometry } from './variant.js';

/** The launch for an operation's scalar arguments, in the order of its table. */
export type Launcher = (scalars: ArrayLike<number>) => LaunchGeometry;

export interface CudaFamily {
  /** Template file in templates/. */
  readonly template: string;
  readonly computes: (operation: Operation) => boolean;
  /** Threads of a block. */
  readonly threads: number;
  /** What the template takes beyond what all take (cuda_operations.ts), and its values. */
  readonly schema: z.ZodRawShape;
  readonly values: (operation: Operation, type: StorageType, target: Target) => Record<string, unknown>;
  readonly launcher: (operation: Operation, type: StorageType) => Launcher;
}

/**
 * Blocks of one launch at most; kernels stride over what is left. A few times as many as the largest GPUs run at once, so
 * that what a thread does once, where its operands lie, is shared by many elements of large tensors.
 */
const MOST_BLOCKS = 1 << 12;

/** Enough blocks of `threads` for `count` things when each block takes `each` at a time; never none. */
export function blocksFor(count: number, each: number, threads: number): LaunchGeometry {
  const blocks = Math.min(MOST_BLOCKS, Math.max(1, Math.ceil(count / each)));
  return { grid: [blocks, 1, 1], block: [threads, 1, 1], sharedBytes: 0 };
}

/** Where a scalar argument stands among the scalars, which follow the pointers. */
export function scalarIndex({ name: operation, args }: Operation, name: string): number {
  const at = args.findIndex((arg) => arg.name === name);
  if (at < 0) throw new RangeError(`cuda: ${name} must be an argument of ${operation}`);
  return args.slice(0, at).filter(({ kind }) => 'ilfd'.includes(kind)).length;
}
