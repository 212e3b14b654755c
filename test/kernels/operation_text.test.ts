/** The rendered CUDA kernels of the element-wise families, executed on the host as they stand, against the CPU's kernels. */

import { expect } from 'chai';
import { nameOf } from '../../codegen/kernel.js';
import type { StorageType } from '../../codegen/operations.js';
import { POINTWISE, type PointwiseName } from '../../codegen/pointwise.js';
import { decode, encode, ROUNDOFF } from '../support/kernels.js';
import { checkPointwise } from '../support/pointwise_reference.js';
import { type JobResult, runOnHost } from './host_program.js';
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
  ...['relu_backward', 'leaky_relu_backward', 'abs_backward', 'where'],
];

const GROUPS: Readonly<Record<string, () => OperationCase[]>> = {
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

function check({ title, spec, jobs, inputs, expected }: OperationCase, results: readonly JobResult[]): void {
  const { operation, type } = spec;
  for (const [i, result] of results.entries()) {
    const where = `${title}: ${nameOf(spec)}, threads ${jobs[i]!.order}`;
    expect(result.damaged, `${where}: bytes damaged`).equal(0);
    expect(result.missed, `${where}: threads missing at a barrier`).equal(0);
    const got = decoded(type, result.output, expected);
    if (operation === 'normal') checkNormal(where, type, got, expected);
    else if (operation in POINTWISE && !EXACT.includes(operation))
      checkPointwise(operation as PointwiseName, { type, isa: 'cuda' }, inputs, got);
    else {
      const wrong = got.findIndex((value, at) => !same(value, expected[at]!));
      expect(wrong, `${where}: element ${wrong} is ${got[wrong]}, not ${expected[wrong]}`).equal(-1);
    }
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

describe('rendered CUDA kernels of operations on the host', function () {
  this.timeout(300_000);
  const cases = Object.fromEntries(Object.entries(GROUPS).map(([title, make]) => [title, make()]));
  const results = new Map<OperationCase, JobResult[]>();

  before(async () => {
    const all = Object.values(cases).flat();
    const done = await runOnHost(
      all.flatMap((each) => each.jobs),
      2,
    );
    for (const [i, each] of all.entries()) results.set(each, done.slice(2 * i, 2 * i + 2));
  });

  for (const title of Object.keys(GROUPS)) {
    it(title, () => {
      expect(cases[title]!.length).greaterThan(10);
      for (const each of cases[title]!) check(each, results.get(each)!);
    });
  }
});
