/**
 * What computes a problem on a device: what somebody prefers, else what was found fastest where that is asked for, else
 * the cheapest row of the catalogue that can be had. Asked once for each problem and settings.
 */

import type { Problem } from '../codegen/problem.js';
import { type Candidate, candidates, isLibrary, NO_LIBRARY } from '../codegen/spec.js';
import { type Contestant, fastestOf, recalled, remembered, type Winner } from './benchmark.js';
import { contractHolds } from './determinism.js';
import { allocate, type Device, debug, debugging, isCapturing, release, targetOf } from './device.js';
import { FracstrideError } from './errors.js';
import { launchOwn, type OwnKernel, ownKernel } from './launch.js';
import { libraryIdentity, libraryTimes, libraryUse, planWithLibrary } from './libraries.js';
import type { LaunchOperation, LibraryPlan, Pointer } from './plan.js';
import { float32Products } from './products.js';
import { winogradMode } from './winograd.js';

/** A kernel of this package, or a library's way. */
export type Contraction = OwnKernel | { readonly plan: LibraryPlan };

/** One call of a contraction. */
export interface Call {
  readonly device: Device;
  readonly problem: Problem;
  readonly pointers: readonly Pointer[];
  readonly slope: number;
  /** For what a library leaves to kernels of this package. */
  readonly launch: LaunchOperation;
}

const VECTOR = 16;
let preferred: string | null = null;

/** Every row of the catalogue for a problem, as this device, its libraries and the settings of now have it. */
export function candidatesOn(device: Device, problem: Problem): Candidate[] {
  const target = targetOf(device);
  return target.kind === 'cpu'
    ? candidates(problem, target, NO_LIBRARY, { winograd: winogradMode() })
    : candidates(problem, target, libraryUse(), { products: float32Products() });
}

/** From now on the variant of this name, with the settings that follow it if any do; null: no preference. */
export function setPreference(name: string | null): void {
  preferred = name;
}

/** @throws FracstrideError what planning, loading and the determinism contract throw */
export function chooseFor(call: Call): Contraction {
  const rows = candidatesOn(call.device, call.problem);
  if (debugging(3)) explain(rows);
  const legal = rows.filter(({ cost }) => cost !== null).sort((a, b) => a.cost! - b.cost!);
  const by = fastest(call, competing(legal)) ?? preferredOf(call, legal) ?? cheapest(call, legal);
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

const wordsOf = ({ variant, tunables }: Candidate): string => [variant, ...Object.values(tunables)].join('_');

/** Who may take part where the fastest is taken: everybody, or a preferred library's own ways among themselves. */
function competing(legal: readonly Candidate[]): readonly Candidate[] {
  if (preferred === null) return legal;
  return legal.filter(({ variant, spec }) => variant === preferred && isLibrary(spec!));
}

function preferredOf(call: Call, legal: readonly Candidate[]): Contraction | null {
  return preferred === null ? null : named(call, legal, preferred);
}

/** The cheapest row of this name, be it a variant's alone or with its settings; null when there is none to be had. */
function named(call: Call, legal: readonly Candidate[], name: string): Contraction | null {
  const own = legal.find((row) => row.variant === name || wordsOf(row) === name);
  if (own !== undefined) return made(call, own, null);
  const library = legal.find(({ variant, spec }) => isLibrary(spec!) && name.startsWith(`${variant}_`));
  return library === undefined ? null : made(call, library, name.slice(library.variant.length + 1));
}

/** Null when the library has nothing for it here. */
function made(call: Call, { spec, variant }: Candidate, algorithm: string | null): Contraction | null {
  const { device, problem, launch } = call;
  if (!isLibrary(spec!)) return ownKernel(device, problem, spec!);
  const plan = planWithLibrary({ device, problem, spec: spec!, algorithm, launch });
  if (typeof plan !== 'string') return { plan };
  debug(3, `  ${variant}: ${plan}`);
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
  const winner = race(call, rows);
  const taken = winner === null ? null : remembered(question, winner);
  // A choice by time that other runs would not find again is none to build on while results must be the same.
  if (winner === null || (!taken?.kept && contractHolds())) return null;
  return named(call, rows, taken?.words ?? winner.words);
}

/** Times the best of each variant and the library's best on a scratch copy of the output. */
function race(call: Call, legal: readonly Candidate[]): Winner | null {
  const { device, pointers } = call;
  const out = pointers.at(-1)!;
  let scratch = 0;
  const plans: LibraryPlan[] = [];
  try {
    scratch = allocate(device, out.bytes);
    const operands = [...pointers.slice(0, -1), { handle: scratch, byteOffset: 0, bytes: out.bytes }];
    const trial = { ...call, pointers: operands };
    const best = legal.filter((row, i) => legal.findIndex(({ variant }) => variant === row.variant) === i);
    return fastestOf(
      device,
      best.flatMap((row) => contestants(trial, row, plans)),
    );
  } catch (error) {
    if (!(error instanceof FracstrideError) || error.code !== 'ERR_OUT_OF_MEMORY') throw error;
    debug(3, `  no room to time kernels: ${error.message}`);
    return null;
  } finally {
    for (const plan of plans) plan.free();
    if (scratch !== 0) release(device, scratch);
  }
}

/** How many of the library's ways are timed beside the kernels of this package. */
const LIBRARY_CONTESTANTS = 3;

function contestants(call: Call, row: Candidate, plans: LibraryPlan[]): Contestant[] {
  const { pointers, slope } = call;
  const by = orNull(() => made(call, row, null));
  if (by === null) return [];
  if (by.plan === null) return [{ words: wordsOf(row), run: () => launched(by, call) }];
  plans.push(by.plan);
  const found = by.plan.find(pointers).slice(0, LIBRARY_CONTESTANTS);
  return found.flatMap((settings) => {
    const each = made(call, row, settings === '' ? null : settings);
    if (each === null || each.plan === null) return [];
    const { plan } = each;
    plans.push(plan);
    // One that has to go on to other settings is none to be named after these.
    const asNamed = () => plan.run(pointers, slope) && plan.settled === settings;
    return [{ words: [row.variant, settings].filter(Boolean).join('_'), run: asNamed }];
  });
}

function launched(kernel: OwnKernel, call: Call): true {
  launchOwn(kernel, call);
  return true;
}

/** A kernel that cannot be compiled here does not take part. */
function orNull<T>(make: () => T): T | null {
  try {
    return make();
  } catch (error) {
    const codes = ['ERR_KERNEL_COMPILE', 'ERR_KERNEL_NOT_PREBUILT'];
    if (!(error instanceof FracstrideError) || !codes.includes(error.code)) throw error;
    debug(3, `  ${error.message}`);
    return null;
  }
}

function explain(rows: readonly Candidate[]): void {
  debug(3, 'the catalogue has');
  for (const row of rows) {
    const tunables = Object.entries(row.tunables).map(([key, value]) => `${key}=${value}`);
    debug(3, `  ${[row.variant, ...tunables].join(' ')}: ${row.reason ?? `cost ${row.cost}`}`);
  }
}
