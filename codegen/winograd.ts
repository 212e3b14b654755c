/**
 * Minimal filtering F(m, r): m neighbouring outputs y_j = Σ_k g_k · x_{j+k} of a filter of r taps from m + r − 1
 * inputs by m + r − 1 products,
 *
 *   y = Aᵀ[(G·g) ⊙ (Bᵀ·x)]
 *
 * The matrices are Cook and Toom's: the filter is the transpose of a product of polynomials, which is found from its
 * values at m + r − 1 points (S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, Fast
 * Algorithms for Convolutional Neural Networks, 2016). Everything here is exact: numbers are ratios of integers.
 * The gradient of the weight is the same form read the other way: dg = Gᵀ[(A·dy) ⊙ (Bᵀ·x)].
 */

export type Rational = readonly [numerator: number, denominator: number];
export type Matrix = readonly (readonly Rational[])[];

export interface Filter {
  readonly outputs: number;
  readonly taps: number;
  /** Products, and inputs. */
  readonly points: number;
  /** outputs × points */
  readonly at: Matrix;
  /** points × taps */
  readonly g: Matrix;
  /** points × points; integers without a common factor in each row. */
  readonly bt: Matrix;
}

/** The finite points in the order in which they are taken; the last point is infinity. */
const POINTS: Matrix[number] = [
  [0, 1],
  [1, 1],
  [-1, 1],
  [1, 2],
  [-2, 1],
  [2, 1],
  [-1, 2],
];

export function winograd(outputs: number, taps: number): Filter {
  const points = outputs + taps - 1;
  const sizes = { outputs, taps, points };
  // Nothing to save: one tap is one product an output, one output is one product a tap.
  if (outputs === 1 || taps === 1) {
    const ones = identity(points).map((): readonly Rational[] => [ONE]);
    const [at, g] = [outputs === 1 ? transposed(ones) : identity(points), taps === 1 ? ones : identity(points)];
    return { ...sizes, at, g, bt: identity(points) };
  }
  const at = transposed(powers(points, outputs));
  const plain = transposed(inverse(powers(points, points)));
  const factors = plain.map(integerFactor);
  const bt = plain.map((row, i) => row.map((value) => times(value, factors[i]!)));
  const g = powers(points, taps).map((row, i) => row.map((value) => over(value, factors[i]!)));
  return { ...sizes, at, g, bt };
}

export function transposed(matrix: Matrix): Matrix {
  return matrix[0]!.map((_, column) => matrix.map((row) => row[column]!));
}

/** One assignment of a straight-line program: `name = text`, in C++ over values and constants of a type T. */
export interface Step {
  readonly name: string;
  readonly text: string;
}

/** y = M·x as assignments, each of one sum or product: x0, x1 … are read, temporaries t0, t1 …, then y0, y1 … made. */
export interface TransformProgram {
  readonly inputs: number;
  readonly outputs: number;
  readonly steps: readonly Step[];
}

interface Term {
  readonly name: string;
  readonly factor: Rational;
}

/** Sums of two terms that several rows have, up to a factor, are made once: the most frequent first. */
export function transformProgram(matrix: Matrix): TransformProgram {
  const rows = matrix.map((row) => row.map((factor, i) => ({ name: `x${i}`, factor })).filter(isThere));
  const steps: Step[] = [];
  for (let pair = commonPair(rows); pair !== null; pair = commonPair(rows)) {
    const name = `t${steps.length}`;
    steps.push({ name, text: sumText(pair) });
    const shared = pair;
    for (const [i, row] of rows.entries()) rows[i] = replaced(row, shared, name);
  }
  for (const [i, row] of rows.entries()) steps.push({ name: `y${i}`, text: sumText(row) });
  return { inputs: matrix[0]!.length, outputs: matrix.length, steps };
}

type Pair = readonly [Term, Term];

/** The pair that most rows have, with the first factor 1; null when none is in two rows. */
function commonPair(rows: readonly (readonly Term[])[]): Pair | null {
  const found = new Map<string, { readonly pair: Pair; count: number }>();
  for (const pair of rows.flatMap(pairsOf)) {
    const key = `${pair[0].name} ${pair[1].name} ${pair[1].factor.join('/')}`;
    const before = found.get(key);
    if (before === undefined) found.set(key, { pair, count: 1 });
    else before.count++;
  }
  const most = [...found.values()].reduce((a, b) => (b.count > a.count ? b : a), { pair: null, count: 1 } as {
    pair: Pair | null;
    count: number;
  });
  return most.pair;
}

function pairsOf(row: readonly Term[]): Pair[] {
  const sorted = [...row].sort((a, b) => (a.name < b.name ? -1 : 1));
  return sorted.flatMap((a, i) =>
    sorted.slice(i + 1).map(
      (b): Pair => [
        { name: a.name, factor: ONE },
        { name: b.name, factor: over(b.factor, a.factor) },
      ],
    ),
  );
}

function replaced(row: readonly Term[], [a, b]: Pair, name: string): Term[] {
  const [first, second] = [a, b].map((term) => row.find((other) => other.name === term.name));
  if (first === undefined || second === undefined) return [...row];
  if (over(second.factor, first.factor).join('/') !== b.factor.join('/')) return [...row];
  return [...row.filter((term) => term !== first && term !== second), { name, factor: first.factor }];
}

function sumText(terms: readonly Term[]): string {
  if (terms.length === 0) return 'T(0)';
  // What is added comes before what is subtracted, so that few rows begin with a minus.
  const ordered = [...terms.filter(({ factor }) => factor[0] > 0), ...terms.filter(({ factor }) => factor[0] < 0)];
  const [first, ...rest] = ordered;
  const head = `${first!.factor[0] < 0 ? '-' : ''}${productText(first!)}`;
  return rest.reduce((text, term) => `${text} ${term.factor[0] < 0 ? '-' : '+'} ${productText(term)}`, head);
}

/** The product without its sign. */
function productText({ name, factor: [numerator, denominator] }: Term): string {
  const size = Math.abs(numerator);
  if (size === denominator) return name;
  return denominator === 1 ? `T(${size}) * ${name}` : `T(${size}.0 / ${denominator}.0) * ${name}`;
}

const isThere = ({ factor }: Term): boolean => factor[0] !== 0;

const ZERO: Rational = [0, 1];
const ONE: Rational = [1, 1];

/** Rows of 1, a, a² … for the finite points a; of infinity only the highest power. */
function powers(points: number, count: number): Matrix {
  const finite = POINTS.slice(0, points - 1).map((a) => {
    const row = [ONE];
    for (let i = 1; i < count; i++) row.push(times(row[i - 1]!, a));
    return row;
  });
  return [...finite, Array.from({ length: count }, (_, i) => (i === count - 1 ? ONE : ZERO))];
}

function identity(size: number): Matrix {
  return Array.from({ length: size }, (_, i) => Array.from({ length: size }, (_, j) => (i === j ? ONE : ZERO)));
}

/** Gauss and Jordan's elimination; the matrix must be regular. */
function inverse(matrix: Matrix): Matrix {
  const size = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...identity(size)[i]!]);
  for (let i = 0; i < size; i++) {
    const pivot = rows.findIndex((row, r) => r >= i && row[i]![0] !== 0);
    [rows[i], rows[pivot]] = [rows[pivot]!, rows[i]!];
    const head = rows[i]!.map((value) => over(value, rows[i]![i]!));
    for (let r = 0; r < size; r++) {
      const by = rows[r]![i]!;
      rows[r] = r === i ? head : rows[r]!.map((value, c) => minus(value, times(by, head[c]!)));
    }
  }
  return rows.map((row) => row.slice(size));
}

/** What makes a row integers without a common factor. */
function integerFactor(row: readonly Rational[]): Rational {
  const there = row.filter(([numerator]) => numerator !== 0);
  const multiple = there.reduce((all, [, d]) => (all / divisor(all, d)) * d, 1);
  const common = there.reduce((all, [n, d]) => divisor(all, Math.abs(n) * (multiple / d)), 0);
  return ratio(multiple, common);
}

function times([a, b]: Rational, [c, d]: Rational): Rational {
  return ratio(a * c, b * d);
}

function over([a, b]: Rational, [c, d]: Rational): Rational {
  return ratio(a * d, b * c);
}

function minus([a, b]: Rational, [c, d]: Rational): Rational {
  return ratio(a * d - c * b, b * d);
}

/** In lowest terms, with a positive denominator. */
function ratio(numerator: number, denominator: number): Rational {
  if (numerator === 0) return ZERO;
  const common = divisor(Math.abs(numerator), Math.abs(denominator)) * Math.sign(denominator);
  return [numerator / common, denominator / common];
}

function divisor(a: number, b: number): number {
  return b === 0 ? a : divisor(b, a % b);
}
