/**
 * What computes a problem on a device: what somebody prefers, else what was found fastest where that is asked for, else
 * the cheapest row of the catalogue that can be had. Asked once for each problem and settings.
 */

import type { Problem } from '../codegen/problem.js';
import { type Candidate, candidates, isLibrary, NO_LIBRARY, wordsOf } from '../codegen/spec.js';
import { recalled, remembered } from './benchmark.js';
import { bestOfEach, type Call, type Contraction, made, named, orNull, race } from './contest.js';
import { contractHolds } from './determinism.js';
import { type Device, debug, debugging, isCapturing, targetOf } from './device.js';
import { FracstrideError } from './errors.js';
import { type OwnKernel, ownKernel } from './launch.js';
import { libraryIdentity, libraryTimes, libraryUse } from './libraries.js';
import { float32Products } from './products.js';
import { type Microseconds, tunedWays } from './tunings.js';
import { winogradMode } from './winograd.js';

export type { Call, Contraction } from './contest.js';

const VECTOR = 16;
let preferred: string | null = null;
/** What runs where the preferred one is refused, before the cheapest. */
let otherwise: string | null = null;

/** Every row of the catalogue for a problem, as this device, its libraries and the settings of now have it. */
export function candidatesOn(device: Device, problem: Problem): Candidate[] {
  const target = targetOf(device);
  return target.kind === 'cpu'
    ? candidates(problem, target, NO_LIBRARY, { winograd: winogradMode() })
    : candidates(problem, target, libraryUse(), { products: float32Products() });
}

/**
 * From now on the variant of this name, with the settings that follow it if any do, and where it is refused the one that is
 * named second; null: no preference.
 */
export function setPreference(name: string | null, second: string | null): void {
  preferred = name;
  otherwise = second;
}

/** @throws FracstrideError what planning, loading and the determinism contract throw */
export function chooseFor(call: Call): Contraction {
  const rows = candidatesOn(call.device, call.problem);
  if (debugging(3)) explain(rows);
  const legal = rows.filter(({ cost }) => cost !== null).sort((a, b) => a.cost! - b.cost!);
  const by = tuned(call, legal) ?? fastest(call, competing(legal)) ?? preferredOf(call, legal) ?? cheapest(call, legal);
  debug(3, `chose ${kernelNameOf(by)}`);
  return by;
}

/** The cheapest kernel of this package. */
export function chooseOwn({ device, problem }: Call): OwnKernel {
  const own = candidatesOn(device, problem).filter(({ spec }) => spec !== null && !isLibrary(spec));
  return ownKernel(device, problem, own.sort((a, b) => a.cost! - b.cost!)[0]!.spec!);
}

export function kernelNameOf(by: Contraction): string {
  return by.plan === null ? by.name : by.plan.name;
}

function cheapest(call: Call, legal: readonly Candidate[]): Contraction {
  for (const row of legal) {
    const by = made(call, row, null);
    if (by !== null) return by;
  }
  const sentence = `kernels: some variant must be legal, got none on ${call.device.name}`;
  throw new FracstrideError('ERR_KERNEL_COMPILE', sentence);
}

/** Who may take part where the fastest is taken: everybody, or a preferred library's own ways among themselves. */
function competing(legal: readonly Candidate[]): readonly Candidate[] {
  if (preferred === null) return legal;
  return legal.filter(({ variant, spec }) => variant === preferred && isLibrary(spec!));
}

function preferredOf(call: Call, legal: readonly Candidate[]): Contraction | null {
  for (const name of [preferred, otherwise]) {
    const by = name === null ? null : named(call, legal, name);
    if (by !== null) return by;
  }
  return null;
}

/** What was found fastest on a device like this one and can be had here; null where nobody has tuned it. */
function tuned(call: Call, legal: readonly Candidate[]): Contraction | null {
  if (preferred !== null) return null;
  for (const words of tunedWays(call.device, call.problem)) {
    const by = orNull(() => named(call, legal, words));
    if (by !== null) return by;
  }
  return null;
}

/** What is fastest of these by trying, now or before; null where that is not asked for or cannot be done. */
function fastest(call: Call, rows: readonly Candidate[]): Contraction | null {
  if (!libraryTimes() || rows.length === 0 || targetOf(call.device).kind === 'cpu') return null;
  // Nor is one call whose operands lie where vectors cannot be read an answer for the others.
  if (call.pointers.some(({ byteOffset }) => byteOffset % VECTOR !== 0)) return null;
  const among = preferred === null ? '' : ` among ${preferred}`;
  const question = { device: call.device, problem: call.problem, library: `${libraryIdentity()}${among}` };
  const before = recalled(question);
  const known = before === null ? null : named(call, rows, before);
  if (known !== null) return known;
  // What is recorded into a graph does not run, so it cannot be timed.
  if (isCapturing(call.device)) return null;
  const winner = race(call, bestOfEach(rows));
  const taken = winner === null ? null : remembered(question, winner);
  // A choice by time that other runs would not find again is none to build on while results must be the same.
  if (winner === null || (!taken?.kept && contractHolds())) return null;
  return named(call, rows, taken?.words ?? winner.words);
}

/**
 * Times the `most` cheapest candidates and the cheapest of each variant on a scratch copy of the output; null where none
 * runs. A library's ways are named with what they depend on.
 */
export function timeCandidates(call: Call, most: number): Microseconds | null {
  const legal = candidatesOn(call.device, call.problem)
    .filter(({ cost }) => cost !== null)
    .sort((a, b) => a.cost! - b.cost!);
  const rows = [...new Set([...legal.slice(0, most), ...bestOfEach(legal)])];
  const own = new Set(rows.filter(({ spec }) => !isLibrary(spec!)).map(wordsOf));
  const times = Object.entries(race(call, rows)?.microseconds ?? {});
  if (times.length === 0) return null;
  return Object.fromEntries(times.map(([way, us]) => [own.has(way) ? way : `${way} ${libraryIdentity()}`, us]));
}

function explain(rows: readonly Candidate[]): void {
  debug(3, 'the catalogue has');
  for (const row of rows) {
    const tunables = Object.entries(row.tunables).map(([key, value]) => `${key}=${value}`);
    debug(3, `  ${[row.variant, ...tunables].join(' ')}: ${row.reason ?? `cost ${row.cost}`}`);
  }
}
