/** Which of several ways to compute a problem is fastest here, by trying, and what was found before. */

import { type Problem, problemKey } from '../codegen/problem.js';
import { type Device, debug, identityOf, synchronize } from './device.js';
import { addTiming, readTiming } from './timings.js';

/** A way to compute a problem. */
export interface Contestant {
  /** Variant and settings, as in kernel names. */
  readonly words: string;
  /** False when it did not run as it is named. */
  readonly run: () => boolean;
}

/** What is asked, and on what the answer depends. */
export interface Question {
  readonly device: Device;
  readonly problem: Problem;
  /** Version and settings of the library that takes part. */
  readonly library: string;
}

export interface Winner {
  readonly words: string;
  readonly microseconds: Readonly<Record<string, number>>;
}

const known = new Map<string, string>();

/** Variant and settings of what was found fastest before, by this process or another; null when nobody has asked. */
export function recalled(question: Question): string | null {
  const text = textOf(question);
  const words = known.get(text) ?? readTiming(text)?.words ?? null;
  if (words !== null) known.set(text, words);
  return words;
}

/** Keeps an answer for the next process. Another's that was faster stays; `kept` says whether there is one on disk. */
export function remembered(question: Question, winner: Winner): { words: string; kept: boolean } {
  const text = textOf(question);
  const timing = addTiming(text, winner);
  const words = timing?.words ?? winner.words;
  known.set(text, words);
  return { words, kept: timing !== null };
}

/** Times each; null when there is none that runs. */
export function fastestOf(device: Device, contestants: readonly Contestant[]): Winner | null {
  const microseconds: Record<string, number> = {};
  for (const { words, run } of contestants) {
    const best = time(device, run);
    debug(3, `  ${words}: ${best === Infinity ? 'did not run' : `${best.toFixed(1)} µs`}`);
    if (best !== Infinity) microseconds[words] = Math.min(microseconds[words] ?? Infinity, best);
  }
  const [first] = Object.entries(microseconds).sort((a, b) => a[1] - b[1]);
  return first === undefined ? null : { words: first[0], microseconds };
}

/** Long enough that starting and waiting are small beside it, and no longer. */
const ENOUGH = 2000;
const MOST_RUNS = 20;
const ROUNDS = 3;

/** Microseconds of one run: the best of a few rounds, after one that warms up. */
function time(device: Device, run: () => boolean): number {
  const first = round(device, run, 1);
  const runs = Math.max(1, Math.min(MOST_RUNS, Math.floor(ENOUGH / first)));
  // What takes so long on its own is measured well enough by few.
  const rounds = first > 100 * ENOUGH ? 1 : ROUNDS;
  return Math.min(...Array.from({ length: rounds }, () => round(device, run, runs)));
}

function round(device: Device, run: () => boolean, runs: number): number {
  synchronize(device);
  const start = performance.now();
  for (let i = 0; i < runs; i++) if (!run()) return Infinity;
  synchronize(device);
  return ((performance.now() - start) * 1000) / runs;
}

function textOf({ device, problem, library }: Question): string {
  return `${identityOf(device)} | ${library} | ${problemKey(problem)}`;
}
