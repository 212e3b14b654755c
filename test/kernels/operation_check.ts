/** What a CUDA kernel of an element-wise operation gave against what it must give. */

import { expect } from 'chai';
import { nameOf } from '../../codegen/kernel.js';
import type { StorageType } from '../../codegen/operations.js';
import { POINTWISE, type PointwiseName } from '../../codegen/pointwise.js';
import { decode, encode, ROUNDOFF } from '../support/kernels.js';
import { checkPointwise } from '../support/pointwise_reference.js';
import {
  castCases,
  copyCases,
  denseCases,
  fillCases,
  GAP,
  type OperationCase,
  randomCases,
  stridedCases,
} from './operation_cases.js';

/** Operations whose every step is rounded in one way only: both devices give the same bits. */
const EXACT: readonly string[] = [
  ...['copy', 'neg', 'abs', 'sqrt', 'reciprocal', 'square', 'sign', 'relu', 'leaky_relu', 'clamp'],
  ...['add', 'sub', 'mul', 'div', 'maximum', 'minimum', 'gt', 'eq', 'sq_diff', 'abs_diff'],
  ...['relu_backward', 'leaky_relu_backward', 'where'],
];

/** Every case, by what is particular about it. */
export const GROUPS: Readonly<Record<string, () => OperationCase[]>> = {
  'compute every operation of dense operands': denseCases,
  'follow strides and broadcasts': stridedCases,
  'copy every layout': copyCases,
  'convert every pair of types': castCases,
  'fill and count': fillCases,
  'draw the numbers of the stream': randomCases,
};

/** The contents of an output; elements that are still bytes 0xFF are gaps where the expected value says so. */
function decoded(type: StorageType, bytes: Uint8Array, expected: Float64Array): Float64Array {
  const stored = encode(type, new Float64Array(expected.length));
  new Uint8Array(stored.buffer).set(bytes);
  const values = decode(type, stored);
  const size = stored.BYTES_PER_ELEMENT;
  const untouched = (i: number) => bytes.subarray(i * size, (i + 1) * size).every((byte) => byte === 0xff);
  return values.map((value, i) => (expected[i] === GAP && untouched(i) ? GAP : value));
}

const same = (a: number, b: number) => Object.is(a, b) || (Number.isNaN(a) && Number.isNaN(b));

/** Fails unless these are the bytes of the output. */
export function checkOutput({ title, spec, inputs, expected }: OperationCase, bytes: Uint8Array, how: string): void {
  const { operation, type } = spec;
  const where = `${title}: ${nameOf(spec)}, ${how}`;
  const got = decoded(type, bytes, expected);
  if (operation === 'normal') checkNormal(where, type, got, expected);
  else if (operation in POINTWISE && !EXACT.includes(operation))
    checkPointwise(operation as PointwiseName, { type, isa: 'cuda' }, inputs, got);
  else {
    const wrong = got.findIndex((value, at) => !same(value, expected[at]!));
    expect(wrong, `${where}: element ${wrong} is ${got[wrong]}, not ${expected[wrong]}`).equal(-1);
  }
}

/** Logarithm, sine and cosine of two libraries differ in the last place of a double. */
function checkNormal(where: string, type: StorageType, got: Float64Array, expected: Float64Array): void {
  const wrong = got.findIndex(
    (value, i) => !(Math.abs(value - expected[i]!) <= 128 * 2 ** -53 + 2 * ROUNDOFF[type] * Math.abs(value)),
  );
  expect(wrong, `${where}: element ${wrong} is ${got[wrong]}, not ${expected[wrong]}`).equal(-1);
  const different = got.filter((value, i) => value !== expected[i]).length;
  if (type !== 'f64') expect(different, `${where}: numbers that are rounded differently`).at.most(1);
}
