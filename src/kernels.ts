/**
 * (what is asked, device) → kernel → launch. The first time a problem comes, a kernel is chosen, named and loaded; from
 * then on its value leads straight to a handle, a launch geometry and packed scalars. Knows buffers, no tensors.
 */

import { argumentsOf, launcherOf } from '../codegen/kernel.js';
import type { StorageType } from '../codegen/operations.js';
import { makeProblem, type Problem, ProblemMap } from '../codegen/problem.js';
import type { LaunchGeometry } from '../codegen/variant.js';
import { type Call, type Contraction, chooseFor, chooseOwn, kernelNameOf, setPreference } from './choice.js';
import { noteNondeterminism } from './determinism.js';
import {
  choiceGeneration,
  type Device,
  debug,
  debugging,
  kernelGeneration,
  targetOf,
  translate,
  verbs,
} from './device.js';
import { type LoadedKernel, loadKernel } from './images.js';
import { launch, launchOwn, type OwnKernel, setGrid, staging } from './launch.js';
import { libraryChoice } from './libraries.js';
import { type LaunchOperation, type LibraryPlan, type Pointer, setPointers } from './plan.js';
import { float32Products } from './products.js';
import { winogradMode } from './winograd.js';

export { candidatesOn } from './choice.js';
export { NULL, type Pointer } from './plan.js';

/** Any other kernel: its launch depends on its scalars. */
interface Operation extends LoadedKernel {
  readonly launcher: ((scalars: ArrayLike<number>) => LaunchGeometry) | null;
  /** Whether its pointers are one argument, a table of any number of them. */
  readonly table: boolean;
}

/** What is asked at each call; what computes it may be exchanged. */
interface Entry {
  by: Contraction;
  /** For calls that a library's plan does not take; null until there is one. */
  own: OwnKernel | null;
}

/** The kernels of a device that have run. */
interface Known {
  /** Under the settings of now, and those of others. */
  problems: ProblemMap<Entry>;
  choice: number;
  readonly chosen: Map<string, ProblemMap<Entry>>;
  readonly entries: Entry[];
  readonly launch: LaunchOperation;
  /** By name, then by type. */
  readonly operations: Map<string, Map<string, Operation>>;
}

const ONE: LaunchGeometry = { grid: [1, 1, 1], block: [1, 1, 1], sharedBytes: 0 };
let ran = '';
let generation = -1;
let devices: (Known | undefined)[] = [];

/** The name of the kernel that ran last on this thread; empty before the first. */
export function lastKernel(): string {
  return ran;
}

/** What a kernel was looked up for: a contraction, or any other operation. */
export type Asked = Problem | { readonly operation: string; readonly type: string };

let observer: ((asked: Asked, device: Device, kernel: string) => void) | null = null;

/** Tells `fn` of every look-up that ends in a kernel for the first time; null stops it. */
export function observeKernels(fn: typeof observer): void {
  observer = fn;
}

/**
 * Contractions run this variant of the catalogue wherever it is legal, with the settings that follow its name if any do
 * (`phase_t4x8_b32x4`), and where it is not the one that is named second; null: the cheapest.
 */
export function preferVariant(name: string | null, otherwise: string | null = null): void {
  setPreference(name, otherwise);
  generation = -1;
}

/**
 * Runs a contraction. `pointers` are its operands in the order of `OPERANDS`, outputs last; `slope` is leaky_relu's.
 *
 * @throws FracstrideError what `choose`, loading or launching throw
 */
export function runProblem(device: Device, problem: Problem, pointers: readonly Pointer[], slope: number): void {
  const found = known(device);
  const entry = found.problems.get(problem) ?? enter(found, { device, problem, pointers, slope, launch: found.launch });
  const { by } = entry;
  const start = debugging(2) ? process.hrtime.bigint() : 0n;
  if (by.plan !== null) {
    runPlan(entry, by.plan, { device, problem, pointers, slope, launch: found.launch });
  } else {
    launchOwn(by, { device, pointers, slope, launch: found.launch });
    ran = by.name;
  }
  if (debugging(1)) report(device, ran, start);
}

/** Calls that a library's plan does not take, or not any more, go to a kernel of this package. */
function runPlan(entry: Entry, plan: LibraryPlan, call: Call): void {
  if (plan.takes(call.pointers)) {
    if (plan.run(call.pointers, call.slope)) {
      ran = plan.name;
      if (!plan.deterministic) noteNondeterminism(ran);
      return;
    }
    plan.free();
    entry.own ??= chooseOwn(call);
    entry.by = entry.own;
  }
  entry.own ??= chooseOwn(call);
  launchOwn(entry.own, call);
  ran = entry.own.name;
}

function enter(found: Known, call: Call): Entry {
  const problem = makeProblem(call.problem);
  const entry: Entry = { by: chooseFor({ ...call, problem }), own: null };
  found.problems.add(problem, entry);
  found.entries.push(entry);
  observer?.(problem, call.device, kernelNameOf(entry.by));
  return entry;
}

/**
 * Runs any other kernel by its operation's name: pointers first, then scalars, in the order of its argument table. All
 * pointers of a kernel that takes a table of them go into that one argument.
 */
export function runOperation(
  device: Device,
  operation: { readonly name: string; readonly type: string },
  pointers: readonly Pointer[],
  scalars: readonly number[],
): void {
  const { operations } = known(device);
  const kernel = operations.get(operation.name)?.get(operation.type) ?? find(device, operations, operation);
  const { args, grid } = staging();
  const start = kernel.table ? 1 : 0;
  if (kernel.table) args[0] = pointers.length;
  setPointers(args, start, pointers);
  args.set(scalars, start + 3 * pointers.length);
  setGrid(grid, kernel.launcher === null ? ONE : kernel.launcher(scalars));
  const begun = debugging(2) ? process.hrtime.bigint() : 0n;
  launch(device, kernel.handle);
  ran = kernel.name;
  if (debugging(1)) report(device, kernel.name, begun);
}

function known(device: Device): Known {
  if (generation !== kernelGeneration()) {
    generation = kernelGeneration();
    for (const found of devices) if (found !== undefined) forget(found);
    devices = [];
  }
  const found = devices[device.index] ?? fresh(device);
  if (found.choice !== choiceGeneration()) chooseAnew(found);
  return found;
}

function fresh(device: Device): Known {
  const operations = new Map();
  const made: Known = {
    ...{ problems: new ProblemMap(), choice: -1, chosen: new Map(), entries: [], operations },
    launch: (operation, pointers, scalars) => runOperation(device, operation, pointers, scalars),
  };
  devices[device.index] = made;
  return made;
}

/** Settings that come back find what was chosen under them. */
function chooseAnew(found: Known): void {
  found.choice = choiceGeneration();
  const settings = `${libraryChoice()} ${winogradMode()} ${float32Products()}`;
  found.problems = found.chosen.get(settings) ?? new ProblemMap();
  found.chosen.set(settings, found.problems);
}

function forget({ entries }: Known): void {
  for (const { by } of entries) by.plan?.free();
}

function find(
  device: Device,
  operations: Known['operations'],
  { name: operation, type: word }: { readonly name: string; readonly type: string },
): Operation {
  const type = word as StorageType;
  const spec = { operation, type, target: targetOf(device) };
  const { name, handle } = loadKernel(device, spec);
  const found = { name, handle, launcher: launcherOf(spec), table: argumentsOf(spec)[0]?.kind === 'P' };
  const types = operations.get(operation) ?? new Map<string, Operation>();
  operations.set(operation, types.set(type, found));
  observer?.({ operation, type }, device, name);
  return found;
}

function report(device: Device, name: string, start: bigint): void {
  if (debugging(2)) translate(() => verbs().sync(device.index));
  const time = debugging(2) ? ` ${(Number(process.hrtime.bigint() - start) / 1e3).toFixed(1)} µs` : '';
  debug(1, `${device.name} ${name}${time}`);
}
