/** A loaded kernel of this package and its launch: the staging area filled, the addon called. */

import { type Arg, scalarArguments } from '../codegen/passes.js';
import { ACTIVATIONS, type Problem } from '../codegen/problem.js';
import { launchGeometry, packingOf, type Spec, specArguments } from '../codegen/spec.js';
import type { LaunchGeometry, Packing } from '../codegen/variant.js';
import { allocate, type Device, release, translate, verbs } from './device.js';
import { type LoadedKernel, loadKernel } from './images.js';
import type { Native } from './native.js';
import { nextStamp, Packings } from './packings.js';
import { type Pointer, setPointers } from './plan.js';

/** A contraction's kernel, and everything of its launch but pointers and slope. */
export interface OwnKernel extends LoadedKernel {
  readonly plan: null;
  readonly grid: Uint32Array;
  /** The staging area's contents; pointers come first in every argument list. */
  readonly packed: Float64Array;
  /** Where the slope belongs, -1 where there is none. */
  readonly slopeAt: number;
  /** How it re-orders the weight, the second operand; null for what reads it where it lies. */
  readonly packing: Packing | null;
}

let addon: Native | null = null;

export function staging(): Native {
  addon ??= verbs();
  return addon;
}

/** @throws FracstrideError what loading throws */
export function ownKernel(device: Device, problem: Problem, spec: Spec): OwnKernel {
  const { name, handle } = loadKernel(device, spec);
  const args = specArguments(spec);
  const isPointer = (arg: Arg): boolean => arg.kind === 'p';
  const packing = packingOf(spec, problem);
  const sizes = scalarArguments(problem, 0, ACTIVATIONS.indexOf(problem.activation));
  const values: Record<string, number> = { ...sizes, packed_bytes: packing?.bytes ?? 0, stamp: 0 };
  const slots = args.flatMap((arg) => (isPointer(arg) ? [0, 0, 0] : [values[arg.name]!]));
  const slope = args.findIndex((arg) => arg.name === 'slope');
  const slopeAt = slope < 0 ? -1 : slope + 2 * args.filter(isPointer).length;
  const grid = setGrid(new Uint32Array(7), launchGeometry(spec, problem));
  const named = packing === null ? null : { ...packing, key: `${name} ${packing.key}` };
  return { plan: null, name, handle, grid, packed: Float64Array.from(slots), slopeAt, packing: named };
}

/** @throws FracstrideError what launching throws */
export function launchOwn(device: Device, kernel: OwnKernel, pointers: readonly Pointer[], slope: number): void {
  const { args, grid } = staging();
  args.set(kernel.packed);
  if (kernel.slopeAt >= 0) args[kernel.slopeAt] = slope;
  setPointers(args, 0, pointers);
  grid.set(kernel.grid);
  if (kernel.packing === null) launch(device, kernel.handle);
  else launchPacking(device, kernel, kernel.packing, pointers);
}

/** With the buffer in which the kernel finds, or leaves, the weight as it re-orders it. */
function launchPacking(device: Device, kernel: OwnKernel, { bytes, key }: Packing, pointers: readonly Pointer[]): void {
  const { home, byteOffset } = pointers[1]!;
  if (home === undefined) {
    launchOnce(device, kernel, bytes, pointers);
    return;
  }
  home.packings ??= new Packings(device);
  const { handle, stamp } = home.packings.take(`${key} ${byteOffset}`, bytes, home.version);
  setPacked(kernel, pointers, { handle, byteOffset: 0, bytes }, stamp);
  launch(device, kernel.handle);
}

/** For a weight of which nothing can be kept. */
function launchOnce(device: Device, kernel: OwnKernel, bytes: number, pointers: readonly Pointer[]): void {
  const handle = allocate(device, bytes);
  try {
    setPacked(kernel, pointers, { handle, byteOffset: 0, bytes }, nextStamp());
    launch(device, kernel.handle);
  } finally {
    release(device, handle);
  }
}

/** The buffer's pointer follows the operands', the stamp is the last argument. */
function setPacked(kernel: OwnKernel, pointers: readonly Pointer[], buffer: Pointer, stamp: number): void {
  const { args } = staging();
  setPointers(args, 3 * pointers.length, [buffer]);
  args[kernel.packed.length - 1] = stamp;
}

/** Launches with what the staging area holds. */
export function launch(device: Device, handle: number): void {
  translate(() => staging().launch(device.index, handle));
}

export function setGrid(grid: Uint32Array, { grid: g, block: b, sharedBytes }: LaunchGeometry): Uint32Array {
  grid.set(g);
  grid.set(b, 3);
  grid[6] = sharedBytes;
  return grid;
}
