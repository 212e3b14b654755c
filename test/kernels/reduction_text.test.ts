/**
 * The rendered CUDA kernels of reductions, batch norm and optimiser steps, executed on the host as they stand, against
 * sums in double. Both orders of threads must give the same bits.
 */

import { expect } from 'chai';
import { decode, encode, ROUNDOFF } from '../support/kernels.js';
import type { JobResult } from './host_program.js';
import { type Expected, groupCases, lossCases, normCases, type ReductionCase, reduceCases } from './reduction_cases.js';
import { testGroups, whereOf } from './text_suite.js';

const GROUPS: Readonly<Record<string, () => ReductionCase[]>> = {
  'add up one axis': () => reduceCases('sum'),
  'find the largest along one axis, and NaN': () => reduceCases('max'),
  'add up losses': lossCases,
  'normalise batches in both layouts, whatever their mean, with what comes behind': normCases,
  'step over, add up and zero groups of tensors': groupCases,
};

function decoded({ type, values }: Expected, bytes: Uint8Array): Float64Array {
  const stored = encode(type, new Float64Array(values.length));
  expect(bytes.length).equal(stored.byteLength);
  new Uint8Array(stored.buffer).set(bytes);
  return decode(type, stored);
}

function close(a: number, b: number, { type, scale }: Expected): boolean {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) && Number.isNaN(b);
  const roundoff = { f32: 2 ** -24, f64: 2 ** -53, f16: 2 ** -24, bf16: 2 ** -24, i32: 0 }[type];
  return a === b || Math.abs(a - b) <= ROUNDOFF[type] * Math.abs(b) * 1.01 + scale * roundoff;
}

function check(each: ReductionCase, results: readonly JobResult[]): void {
  for (const [i, { outputs }] of results.entries()) {
    const where = whereOf(each, i);
    expect(outputs.length, where).equal(each.expected.length);
    for (const [k, expected] of each.expected.entries()) {
      const got = decoded(expected, outputs[k]!);
      const wrong = got.findIndex((value, at) => !close(value, expected.values[at]!, expected));
      expect(wrong, `${where}: output ${k}, element ${wrong} is ${got[wrong]}, not ${expected.values[wrong]}`).equal(
        -1,
      );
    }
  }
  const [first, second] = results.map(({ outputs }) => Buffer.concat(outputs));
  expect(first!.equals(second!), `${each.title}: the order of threads shows`).equal(true);
}

describe('rendered CUDA reductions and steps on the host', function () {
  this.timeout(300_000);
  const cases = testGroups(GROUPS, check);

  it('share the terms of few outputs among blocks, and many outputs among groups', () => {
    const grids = Object.values(cases)
      .flat()
      .map(({ jobs }) => jobs[0]!.launch.grid);
    expect(grids.filter(([, segments]) => segments > 1).length).greaterThan(20);
    expect(grids.filter(([groups, segments]) => segments === 1 && groups > 1).length).greaterThan(20);
  });
});
