/** Assertions about kernels: closeness in units of the types, and one test an instruction set. */

import { expect } from 'chai';
import type { StorageType } from '../../codegen/operations.js';
import { accumulatorOf, isas, type Numbers, ROUNDOFF, type Which } from './kernels.js';

/** |got − exact| ≤ roundoff of storage + `units` half units of the accumulator relative to `size`. */
export function close(which: Which, got: Numbers, exact: Numbers, size: Numbers, units = 8, stored = which.type): void {
  expect(got.length).to.equal(exact.length);
  for (let i = 0; i < got.length; i++) {
    const arithmetic = units * ROUNDOFF[accumulatorOf(which.type)] * size[i]!;
    const bound = arithmetic + ROUNDOFF[stored] * Math.abs(exact[i]!) + (stored === 'f16' ? 2 ** -24 : 1e-38);
    const near = Math.abs(got[i]! - exact[i]!) <= bound;
    if (!near)
      expect.fail(
        `${which.operation} ${which.type} ${which.isa} [${i}] is ${got[i]} instead of ${exact[i]}, ± ${bound}`,
      );
  }
}

/** One test for each instruction set of this machine, over the element types. */
export function everywhere(
  title: string,
  types: readonly StorageType[],
  body: (type: StorageType, isa: Which['isa']) => void,
): void {
  for (const isa of isas()) {
    it(`${title} on ${isa}`, () => {
      for (const type of types) body(type, isa);
    });
  }
}
