/**
 * How much is lost by choosing kernels without timing them: random problems of small to middling size on a CPU, the time
 * of the kernel that the catalogue's costs choose divided by that of the fastest, each the least of some rounds.
 *
 * usage: node dist/bench/choice.js [--problems N] [--seed N] [--threads 1] [--layout nchw,nhwc] [--rounds N] [--isa avx2]
 *   [--store]
 * Nothing is kept in the kernel cache of the user.
 */

import { backends } from 'fracstride';
import { table } from '../codegen/cli/table.js';
import { LAYOUTS, type Layout, type Problem } from '../codegen/problem.js';
import { formatProblem } from '../codegen/problem_text.js';
import { CPU_ISAS, type CpuIsa } from '../codegen/target.js';
import { areWords, commandLine, isCount, STORE, THREADS } from './command_line.js';
import { randomProblems } from './random_problems.js';
import { geometricMean, report } from './row.js';
import { timeWays, type Ways, withoutKeeping } from './ways.js';

const flags = commandLine('bench:choice', {
  problems: { about: 'random problems of each layout', value: '<count>', default: '100', check: isCount },
  seed: { about: 'other problems', value: '<number>', default: '1', check: isCount },
  threads: { ...THREADS, default: '1' },
  layout: {
    about: 'memory layouts, separated by commas',
    value: '<list>',
    default: 'nchw,nhwc',
    check: areWords(LAYOUTS),
  },
  rounds: { about: 'rounds that a time is the least of', value: '<count>', default: '3', check: isCount },
  isa: { about: 'instruction set (default: the best of this machine)', value: '<name>', check: areWords(CPU_ISAS) },
  store: STORE,
});
/** Losses that are printed. */
const WORST = 15;

interface Loss {
  readonly problem: string;
  readonly chosen: string;
  readonly fastest: string;
  /** Times of both in microseconds. */
  readonly us: readonly [chosen: number, fastest: number];
  readonly loss: number;
}

withoutKeeping(() => {
  if (flags.isa !== undefined) backends.cpu.isa = flags.isa as CpuIsa;
  for (const threads of flags.threads.split(','))
    for (const layout of flags.layout.split(',')) measure(Number(threads), layout as Layout);
});

function measure(threads: number, layout: Layout): void {
  backends.cpu.threads = threads;
  const problems = randomProblems(Number(flags.problems), Number(flags.seed), layout);
  const ways = timeWays(problems, Number(flags.rounds));
  const losses = problems.map((problem, i) => lossOf(problem, ways[i]!)).sort((a, b) => b.loss - a.loss);
  const worst = losses.slice(0, WORST);
  const lines = worst.map(({ problem, chosen, fastest, us: [mine, best], loss }) => [
    ...[problem, chosen, mine.toFixed(1), fastest, best.toFixed(1), loss.toFixed(2)],
  ]);
  console.log(table(['problem', 'chosen', 'µs', 'fastest', 'µs', 'loss'], lines));
  const mean = Number(geometricMean(losses.map(({ loss }) => loss)).toFixed(3));
  const above = losses.filter(({ loss }) => loss > 1.5).length;
  report('choice', {
    ...{ isa: backends.cpu.isa, threads, layout, seed: Number(flags.seed), problems: losses.length, loss_mean: mean },
    ...{ loss_above_1_5: above, loss_most: Number(losses[0]!.loss.toFixed(2)) },
  });
}

function lossOf(problem: Problem, { chosen, us: times }: Ways): Loss {
  const [fastest, best] = Object.entries(times).reduce((a, b) => (b[1] < a[1] ? b : a));
  const mine = times[chosen]!;
  return { problem: formatProblem(problem), chosen, fastest, us: [mine, best], loss: mine / best };
}
