/** What stands between the choice of a kernel and a library that computes some of them: no word about which. */

import type { Problem } from '../codegen/problem.js';
import type { Spec } from '../codegen/spec.js';
import type { Device } from './device.js';
import type { Packable } from './packings.js';

/** Part of a buffer: `bytes` from `byteOffset`. Handle 0 is the null pointer. */
export interface Pointer {
  readonly handle: number;
  readonly byteOffset: number;
  readonly bytes: number;
  /** What it is part of, where kernels may keep a re-ordered copy. */
  readonly home?: Packable;
}

export const NULL: Pointer = Object.freeze({ handle: 0, byteOffset: 0, bytes: 0 });

/** Writes pointers into the addon's staging area, three numbers each. */
export function setPointers(args: Float64Array, start: number, pointers: readonly Pointer[]): void {
  let slot = start;
  for (const pointer of pointers) {
    args[slot] = pointer.handle;
    args[slot + 1] = pointer.byteOffset;
    args[slot + 2] = pointer.bytes;
    slot += 3;
  }
}

/** Launches a kernel that is no contraction: pointers first, then scalars, in the order of its argument table. */
export type LaunchOperation = (
  operation: { readonly name: string; readonly type: string },
  pointers: readonly Pointer[],
  scalars: readonly number[],
) => void;

export interface PlanRequest {
  readonly device: Device;
  readonly problem: Problem;
  /** The library's row for this problem. */
  readonly spec: Spec;
  /** Settings that somebody named, as in kernel names; null leaves them to the library. */
  readonly algorithm: string | null;
  readonly launch: LaunchOperation;
}

/** How a library computes one problem. */
export interface LibraryPlan {
  /** The kernel name, with the settings that are taken now. */
  readonly name: string;
  /** Those settings as words. */
  readonly settled: string;
  /** Whether it gives the same bits each time. */
  readonly deterministic: boolean;
  /** Whether it can run on operands that lie there. */
  takes(pointers: readonly Pointer[]): boolean;
  /** Runs on operands in the order of `OPERANDS`; false when it cannot any more. */
  run(pointers: readonly Pointer[], slope: number): boolean;
  /** Tries its settings on these operands, overwriting the last; words for `algorithm`, the fastest first. */
  find(pointers: readonly Pointer[]): string[];
  free(): void;
}
