/** Element-wise kernels against their references in float64. */

import { expect } from 'chai';
import type { StorageType } from '../../codegen/operations.js';
import { POINTWISE, type PointwiseName } from '../../codegen/pointwise.js';
import { POINTWISE_REFERENCES, pointwiseExpectation, SPECIAL } from '../../src/verify/pointwise_reference.js';
import { noise, rounded } from './kernels.js';

/** Which kernel: its element type, and where it runs, for messages. */
interface Checked {
  readonly type: StorageType;
  readonly isa: string;
}

const DTYPES = { f32: 'float32', f64: 'float64', f16: 'float16', bf16: 'bfloat16' } as const;

/** Operand columns: every pair (triple) of special numbers, then noise. */
export function pointwiseOperands(inputs: number, type: StorageType): Float64Array[] {
  const columns: number[][] = Array.from({ length: inputs }, () => []);
  const few = inputs === 3 ? SPECIAL.slice(0, 9) : SPECIAL;
  for (let i = 0; i < few.length ** inputs; i++) {
    for (let k = 0; k < inputs; k++) columns[k]!.push(few[Math.floor(i / few.length ** k) % few.length]!);
  }
  return columns.map((column, k) => {
    const random = noise(2000, 3 + k, -1, 1).map((v, i) => v * [1, 10, 100, 0.01][i % 4]!);
    return rounded(type, [...column, ...random]);
  });
}

/** Fails for the first element of `got` that is not f(x) within the rounding of the operation. */
export function checkPointwise(
  name: PointwiseName,
  which: Checked,
  x: readonly Float64Array[],
  got: Float64Array,
): void {
  const { type } = which;
  got.forEach((v, i) => {
    const column = x.map((values) => values[i]!);
    const integer = { exact: POINTWISE_REFERENCES[name].value(column, []), allowed: 0 };
    const { exact, allowed } = type === 'i32' ? integer : pointwiseExpectation(name, DTYPES[type], column, v);
    const near = Object.is(v, exact) || Math.abs(v - exact) <= allowed;
    expect(near, `${name} ${type} ${which.isa} of ${column} is ${v} instead of ${exact}`).to.equal(true);
  });
}

/** The scalars that the references use, by name. */
export function pointwiseScalars(name: PointwiseName): Record<string, number> {
  const names = POINTWISE[name].scalars;
  return Object.fromEntries(names.map((scalar, i) => [scalar, POINTWISE_REFERENCES[name].scalars![i]!]));
}
