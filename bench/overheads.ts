/**
 * Fits the overheads of the CPU's rows (codegen/cpu_measured.ts) to times: random problems and the layers, every row that can
 * compute them, one thread, float32. Prints the geometric mean of chosen ÷ fastest before and after, on what the fit saw, on
 * the layers, and on the fifth of the random problems that it did not see. With --write the file has what was fitted.
 *
 * First each row's times are fitted by its overheads, none of them negative, by relative error; then, since only choices
 * count, each row is scaled so that the chosen kernels lose least.
 *
 * usage: node dist/bench/overheads.js [--isa avx2] [--problems N] [--seed N] [--rounds N] [--write]
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { backends } from 'fracstride';
import { MEASURED } from '../codegen/cpu_measured.js';
import { countsOf, OVERHEADS, type Overhead, overheadOf, overheadRow } from '../codegen/cpu_overheads.js';
import { LAYOUTS, PASSES, type Problem } from '../codegen/problem.js';
import { parseProblem } from '../codegen/problem_text.js';
import { candidates, wordsOf } from '../codegen/spec.js';
import { CPU_ISAS, type CpuIsa } from '../codegen/target.js';
import { BENCH_LAYERS } from '../src/bench/layers.js';
import { fmaPeak } from '../src/bench/peaks.js';
import { resolveDevice } from '../src/device.js';
import { areWords, commandLine, isCount } from './command_line.js';
import { randomProblems } from './random_problems.js';
import { timeWays, withoutKeeping } from './ways.js';

const flags = commandLine('bench:overheads', {
  isa: { about: 'instruction set (default: the best of this machine)', value: '<name>', check: areWords(CPU_ISAS) },
  problems: { about: 'random problems of each layout', value: '<count>', default: '600', check: isCount },
  seed: { about: 'other problems', value: '<number>', default: '11', check: isCount },
  rounds: { about: 'rounds that a time is the least of', value: '<count>', default: '2', check: isCount },
  write: { about: 'write codegen/cpu_measured.ts' },
});
const FILE = fileURLToPath(new URL('../../codegen/cpu_measured.ts', import.meta.url));
/** One random problem of so many is left out of the fit. */
const UNSEEN = 5;
/** How often a layer counts beside a random problem. */
const LAYER_WEIGHT = 12;
/** What a row's own cost may be multiplied by. It was made on AVX-512, and what is far from it is noise. */
const OWN = [0.9, 1.6] as const;
/** Relative errors beyond this count less the larger they are: a neighbour on the machine made them. */
const USUAL_ERROR = 0.25;
const DESCENTS = 400;
const REWEIGHTED = 4;
/** What a scale that is not 1 must gain, by its logarithm. */
const SCALE_PRICE = 0.0005;
/** What a change of a scale must gain, likewise. */
const LEAST_GAIN = 1e-6;
const SCALES = Array.from({ length: 17 }, (_, i) => 1.06 ** (i - 8));

const OVERHEAD_TERMS = ['call', 'image', 'pair', 'gathered', 'small', 'large', 'weight', 'absent'] as const;
const TERMS = ['own', ...OVERHEAD_TERMS] as const;

/** A row that could compute a problem. */
interface Way {
  /** Row, pass and layout; null for rows without overheads. */
  readonly group: string | null;
  /** What each of TERMS is multiplied by, in multiply-adds of the whole problem. */
  readonly counts: readonly number[];
  /** Multiply-adds that the peak does in the time. */
  readonly time: number;
  /** What the catalogue says now. */
  readonly cost: number;
}

interface Timed {
  readonly ways: readonly Way[];
  readonly weight: number;
}

withoutKeeping(() => {
  backends.cpu.threads = 1;
  if (flags.isa !== undefined) backends.cpu.isa = flags.isa;
  run(backends.cpu.isa as CpuIsa);
});

function run(isa: CpuIsa): void {
  const random = LAYOUTS.flatMap((layout) => randomProblems(Number(flags.problems), Number(flags.seed), layout));
  const unseen = timesOf(
    random.filter((_, i) => i % UNSEEN === 0),
    isa,
    1,
  );
  const seen = timesOf(
    random.filter((_, i) => i % UNSEEN !== 0),
    isa,
    1,
  );
  const layers = timesOf(layerProblems(), isa, LAYER_WEIGHT);
  const fitted = scaled(leastSquares([...seen, ...layers]), [...seen, ...layers]);
  const told = (of: readonly Timed[]) =>
    `${loss(of, (way) => way.cost).toFixed(3)} → ${loss(of, (way) => modelled(fitted, way)).toFixed(3)}`;
  console.log(`${isa}: seen ${told(seen)}, unseen ${told(unseen)}, layers ${told(layers)}`);
  if (flags.write) writeFileSync(FILE, fileText(isa, fitted));
}

function layerProblems(): Problem[] {
  return Object.values(BENCH_LAYERS).flatMap((layer) =>
    LAYOUTS.flatMap((layout) =>
      PASSES.filter((pass) => pass !== 'bgrad').map((pass) => parseProblem(`${layer} pass=${pass} layout=${layout}`)),
    ),
  );
}

function timesOf(problems: readonly Problem[], isa: CpuIsa, weight: number): Timed[] {
  const peak = fmaPeak(resolveDevice('overheads', 'cpu'), 'float32') / 2e-3;
  const times = timeWays(problems, Number(flags.rounds));
  return problems.map((problem, i) => ({ ways: waysOf(problem, isa, times[i]!.us, peak), weight }));
}

function waysOf(problem: Problem, isa: CpuIsa, times: Readonly<Record<string, number>>, peak: number): Way[] {
  const target = { kind: 'cpu', isa } as const;
  return candidates(problem, target).flatMap((candidate) => {
    const us = times[wordsOf(candidate)];
    if (candidate.spec === null || us === undefined) return [];
    const { form } = candidate.spec;
    const row = overheadRow(candidate.variant, candidate.tunables);
    const now = overheadOf(row, problem, form, target);
    const of = countsOf(problem);
    const cost = candidate.cost! * Math.max(1, of.products);
    const besides = OVERHEAD_TERMS.map((term) => of[term]);
    const charged = OVERHEAD_TERMS.map((term) => now[term] ?? 0);
    const own = (cost - dot(besides, charged)) / (now.own ?? 1);
    const group = row in OVERHEADS.avx512 ? `${row}: ${form} ${problem.layout}` : null;
    return [{ group, counts: [own, ...besides], time: us * peak, cost }];
  });
}

/** By group the terms that are nearest to its times: coordinate descent, with weights that forget what is far off. */
function leastSquares(problems: readonly Timed[]): Map<string, number[]> {
  const groups = new Map<string, { way: Way; weight: number }[]>();
  for (const { ways, weight } of problems)
    for (const way of ways) {
      if (way.group === null) continue;
      const rows = groups.get(way.group) ?? [];
      rows.push({ way, weight });
      groups.set(way.group, rows);
    }
  return new Map([...groups].map(([group, rows]) => [group, termsOf(rows)]));
}

function termsOf(rows: readonly { way: Way; weight: number }[]): number[] {
  const matrix = rows.map(({ way }) => way.counts.map((count) => count / way.time));
  const terms = TERMS.map(() => 0);
  const rest = rows.map(() => 1);
  let weights = rows.map(({ weight }) => weight);
  for (let round = 0; round < REWEIGHTED; round++) {
    for (let step = 0; step < DESCENTS; step++) descend(matrix, weights, terms, rest);
    weights = rest.map((error, i) => rows[i]!.weight / Math.max(USUAL_ERROR, Math.abs(error)));
  }
  return terms;
}

/** Each term in turn becomes the best beside the others; `rest` is what they leave of each relative time, 1. */
function descend(
  matrix: readonly (readonly number[])[],
  weights: readonly number[],
  terms: number[],
  rest: number[],
): void {
  for (let j = 0; j < terms.length; j++) {
    let [above, below] = [0, Number.MIN_VALUE];
    matrix.forEach((row, i) => {
      above += weights[i]! * row[j]! * rest[i]!;
      below += weights[i]! * row[j]! ** 2;
    });
    const free = Math.max(0, terms[j]! + above / below);
    const best = j === 0 ? Math.min(OWN[1], Math.max(OWN[0], free)) : free;
    matrix.forEach((row, i) => {
      rest[i]! -= row[j]! * (best - terms[j]!);
    });
    terms[j] = best;
  }
}

/** Each group times the scale with which the choices lose least. */
function scaled(fitted: ReadonlyMap<string, readonly number[]>, problems: readonly Timed[]): Map<string, number[]> {
  const scales = new Map([...fitted.keys()].map((group) => [group, 1]));
  const unscaled = new Map(problems.flatMap(({ ways }) => ways.map((way) => [way, modelled(fitted, way)])));
  const price = () => loss(problems, (way) => unscaled.get(way)! * (scales.get(way.group ?? '') ?? 1));
  for (let changed = true; changed; ) {
    changed = false;
    for (const group of fitted.keys()) {
      const before = scales.get(group)!;
      const priceOf = (scale: number) => {
        scales.set(group, scale);
        return Math.log(price()) + SCALE_PRICE * Math.abs(Math.log(scale));
      };
      let [best, least] = [before, priceOf(before) - LEAST_GAIN];
      for (const scale of SCALES) {
        const now = priceOf(scale);
        if (now < least) [best, least] = [scale, now];
      }
      scales.set(group, best);
      changed ||= best !== before;
    }
  }
  return new Map([...fitted].map(([group, terms]) => [group, terms.map((term) => term * scales.get(group)!)]));
}

function modelled(fitted: ReadonlyMap<string, readonly number[]>, way: Way): number {
  const terms = way.group === null ? undefined : fitted.get(way.group);
  return terms === undefined ? way.cost : dot(way.counts, terms);
}

/** Geometric mean of the time of what is cheapest by `cost` ÷ the least time. */
function loss(problems: readonly Timed[], cost: (way: Way) => number): number {
  let [sum, weights] = [0, 0];
  for (const { ways, weight } of problems) {
    if (ways.length < 2) continue;
    const least = Math.min(...ways.map(({ time }) => time));
    const costs = ways.map(cost);
    sum += weight * Math.log(ways[costs.indexOf(Math.min(...costs))]!.time / least);
    weights += weight;
  }
  return Math.exp(sum / weights);
}

function dot(a: readonly number[], b: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** The file with what was fitted for one instruction set; `npm run format` puts it in shape. */
function fileText(isa: CpuIsa, fitted: ReadonlyMap<string, readonly number[]>): string {
  const measured: Record<string, Record<string, Overhead>> = {};
  for (const [group, terms] of [...fitted].sort(([a], [b]) => a.localeCompare(b))) {
    const [row, form] = group.split(': ') as [string, string];
    const rounded = terms.map((term) => Number(term.toPrecision(2)));
    const said = TERMS.map((name, j) => [name, rounded[j]!] as const);
    const neutral = (name: string) => (name === 'own' ? 1 : 0);
    measured[row] = {
      ...measured[row],
      [form]: Object.fromEntries(said.filter(([name, value]) => value !== neutral(name))),
    };
  }
  const head = readFileSync(FILE, 'utf8').split('export const MEASURED')[0]!;
  const text = JSON.stringify({ ...MEASURED, [isa]: measured }, null, 2);
  // A row's overheads of a pass in one line where they fit one.
  const lines = text.replace(/\{[^{}]*\}/g, (object) => object.replace(/\s+/g, ' '));
  return `${head}export const MEASURED = ${lines};\n`;
}
