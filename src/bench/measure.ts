/**
 * How long a contraction takes, by kernel. A round is many launches that are waited for once: a recorded graph where the
 * device records graphs, so that what a call costs in JavaScript is not part of it, else calls one after the other. The
 * kernels of one problem take turns, so that whatever else the machine does meets all of them alike.
 */

import { bytes, flops, gradSide, OPERANDS, operandElements } from '../../codegen/passes.js';
import { contraction, makeProblem, type Problem } from '../../codegen/problem.js';
import { isLibrary } from '../../codegen/spec.js';
import { empty, rand } from '../create.js';
import {
  abortCapture,
  beginCapture,
  type Device,
  endCapture,
  freeGraph,
  replayGraph,
  resolveDevice,
  synchronize,
} from '../device.js';
import { FracstrideError } from '../errors.js';
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
  /** How launches were asked for: as a recorded graph, or by calls. */
  readonly method: 'graph' | 'calls';
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
    const runners: Runner[] = [];
    try {
      for (const each of contestants(asked, problem)) {
        const runner = prepared(each, { asked, problem, sets, skip });
        if (runner !== null) runners.push(runner);
      }
      for (let round = 0; round < asked.rounds; round++) for (const runner of runners) runner.round();
      return runners.map((runner) => timingOf(runner, problem, copies));
    } finally {
      preferVariant(null);
      for (const { free } of runners) free();
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
  readonly method: Timing['method'];
  readonly round: () => void;
  readonly free: () => void;
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
  const calls = (count: number): void => {
    for (let i = 0; i < count; i++) runProblem(device, problem, sets[i % sets.length]!, 0);
  };
  try {
    preferVariant(each.variant);
    milliseconds(device, () => calls(1));
  } catch (error) {
    skip(each.variant, error instanceof Error ? error.message : String(error));
    return null;
  }
  const kernel = lastKernel();
  if (kernel.split('__')[1]?.split('_')[0] !== each.variant) {
    skip(each.variant, `${kernel} ran instead`);
    return null;
  }
  const once = milliseconds(device, () => calls(1));
  const launches = Math.max(1, Math.min(MOST_LAUNCHES, Math.round(ROUND_MS / once)));
  const graph = recorded(device, () => calls(launches));
  const times: number[] = [];
  const round = (): void => {
    let work = (): void => replayGraph(device, graph!);
    if (graph === null) {
      preferVariant(each.variant);
      // Finding the kernel again is not what is measured.
      milliseconds(device, () => calls(1));
      work = () => calls(launches);
    }
    times.push((1000 * milliseconds(device, work)) / launches);
  };
  const free = (): void => {
    if (graph !== null) freeGraph(device, graph);
  };
  return { ...each, kernel, launches, times, method: graph === null ? 'calls' : 'graph', round, free };
}

function milliseconds(device: Device, work: () => void): number {
  const start = performance.now();
  work();
  synchronize(device);
  return performance.now() - start;
}

/** A graph of that work, which has run once; null where it cannot be recorded. */
function recorded(device: Device, work: () => void): number | null {
  if (device.index === 0) return null;
  try {
    beginCapture(device);
    work();
    const graph = endCapture(device);
    milliseconds(device, () => replayGraph(device, graph));
    return graph;
  } catch (error) {
    abortCapture(device);
    if (error instanceof FracstrideError) return null;
    throw error;
  }
}

/** New tensors for the operands of a problem, random where they are read. */
export function operands(device: string, problem: Problem): Pointer[] {
  const form = contraction(problem.op, problem.pass);
  const { c, hw } = gradSide(problem);
  const shared = operandElements(form, problem.geometry);
  const elements: Record<string, number> = form === 'bgrad' ? { grad: problem.geometry.n * c * hw, bias: c } : shared;
  const { dtype } = problem;
  return OPERANDS[form].map(({ name, role, optional }) => {
    if (optional) return NULL;
    const make = role === 'out' ? empty : rand;
    return pointer(Tensor.window(make([elements[name]!], { device, dtype })));
  });
}

function timingOf(runner: Runner, problem: Problem, copies: number): Timing {
  const { variant, kernel, chosen, library, times, launches, method } = runner;
  const { median, min, p90 } = quantiles(times);
  const short = (value: number): number => Number(value.toPrecision(4));
  return {
    ...{ variant, kernel, chosen, library },
    ...{ us_median: short(median), us_min: short(min), us_p90: short(p90), rounds: times.length, launches },
    tflops: short(flops(problem) / median / 1e6),
    gbs: short(bytes(problem) / median / 1e3),
    ...{ copies, method },
  };
}
