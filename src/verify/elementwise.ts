/** Every element-wise kernel of the table, on numbers of all kinds, and on operands that are broadcast and permuted. */

import { POINTWISE, type PointwiseName } from '../../codegen/pointwise.js';
import { tensor } from '../create.js';
import { lastKernel } from '../kernels.js';
import { compute } from '../pointwise.js';
import type { Check } from './check.js';
import { input } from './inputs.js';
import { noise } from './numbers.js';
import { POINTWISE_REFERENCES, pointwiseExpectation, SPECIAL } from './pointwise_reference.js';
import { afterRoundings } from './rounded.js';
import { roundAll } from './rounding.js';

export const ELEMENTWISE: readonly Check[] = [...(Object.keys(POINTWISE) as PointwiseName[]).map(checkOf), broadcast()];

function checkOf(name: PointwiseName): Check {
  const facts = { operation: name, problem: 'special numbers and noise', layout: null };
  return {
    ...facts,
    run: ({ device, dtype }, tell) => {
      const columns = operands(POINTWISE[name].inputs).map((column) => roundAll(dtype, column));
      const tensors = columns.map((column) => tensor(column, { device, dtype }));
      const y = compute(name, tensors, POINTWISE_REFERENCES[name].scalars ?? []);
      const kernel = lastKernel();
      const got = y.dataSync();
      const expected = Array.from(got, (value, i) =>
        pointwiseExpectation(
          name,
          dtype,
          columns.map((column) => column[i]!),
          value,
        ),
      );
      const exact = expected.map((each) => each.exact);
      tell({ ...facts, kernel, shape: y.shape, got, exact, allowed: (i) => expected[i]!.allowed });
    },
  };
}

/** Columns of operands: pairs (triples) of special numbers, then noise of several sizes. */
function operands(inputs: number): number[][] {
  const few = inputs === 3 ? SPECIAL.slice(0, 7) : SPECIAL;
  const random = Array.from({ length: inputs }, (_, k) =>
    noise(300, 3 + k).map((v, i) => v * [1, 10, 100, 0.01][i % 4]!),
  );
  return random.map((values, k) => {
    const pairs = Array.from(
      { length: few.length ** inputs },
      (_, i) => few[Math.floor(i / few.length ** k) % few.length]!,
    );
    return [...pairs, ...values];
  });
}

/** [5, 4, 3] permuted to [3, 4, 5], plus [4, 1]. */
function broadcast(): Check {
  const facts = { operation: 'add', problem: 'permuted and broadcast', layout: null };
  return {
    ...facts,
    run: (place, tell) => {
      const [a, b] = [input(place, [5, 4, 3], 1), input(place, [4, 1], 2)];
      const y = a.tensor.permute([2, 1, 0]).add(b.tensor);
      const kernel = lastKernel();
      const terms = Array.from({ length: 60 }, (_, i) => {
        const [d, row, column] = [Math.floor(i / 20), Math.floor(i / 5) % 4, i % 5];
        return [a.values[column * 12 + row * 3 + d]!, b.values[row]!] as const;
      });
      const size = (i: number) => Math.abs(terms[i]![0]) + Math.abs(terms[i]![1]);
      const allowed = afterRoundings({ dtype: place.dtype, stored: 1, computed: 1, size });
      const exact = terms.map(([x, z]) => x + z);
      tell({ ...facts, kernel, shape: y.shape, got: y.dataSync(), exact, allowed });
    },
  };
}
