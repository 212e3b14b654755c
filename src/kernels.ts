/**
 * (what is asked, device) → kernel → launch. The first time a problem comes, a kernel is chosen, named and loaded; from
 * then on its key leads straight to a handle, a launch geometry and packed scalars. Knows buffers, no tensors.
 */

import { operationArguments, operationKernel, type StorageType } from '../codegen/operations.js';
import { type Arg, scalarArguments } from '../codegen/passes.js';
import { ACTIVATIONS, makeProblem, type Problem, problemKey } from '../codegen/problem.js';
import { candidates, choose, kernelName, launchGeometry, specArguments } from '../codegen/spec.js';
import { cpuIsa, type Device, debug, debugging, kernelGeneration, targetOf, translate, verbs } from './device.js';

/** Part of a buffer: `bytes` from `byteOffset`. Handle 0 is the null pointer. */
export interface Pointer {
  readonly handle: number;
  readonly byteOffset: number;
  readonly bytes: number;
}

export const NULL: Pointer = Object.freeze({ handle: 0, byteOffset: 0, bytes: 0 });

interface Kernel {
  readonly name: string;
  readonly handle: number;
  readonly grid: readonly [number, number, number];
  readonly block: readonly [number, number, number];
  readonly sharedBytes: number;
  /** The staging area's contents but for pointers and the slope; pointers come first in every argument list. */
  readonly packed: Float64Array;
  readonly slopeAt: number;
}

const ONE = [1, 1, 1] as const;
let ran = '';
let generation = -1;
let problems: Map<string, Kernel>[] = [];
let operations: Map<string, Kernel>[] = [];

/** The name of the kernel that ran last on this thread; empty before the first. */
export function lastKernel(): string {
  return ran;
}

/**
 * Runs a contraction. `pointers` are its operands in the order of `OPERANDS`, outputs last; `slope` is leaky_relu's.
 *
 * @throws FracstrideError what `choose`, loading or launching throw
 */
export function runProblem(device: Device, problem: Problem, pointers: readonly Pointer[], slope: number): void {
  const known = table('problems', device);
  const key = problemKey(problem);
  let kernel = known.get(key);
  if (kernel === undefined) {
    kernel = prepare(device, makeProblem(problem));
    known.set(key, kernel);
  }
  const args = verbs().args;
  args.set(kernel.packed);
  if (kernel.slopeAt >= 0) args[kernel.slopeAt] = slope;
  launch(device, kernel, pointers);
}

/** Runs any other kernel by its operation's name: pointers first, then scalars, in the order of its argument table. */
export function runOperation(
  device: Device,
  operation: { readonly name: string; readonly type: string },
  pointers: readonly Pointer[],
  scalars: readonly number[],
): void {
  const known = table('operations', device);
  const key = `${operation.name} ${operation.type}`;
  let kernel = known.get(key);
  if (kernel === undefined) {
    kernel = find(device, operation.name, operation.type as StorageType);
    known.set(key, kernel);
  }
  verbs().args.set(scalars, 3 * pointers.length);
  launch(device, kernel, pointers);
}

function table(kind: 'problems' | 'operations', device: Device): Map<string, Kernel> {
  if (generation !== kernelGeneration()) {
    generation = kernelGeneration();
    problems = [];
    operations = [];
  }
  const tables = kind === 'problems' ? problems : operations;
  let found = tables[device.index];
  if (found === undefined) {
    found = new Map();
    tables[device.index] = found;
  }
  return found;
}

function prepare(device: Device, problem: Problem): Kernel {
  const target = targetOf(device);
  const spec = choose(problem, target);
  const name = kernelName(spec);
  if (debugging(3)) explain(name, candidates(problem, target));
  const args = specArguments(spec);
  const { grid, block, sharedBytes } = launchGeometry(spec, problem);
  const values = scalarArguments(problem, 0, ACTIVATIONS.indexOf(problem.activation));
  const packed = new Float64Array(args.reduce((slots, arg) => slots + (arg.kind === 'p' ? 3 : 1), 0));
  const pointers = args.filter((arg) => arg.kind === 'p').length;
  args.slice(pointers).forEach((arg, i) => {
    packed[3 * pointers + i] = values[arg.name]!;
  });
  const slope = args.findIndex((arg) => arg.name === 'slope');
  const slopeAt = slope < 0 ? -1 : 2 * pointers + slope;
  return { name, handle: load(device, name, args), grid, block, sharedBytes, packed, slopeAt };
}

function find(device: Device, operation: string, type: StorageType): Kernel {
  const name = operationKernel(operation, type, cpuIsa());
  const handle = load(device, name, operationArguments(operation));
  return { name, handle, grid: ONE, block: ONE, sharedBytes: 0, packed: new Float64Array(0), slopeAt: -1 };
}

function load(device: Device, name: string, args: readonly Arg[]): number {
  return translate(() => verbs().load(device.index, name, args.map((arg) => arg.kind).join(''), null));
}

function launch(device: Device, kernel: Kernel, pointers: readonly Pointer[]): void {
  const addon = verbs();
  const args = addon.args;
  for (let i = 0; i < pointers.length; i++) {
    const pointer = pointers[i]!;
    args[3 * i] = pointer.handle;
    args[3 * i + 1] = pointer.byteOffset;
    args[3 * i + 2] = pointer.bytes;
  }
  const start = debugging(2) ? process.hrtime.bigint() : 0n;
  const { grid, block } = kernel;
  translate(() =>
    addon.launch(
      device.index,
      kernel.handle,
      grid[0],
      grid[1],
      grid[2],
      block[0],
      block[1],
      block[2],
      kernel.sharedBytes,
    ),
  );
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
