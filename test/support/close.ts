/**
 * What counts as equal to a golden: it is compared by its summary, each error divided by the golden's own size. Random
 * problems are compared element by element, see src/verify/bounds.ts.
 */

import type { Dtype } from '../../codegen/target.js';
import { hashAt, hashKey, type Summary } from './cases.js';

/** Tolerances of the golden cases: relative to the largest magnitude (elements) or the norm (sums) of the golden. */
export const GOLDEN_TOLERANCE: Readonly<Record<Dtype, number>> = {
  float64: 1e-12,
  float32: 2e-5,
  float16: 2e-3,
  bfloat16: 1.6e-2,
};

export interface Difference {
  readonly error: number;
  readonly where: string;
}

/** The largest normalised error of a tensor against its golden summary; Infinity when sizes differ or a NaN appears. */
export function compareSummary(a: { name: string; seed: number; got: ArrayLike<number>; golden: Summary }): Difference {
  const length = a.golden.full?.length ?? a.golden.n ?? -1;
  if (a.got.length !== length) return { error: Infinity, where: `length ${a.got.length} instead of ${length}` };
  const worst = new Worst();
  if (a.golden.full) {
    const scale = a.golden.full.reduce((m, v) => Math.max(m, Math.abs(v)), 0) || 1;
    a.golden.full.forEach((v, i) => {
      worst.note(Math.abs(a.got[i]! - v) / scale, `[${i}]`);
    });
    return worst;
  }
  const { proj = [], idx = [], val = [], l2 = 0, max = 0 } = a.golden;
  const seen = summarise(a.got, hashKey(a.seed, `proj:${a.name}`));
  idx.forEach((index, j) => {
    worst.note(Math.abs(a.got[index]! - val[j]!) / (max || 1), `sample [${index}]`);
  });
  proj.forEach((v, j) => {
    worst.note(Math.abs(seen.proj[j]! - v) / (l2 || 1), `projection ${j}`);
  });
  worst.note(Math.abs(seen.l2 - l2) / (l2 || 1), 'l2');
  worst.note(Math.abs(seen.max - max) / (max || 1), 'max');
  return worst;
}

class Worst implements Difference {
  error = 0;
  where = '';

  note(error: number, where: string): void {
    if (error <= this.error) return;
    this.error = Number.isNaN(error) ? Infinity : error;
    this.where = where;
  }
}

function summarise(v: ArrayLike<number>, key: number): { proj: Float64Array; l2: number; max: number } {
  const proj = new Float64Array(16);
  let squares = 0;
  let max = 0;
  for (let i = 0; i < v.length; i++) {
    const x = v[i]!;
    const signs = hashAt(key, i) >>> 16;
    squares += x * x;
    if (Math.abs(x) > max) max = Math.abs(x);
    for (let j = 0; j < 16; j++) proj[j]! += (signs >>> j) & 1 ? -x : x;
  }
  return { proj, l2: Math.sqrt(squares), max };
}
