/**
 * Random problems against the oracle: outputs, all gradients, the adjoint identity, guard words, poisoned buffers and
 * the name of the kernel that ran, on every instruction set of the machine. `TEST_SEED=… TEST_RUNS=… npx mocha
 * dist/test/tensor/random.test.js` repeats a run; fast-check also prints the path to a failing problem.
 */

import { expect } from 'chai';
import fc from 'fast-check';
import { preferVariant } from '../../src/kernels.js';
import { product } from '../support/cases.js';
import { isaLevels, testRuns, testSeed, withIsa, withThreads } from '../support/devices.js';
import { checkProblem, type Place } from '../support/random_check.js';
import { type RandomProblem, randomProblems } from '../support/random_problems.js';

const RUNS = testRuns(1000);

/**
 * Every instruction set with the kernels that are chosen, and with some that are seldom chosen for small problems wherever
 * they are legal: of Winograd's and those that slide over rows, either first.
 */
const PLACES: readonly Place[] = isaLevels().flatMap((isa) =>
  [false, true].map((seldom) => ({
    label: seldom ? `${isa} seldom chosen` : isa,
    within: (problem, fn) =>
      withIsa(isa, () => withThreads(problem.threads, () => (seldom ? withSeldom(problem.seed, fn) : fn()))),
    kernels: new RegExp(`__${isa}$`),
  })),
);

function withSeldom<R>(seed: number, fn: () => R): R {
  if (seed % 2 === 0) preferVariant('winograd', 'slide');
  else preferVariant('slide', 'winograd');
  try {
    return fn();
  } finally {
    preferVariant(null);
  }
}

const FEATURES = (
  'convT2d conv2d float32 float64 float16 bfloat16 groups dilation outputPadding empty unbatched bias same valid ' +
  'plain nhwc permuted narrowed offset expanded'
).split(' ');

describe(`${RUNS} random problems`, function () {
  this.timeout(600 * RUNS + 60_000);
  const seen = new Map<string, number>();
  const count = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1);

  it('agree with the oracle in every pass, on every instruction set', () => {
    const seed = testSeed();
    console.log(`      seed ${seed}, instruction sets ${isaLevels().join(' ')}`);
    fc.assert(
      fc.property(randomProblems, (problem) => {
        for (const feature of featuresOf(problem)) count(feature);
        checkProblem(problem, { device: 'cpu', places: PLACES });
      }),
      { seed, numRuns: RUNS, includeErrorInReport: true } as fc.Parameters<[RandomProblem]>,
    );
  });

  // a shortened run may miss some
  const complete = RUNS >= 1000 ? it : () => {};
  complete('covered every kind of problem', () => {
    for (const feature of FEATURES) expect(seen.get(feature) ?? 0, feature).to.be.at.least(5);
  });
});

function featuresOf(p: RandomProblem): string[] {
  const c = p.call;
  const above = (v: unknown, n: number) => [v].flat().some((x) => (x as number) > n);
  const flags = {
    groups: c.groups > 1,
    dilation: above(c.dilation, 1),
    outputPadding: above(c.outputPadding, 0),
    empty: product(c.x) === 0,
    unbatched: c.x.length === 3,
    bias: p.bias,
    [String(c.padding)]: typeof c.padding === 'string',
  };
  const set = Object.entries(flags).flatMap(([name, on]) => (on ? [name] : []));
  return [c.op, p.dtype, ...set, ...new Set(Object.values(p.views))];
}
