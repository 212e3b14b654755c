/** Candidates of the catalogue as something that runs, and which of them is fastest on a scratch copy of the output. */

import type { Problem } from '../codegen/problem.js';
import { type Candidate, isLibrary, wordsOf } from '../codegen/spec.js';
import { type Contestant, fastestOf, type Winner } from './benchmark.js';
import { allocate, type Device, debug, release } from './device.js';
import { FracstrideError } from './errors.js';
import { launchOwn, type OwnKernel, ownKernel } from './launch.js';
import { planWithLibrary } from './libraries.js';
import type { LaunchOperation, LibraryPlan, Pointer } from './plan.js';

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

/** The cheapest row of this name, be it a variant's alone or with its settings; null when there is none to be had. */
export function named(call: Call, legal: readonly Candidate[], name: string): Contraction | null {
  const own = legal.find((row) => row.variant === name || wordsOf(row) === name);
  if (own !== undefined) return made(call, own, null);
  const library = legal.find(({ variant, spec }) => isLibrary(spec!) && name.startsWith(`${variant}_`));
  return library === undefined ? null : made(call, library, name.slice(library.variant.length + 1));
}

/** Null when the library has nothing for it here. */
export function made(call: Call, { spec, variant }: Candidate, algorithm: string | null): Contraction | null {
  const { device, problem, launch } = call;
  if (!isLibrary(spec!)) return ownKernel(device, problem, spec!);
  const plan = planWithLibrary({ device, problem, spec: spec!, algorithm, launch });
  if (typeof plan !== 'string') return { plan };
  debug(3, `  ${variant}: ${plan}`);
  return null;
}

/** The first row of each variant. */
export function bestOfEach(rows: readonly Candidate[]): readonly Candidate[] {
  return rows.filter((row, i) => rows.findIndex(({ variant }) => variant === row.variant) === i);
}

/** Times candidates, of the library's several ways; null where none of them runs. */
export function race(call: Call, rows: readonly Candidate[]): Winner | null {
  const { device, pointers } = call;
  const out = pointers.at(-1)!;
  let scratch = 0;
  const plans: LibraryPlan[] = [];
  try {
    scratch = allocate(device, out.bytes);
    const operands = [...pointers.slice(0, -1), { handle: scratch, byteOffset: 0, bytes: out.bytes }];
    const trial = { ...call, pointers: operands };
    return fastestOf(
      device,
      rows.flatMap((row) => contestants(trial, row, plans)),
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
export function orNull<T>(make: () => T): T | null {
  try {
    return make();
  } catch (error) {
    const codes = ['ERR_KERNEL_COMPILE', 'ERR_KERNEL_NOT_PREBUILT'];
    if (!(error instanceof FracstrideError) || !codes.includes(error.code)) throw error;
    debug(3, `  ${error.message}`);
    return null;
  }
}
