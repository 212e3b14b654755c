/** The matrices of F(m, r) are exact, and the programs that are printed compute them. */

import { expect } from 'chai';
import { type Matrix, type Rational, transformProgram, transposed, winograd } from '../../codegen/winograd.js';

const SIZES = [
  ...[1, 2, 3, 4, 5, 6].map((m) => [m, 1]),
  ...[1, 2, 3, 4, 5, 6].map((m) => [m, 2]),
  ...[1, 2, 3, 4, 5].map((m) => [m, 3]),
] as [number, number][];

const common = (all: Rational[]): number => all.reduce((d, [, b]) => d * b, 1);

/** Σ of products of ratios is `expected`, in integers. */
function expectSum(products: readonly Rational[][], expected: number, what: string): void {
  const terms = products.map((factors) => factors.reduce(([a, b], [c, d]) => [a * c, b * d] as Rational, [1, 1]));
  const denominator = common(terms);
  const sum = terms.reduce((total, [a, b]) => total + a * (denominator / b), 0);
  expect(sum, what).to.equal(expected * denominator);
}

/** The value of a program for inputs, by running its text. */
function run(matrix: Matrix, x: readonly number[]): number[] {
  const { inputs, outputs, steps } = transformProgram(matrix);
  const body = steps.map(({ name, text }) => `const ${name} = ${text};`).join(' ');
  const names = Array.from({ length: outputs }, (_, i) => `y${i}`);
  const f = new Function('T', ...Array.from({ length: inputs }, (_, i) => `x${i}`), `${body} return [${names}];`);
  return f(Number, ...x);
}

const exact = (matrix: Matrix, x: readonly number[]): number[] =>
  matrix.map((row) => row.reduce((sum, [a, b], i) => sum + (a / b) * x[i]!, 0));

describe('winograd', () => {
  for (const [m, r] of SIZES) {
    it(`F(${m}, ${r}) is the filter, exactly`, () => {
      const { at, g, bt, points } = winograd(m, r);
      expect(points).to.equal(m + r - 1);
      for (let j = 0; j < m; j++) {
        for (let k = 0; k < r; k++) {
          for (let i = 0; i < points; i++) {
            const products = at[j]!.map((a, p) => [a, g[p]![k]!, bt[p]![i]!]);
            expectSum(products, i === j + k ? 1 : 0, `output ${j}, tap ${k}, input ${i}`);
          }
        }
      }
    });

    it(`the programs of F(${m}, ${r}) are its matrices`, () => {
      const { at, g, bt } = winograd(m, r);
      for (const matrix of [at, g, bt, transposed(at), transposed(g)]) {
        const x = matrix[0]!.map((_, i) => 3 * i * i - 7 * i + 5);
        const [got, expected] = [run(matrix, x), exact(matrix, x)];
        for (const [i, value] of got.entries()) expect(value).to.be.closeTo(expected[i]!, 1e-9);
      }
    });
  }

  it('up to four points there is nothing but sums, differences and halves', () => {
    for (const [m, r] of SIZES.filter(([m, r]) => m + r <= 5)) {
      const { at, g, bt } = winograd(m, r);
      for (const [a, b] of [at, bt].flat(2)) expect(Math.abs(a) <= 1 && b === 1).to.equal(true);
      for (const [a, b] of g.flat()) expect(Math.abs(a) <= 1 && b <= 2).to.equal(true);
    }
  });

  it('shares what several rows have', () => {
    const { bt } = winograd(4, 3);
    const plain = bt.flatMap((row) => row.filter(([a]) => a !== 0)).length - bt.length;
    const shared = transformProgram(bt).steps.reduce((sum, { text }) => sum + text.split(/ [+-] /).length - 1, 0);
    expect(shared).to.be.lessThan(plain);
  });
});
