/** Tuning: every way to compute a problem that is worth trying is timed on a device, and what was found is kept. */

import { makeProblem, type Problem } from '../../codegen/problem.js';
import { timeCandidates } from '../choice.js';
import { changeChoice, type Device } from '../device.js';
import { runOperation } from '../kernels.js';
import type { LaunchOperation } from '../plan.js';
import { scope } from '../scope.js';
import { keepTuning, type Microseconds } from '../tunings.js';
import { operands } from './measure.js';

export interface Tuned {
  /** Times of all that ran; empty where none did. */
  readonly microseconds: Microseconds;
  /** Variant and settings. */
  readonly fastest: string | null;
  /** What is cheapest in the catalogue's view, and was taken before. */
  readonly expected: string | null;
  readonly kept: boolean;
}

/** Times the `most` cheapest candidates and one of each variant; from now on the fastest is taken, here and in other processes. */
export function tune(device: Device, asked: Problem, most: number): Tuned {
  const problem = makeProblem(asked);
  const microseconds = scope(() => {
    const launch: LaunchOperation = (operation, pointers, scalars) =>
      runOperation(device, operation, pointers, scalars);
    return timeCandidates({ device, problem, pointers: operands(device.name, problem), slope: 0, launch }, most) ?? {};
  });
  const ways = Object.keys(microseconds);
  const fastest = [...ways].sort((a, b) => microseconds[a]! - microseconds[b]!)[0] ?? null;
  const kept = fastest !== null && keepTuning(device, problem, microseconds);
  // What was chosen before is forgotten.
  changeChoice();
  return { microseconds, fastest, expected: ways[0] ?? null, kept };
}
