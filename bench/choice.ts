/**
 * How much is lost by choosing kernels without timing them: random problems of small to middling size on a CPU, the time
 * of the kernel that the catalogue's costs choose divided by that of the fastest, each the least of some rounds.
 *
 * usage: node dist/bench/choice.js [--problems N] [--seed N] [--threads 1] [--layout nchw,nhwc] [--rounds N] [--store]
 * Nothing is kept in the kernel cache of the user.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { backends, manualSeed, rand, scope } from 'fracstride';
import { table } from '../codegen/cli/table.js';
import { flops } from '../codegen/passes.js';
import { LAYOUTS, type Problem } from '../codegen/problem.js';
import { formatProblem, parseProblem } from '../codegen/problem_text.js';
import { tune } from '../src/bench/tune.js';
import { resolveDevice } from '../src/device.js';
import { areWords, commandLine, isCount, STORE, THREADS } from './command_line.js';
import { geometricMean, report } from './row.js';

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
  store: STORE,
});
/** Multiply-adds times two, and elements of a tensor, at most. */
const MOST_FLOPS = 3e9;
const MOST_ELEMENTS = 2e7;
/** Candidates that are timed, beside one of each variant. */
const MOST = 8;
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

const folder = mkdtempSync(join(tmpdir(), 'fracstride-choice-'));
process.env.FRACSTRIDE_CACHE_DIR = folder;
try {
  for (const threads of flags.threads.split(','))
    for (const layout of flags.layout.split(',')) measure(Number(threads), layout);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function measure(threads: number, layout: string): void {
  backends.cpu.threads = threads;
  const problems = scope(() => randomProblems(layout));
  const times = problems.map((): Record<string, number> => ({}));
  const chosen: string[] = [];
  for (let round = 0; round < Number(flags.rounds); round++) {
    problems.forEach((problem, i) => {
      const { microseconds, expected } = tune(resolveDevice('choice', 'cpu'), problem, MOST);
      chosen[i] = expected!;
      for (const [name, us] of Object.entries(microseconds)) times[i]![name] = Math.min(us, times[i]![name] ?? us);
    });
  }
  const losses = problems.map((problem, i) => lossOf(problem, chosen[i]!, times[i]!)).sort((a, b) => b.loss - a.loss);
  const worst = losses.slice(0, WORST);
  const lines = worst.map(({ problem, chosen, fastest, us: [mine, best], loss }) => [
    ...[problem, chosen, mine.toFixed(1), fastest, best.toFixed(1), loss.toFixed(2)],
  ]);
  console.log(table(['problem', 'chosen', 'µs', 'fastest', 'µs', 'loss'], lines));
  const mean = Number(geometricMean(losses.map(({ loss }) => loss)).toFixed(3));
  const above = losses.filter(({ loss }) => loss > 1.5).length;
  report('choice', {
    ...{ threads, layout, seed: Number(flags.seed), problems: losses.length, loss_mean: mean },
    ...{ loss_above_1_5: above, loss_most: Number(losses[0]!.loss.toFixed(2)) },
  });
}

function lossOf(problem: Problem, chosen: string, times: Readonly<Record<string, number>>): Loss {
  const [fastest, best] = Object.entries(times).reduce((a, b) => (b[1] < a[1] ? b : a));
  const mine = times[chosen]!;
  return { problem: formatProblem(problem), chosen, fastest, us: [mine, best], loss: mine / best };
}

function randomProblems(layout: string): Problem[] {
  manualSeed(Number(flags.seed));
  const of = <V>(...values: readonly V[]): V => values[Math.floor(rand([], { device: 'cpu' }).item() * values.length)]!;
  const found: Problem[] = [];
  while (found.length < Number(flags.problems)) {
    const [op, pass] = [of('convT2d', 'conv2d'), of('fwd', 'dgrad', 'wgrad')];
    const [n, size] = [of(1, 4, 16, 64), of(1, 2, 4, 7, 8, 14, 16, 32, 64)];
    const [c, k] = [of(1, 3, 8, 16, 32, 64, 128, 256, 512), of(1, 3, 8, 16, 32, 64, 128, 256)];
    const [r, stride] = [of(1, 2, 3, 4, 5, 7), of(1, 2, 2, 3)];
    const padding = of(0, Math.floor((r - 1) / 2), Math.max(0, Math.floor((r - stride) / 2)));
    const room = op === 'conv2d' ? size + 2 * padding - r : (size - 1) * stride + r - 2 * padding - 1;
    if (room < 0) continue;
    const shape = `n=${n} c=${c} k=${k} h=${size} w=${size} r=${r} stride=${stride} padding=${padding}`;
    const problem = parseProblem(`${op} ${shape} pass=${pass} layout=${layout}`);
    const { cs, cl, hs, ws, hl, wl } = problem.geometry;
    const elements = n * Math.max(cs * hs * ws, cl * hl * wl);
    if (flops(problem) <= MOST_FLOPS && elements <= MOST_ELEMENTS) found.push(problem);
  }
  return found;
}
