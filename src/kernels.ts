/**
 * (what is asked, device) → kernel → launch. The first time a problem comes, a kernel is chosen, named and loaded; from
 * then on its value leads straight to a handle, a launch geometry and packed scalars. Knows buffers, no tensors.
 */

import { argumentsOf, launcherOf } from '../codegen/kernel.js';
import type { StorageType } from '../codegen/operations.js';
import { type Arg, scalarArguments } from '../codegen/passes.js';
import { ACTIVATIONS, makeProblem, type Problem, ProblemMap } from '../codegen/problem.js';
import { type Candidate, candidates, choose, launchGeometry, type Spec, specArguments } from '../codegen/spec.js';
import type { Target } from '../codegen/target.js';
import type { LaunchGeometry } from '../codegen/variant.js';
import { type Device, debug, debugging, kernelGeneration, targetOf, translate, verbs } from './device.js';
import { type LoadedKernel, loadKernel } from './images.js';
import type { Native } from './native.js';

/** Part of a buffer: `bytes` from `byteOffset`. Handle 0 is the null pointer. */
export interface Pointer {
  readonly handle: number;
  readonly byteOffset: number;
  readonly bytes: number;
}

export const NULL: Pointer = Object.freeze({ handle: 0, byteOffset: 0, bytes: 0 });

/** A contraction's kernel, and everything of its launch but pointers and slope. */
interface Contraction extends LoadedKernel {
  readonly grid: Uint32Array;
  /** The staging area's contents; pointers come first in every argument list. */
  readonly packed: Float64Array;
  /** Where the slope belongs, -1 where there is none. */
  readonly slopeAt: number;
}

/** Any other kernel: its launch depends on its scalars. */
interface Operation extends LoadedKernel {
  readonly launcher: ((scalars: ArrayLike<number>) => LaunchGeometry) | null;
  /** Whether its pointers are one argument, a table of any number of them. */
  readonly table: boolean;
}

/** The kernels of a device that have run. */
interface Known {
  readonly problems: ProblemMap<Contraction>;
  /** By name, then by type. */
  readonly operations: Map<string, Map<string, Operation>>;
}

const ONE: LaunchGeometry = { grid: [1, 1, 1], block: [1, 1, 1], sharedBytes: 0 };
let ran = '';
let generation = -1;
let devices: Known[] = [];
let addon: Native | null = null;

/** The name of the kernel that ran last on this thread; empty before the first. */
export function lastKernel(): string {
  return ran;
}

/** What a kernel was looked up for: a contraction, or any other operation. */
export type Asked = Problem | { readonly operation: string; readonly type: string };

let observer: ((asked: Asked, device: Device, kernel: string) => void) | null = null;
let preferred: string | null = null;

/** Tells `fn` of every look-up that ends in a kernel for the first time; null stops it. */
export function observeKernels(fn: typeof observer): void {
  observer = fn;
}

/** Contractions run this variant of the catalogue wherever it is legal; null: the cheapest. */
export function preferVariant(name: string | null): void {
  preferred = name;
  generation = -1;
}

/**
 * Runs a contraction. `pointers` are its operands in the order of `OPERANDS`, outputs last; `slope` is leaky_relu's.
 *
 * @throws FracstrideError what `choose`, loading or launching throw
 */
export function runProblem(device: Device, problem: Problem, pointers: readonly Pointer[], slope: number): void {
  const { problems } = known(device);
  let kernel = problems.get(problem);
  if (kernel === undefined) {
    const asked = makeProblem(problem);
    kernel = prepare(device, asked);
    problems.add(asked, kernel);
    observer?.(asked, device, kernel.name);
  }
  const { args, grid } = staging();
  args.set(kernel.packed);
  if (kernel.slopeAt >= 0) args[kernel.slopeAt] = slope;
  setPointers(args, 0, pointers);
  grid.set(kernel.grid);
  launch(device, kernel);
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
  launch(device, kernel);
}

function known(device: Device): Known {
  if (generation !== kernelGeneration()) {
    generation = kernelGeneration();
    devices = [];
  }
  devices[device.index] ??= { problems: new ProblemMap(), operations: new Map() };
  return devices[device.index]!;
}

function staging(): Native {
  addon ??= verbs();
  return addon;
}

function setPointers(args: Float64Array, start: number, pointers: readonly Pointer[]): void {
  let slot = start;
  for (const pointer of pointers) {
    args[slot] = pointer.handle;
    args[slot + 1] = pointer.byteOffset;
    args[slot + 2] = pointer.bytes;
    slot += 3;
  }
}

function setGrid(grid: Uint32Array, { grid: g, block: b, sharedBytes }: LaunchGeometry): Uint32Array {
  grid.set(g);
  grid.set(b, 3);
  grid[6] = sharedBytes;
  return grid;
}

function prepare(device: Device, problem: Problem): Contraction {
  const target = targetOf(device);
  const spec = chooseSpec(problem, target);
  const { name, handle } = loadKernel(device, spec);
  if (debugging(3)) explain(name, candidates(problem, target));
  const args = specArguments(spec);
  const isPointer = (arg: Arg): boolean => arg.kind === 'p';
  const values = scalarArguments(problem, 0, ACTIVATIONS.indexOf(problem.activation));
  const slots = args.flatMap((arg) => (isPointer(arg) ? [0, 0, 0] : [values[arg.name]!]));
  const slope = args.findIndex((arg) => arg.name === 'slope');
  const slopeAt = slope < 0 ? -1 : slope + 2 * args.filter(isPointer).length;
  const grid = setGrid(new Uint32Array(7), launchGeometry(spec, problem));
  return { name, handle, grid, packed: Float64Array.from(slots), slopeAt };
}

function chooseSpec(problem: Problem, target: Target): Spec {
  let best: Candidate | undefined;
  for (const row of preferred === null ? [] : candidates(problem, target)) {
    if (row.variant === preferred && row.cost !== null && row.cost < (best?.cost ?? Infinity)) best = row;
  }
  return best?.spec ?? choose(problem, target);
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

function launch(device: Device, kernel: LoadedKernel): void {
  const start = debugging(2) ? process.hrtime.bigint() : 0n;
  translate(() => staging().launch(device.index, kernel.handle));
  ran = kernel.name;
  if (debugging(1)) report(device, kernel.name, start);
}

function report(device: Device, name: string, start: bigint): void {
  if (debugging(2)) translate(() => verbs().sync(device.index));
  const time = debugging(2) ? ` ${(Number(process.hrtime.bigint() - start) / 1e3).toFixed(1)} µs` : '';
  debug(1, `${device.name} ${name}${time}`);
}

function explain(chosen: string, rows: ReturnType<typeof candidates>): void {
  debug(3, `chose ${chosen} among`);
  for (const row of rows) {
    const tunables = Object.entries(row.tunables).map(([key, value]) => `${key}=${value}`);
    debug(3, `  ${[row.variant, ...tunables].join(' ')}: ${row.reason ?? `cost ${row.cost}`}`);
  }
}
