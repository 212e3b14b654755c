/** What a check finds, one row a result, and how a result is judged. */

import type { FloatDtype } from '../dtype.js';
import { FracstrideError } from '../errors.js';
import type { Layout } from '../shape.js';

/** Where the checks run. */
export interface Place {
  readonly device: string;
  readonly dtype: FloatDtype;
}

/** A result of the device beside what it should be. */
export interface Result {
  readonly operation: string;
  /** What distinguishes it from other results of the operation, e.g. a problem or a shape. */
  readonly problem: string;
  readonly layout: Layout | null;
  /** The kernel that computed it. */
  readonly kernel: string;
  readonly shape: readonly number[];
  readonly got: ArrayLike<number>;
  readonly exact: ArrayLike<number>;
  /** The largest error of an element. */
  readonly allowed: (i: number, got: number) => number;
}

/** A few results that belong together; they are given to `tell` as they come. */
export interface Check {
  readonly operation: string;
  readonly problem: string;
  readonly layout: Layout | null;
  readonly run: (place: Place, tell: (result: Result) => void) => void;
}

export type Status = 'ok' | 'failed' | 'not compiled';

/** The element that is furthest outside of its bound. */
export interface Fault {
  readonly index: readonly number[];
  readonly got: number;
  readonly expected: number;
  readonly allowed: number;
}

export interface Row {
  readonly device: string;
  readonly group: string;
  readonly operation: string;
  readonly problem: string;
  readonly dtype: FloatDtype;
  readonly layout: Layout | null;
  readonly kernel: string | null;
  readonly status: Status;
  /** Largest difference of an element from the reference, and its share of what is allowed there. */
  readonly error: number | null;
  readonly share: number | null;
  readonly fault: Fault | null;
  /** Why there is no result. */
  readonly reason: string | null;
}

/** The rows of a check. What it throws is a row too: the first that has no result. */
export function rowsOf(group: string, check: Check, place: Place): Row[] {
  const { operation, problem, layout } = check;
  const common = { device: place.device, group, dtype: place.dtype };
  const rows: Row[] = [];
  try {
    check.run(place, (result) => {
      const { operation, problem, layout, kernel } = result;
      rows.push({ ...common, operation, problem, layout, kernel, reason: null, ...judge(result) });
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const status = isUncompiled(error) ? 'not compiled' : 'failed';
    rows.push({
      ...{ ...common, operation, problem, layout, kernel: null },
      ...{ status, error: null, share: null, fault: null, reason },
    });
  }
  return rows;
}

const UNCOMPILED: readonly string[] = ['ERR_KERNEL_COMPILE', 'ERR_KERNEL_NOT_PREBUILT'];

function isUncompiled(error: unknown): boolean {
  return error instanceof FracstrideError && UNCOMPILED.includes(error.code);
}

type Verdict = Pick<Row, 'status' | 'error' | 'share' | 'fault'>;

function judge({ shape, got, exact, allowed }: Result): Verdict {
  if (got.length !== exact.length) {
    const fault = { index: [], got: got.length, expected: exact.length, allowed: 0 };
    return { status: 'failed', error: null, share: null, fault };
  }
  let [error, share, worst] = [0, 0, -1];
  for (let i = 0; i < exact.length; i++) {
    const [value, wanted] = [got[i]!, exact[i]!];
    if (value === wanted || (Number.isNaN(value) && Number.isNaN(wanted))) continue;
    const limit = allowed(i, value);
    if (limit === Infinity) continue;
    const difference = Math.abs(value - wanted);
    const part = Number.isNaN(difference) ? Infinity : difference / limit;
    if (difference > error) error = difference;
    if (part > share) [share, worst] = [part, i];
  }
  if (share <= 1) return { status: 'ok', error, share, fault: null };
  const fault = {
    index: indexOf(worst, shape),
    got: got[worst]!,
    expected: exact[worst]!,
    allowed: allowed(worst, got[worst]!),
  };
  return { status: 'failed', error, share, fault };
}

function indexOf(flat: number, shape: readonly number[]): number[] {
  let rest = flat;
  const index: number[] = [];
  for (const size of shape.toReversed()) {
    index.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return index;
}
