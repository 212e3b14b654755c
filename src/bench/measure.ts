/**
 * How long a contraction takes, by kernel. Each kernel runs its launches in a queue that is waited for once; the kernels
 * of one problem take turns, so that whatever else the machine does meets all of them alike.
 */

import { bytes, flops, OPERANDS, operandElements } from '../../codegen/passes.js';
import { contraction, makeProblem, type Problem } from '../../codegen/problem.js';
import { isLibrary } from '../../codegen/spec.js';
import { empty, rand } from '../create.js';
import { resolveDevice, synchronize } from '../device.js';
import { candidatesOn, lastKernel, NULL, type Pointer, preferVariant, runProblem } from '../kernels.js';
import { pointer } from '../pointwise.js';
import { scope } from '../scope.js';
import { Tensor } from '../tensor.js';
import { quantiles } from './facts.js';

export interface Asked {
  readonly device: string;
  readonly problem: Problem;
  readonly rounds: number;
  /** Each legal variant, or the one that is chosen and the library. */
  readonly variants: 'chosen' | 'all';
  /** Bytes that what a launch touches should not find again in a cache. */
  readonly cacheBytes: number;
}

export interface Timing {
  readonly variant: string;
  readonly kernel: string;
  /** Whether it is the variant that the catalogue thinks cheapest among the kernels of this package. */
  readonly chosen: boolean;
  /** Whether a library computes it. */
  readonly library: boolean;
  readonly us_median: number;
  readonly us_min: number;
  readonly us_p90: number;
  readonly rounds: number;
  readonly launches: number;
  readonly tflops: number;
  readonly gbs: number;
  /** Copies of the operands that take turns. */
  readonly copies: number;
}

/** A round lasts about so long where a launch is short. */
const ROUND_MS = 20;
const MOST_LAUNCHES = 500;
const MOST_COPIES = 64;

/** The kernels of a problem and their times; what cannot run here is left out, with the reason given to `skip`. */
export function measure(asked: Asked, skip: (variant: string, reason: string) => void): Timing[] {
  const problem = makeProblem(asked.problem);
  return scope(() => {
    const copies = Math.min(MOST_COPIES, Math.max(1, Math.ceil((2 * asked.cacheBytes) / bytes(problem))));
    const sets = Array.from({ length: copies }, () => operands(asked.device, problem));
    try {
      const runners = contestants(asked, problem).flatMap(
        (each) => prepared(each, { asked, problem, sets, skip }) ?? [],
      );
      for (let round = 0; round < asked.rounds; round++) for (const runner of runners) runner.round();
      return runners.map((runner) => timingOf(runner, problem, copies));
    } finally {
      preferVariant(null);
    }
  });
}

interface Contestant {
  readonly variant: string;
  readonly chosen: boolean;
  readonly library: boolean;
}

interface Runner extends Contestant {
  readonly kernel: string;
  readonly launches: number;
  readonly times: number[];
  readonly round: () => void;
}

function contestants({ device, variants }: Asked, problem: Problem): Contestant[] {
  const legal = candidatesOn(resolveDevice('bench', device), problem)
    .filter(({ cost }) => cost !== null)
    .sort((a, b) => a.cost! - b.cost!);
  const names = [...new Set(legal.map(({ variant }) => variant))];
  const library = (name: string): boolean => legal.some(({ variant, spec }) => variant === name && isLibrary(spec!));
  const first = names.find((name) => !library(name));
  const all = names.map((variant) => ({ variant, chosen: variant === first, library: library(variant) }));
  return variants === 'all' ? all : all.filter((each) => each.chosen || each.library);
}

interface Setting {
  readonly asked: Asked;
  readonly problem: Problem;
  readonly sets: readonly (readonly Pointer[])[];
  readonly skip: (variant: string, reason: string) => void;
}

/** A contestant that has run once; how long that took says how many launches a round has. */
function prepared(each: Contestant, { asked, problem, sets, skip }: Setting): Runner | null {
  const device = resolveDevice('bench', asked.device);
  const launch = (i: number): void => runProblem(device, problem, sets[i % sets.length]!, 0);
  const milliseconds = (count: number): number => {
    const start = performance.now();
    for (let i = 0; i < count; i++) launch(i);
    synchronize(device);
    return performance.now() - start;
  };
  try {
    preferVariant(each.variant);
    milliseconds(1);
  } catch (error) {
    skip(each.variant, error instanceof Error ? error.message : String(error));
    return null;
  }
  const kernel = lastKernel();
  if (kernel.split('__')[1]?.split('_')[0] !== each.variant) {
    skip(each.variant, `${kernel} ran instead`);
    return null;
  }
  const launches = Math.max(1, Math.min(MOST_LAUNCHES, Math.round(ROUND_MS / milliseconds(1))));
  const times: number[] = [];
  const round = (): void => {
    preferVariant(each.variant);
    // Finding the kernel again is not what is measured.
    milliseconds(1);
    times.push((1000 * milliseconds(launches)) / launches);
  };
  return { ...each, kernel, launches, times, round };
}

function operands(device: string, problem: Problem): Pointer[] {
  const form = contraction(problem.op, problem.pass);
  const elements = operandElements(form, problem.geometry);
  const { dtype } = problem;
  return OPERANDS[form].map(({ name, role }) => {
    if (name === 'bias') return NULL;
    const make = role === 'out' ? empty : rand;
    return pointer(Tensor.window(make([elements[name]!], { device, dtype })));
  });
}

function timingOf(runner: Runner, problem: Problem, copies: number): Timing {
  const { variant, kernel, chosen, library, times, launches } = runner;
  const { median, min, p90 } = quantiles(times);
  const short = (value: number): number => Number(value.toPrecision(4));
  return {
    ...{ variant, kernel, chosen, library },
    ...{ us_median: short(median), us_min: short(min), us_p90: short(p90), rounds: times.length, launches },
    tflops: short(flops(problem) / median / 1e6),
    gbs: short(bytes(problem) / median / 1e3),
    copies,
  };
}
