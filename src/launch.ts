/** A loaded kernel of this package and its launch: the staging area filled, the addon called. */

import { type Arg, scalarArguments } from '../codegen/passes.js';
import { ACTIVATIONS, type Problem } from '../codegen/problem.js';
import { launchGeometry, type Spec, specArguments } from '../codegen/spec.js';
import type { LaunchGeometry } from '../codegen/variant.js';
import { type Device, translate, verbs } from './device.js';
import { type LoadedKernel, loadKernel } from './images.js';
import type { Native } from './native.js';
import { type Pointer, setPointers } from './plan.js';

/** A contraction's kernel, and everything of its launch but pointers and slope. */
export interface OwnKernel extends LoadedKernel {
  readonly plan: null;
  readonly grid: Uint32Array;
  /** The staging area's contents; pointers come first in every argument list. */
  readonly packed: Float64Array;
  /** Where the slope belongs, -1 where there is none. */
  readonly slopeAt: number;
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
  const values = scalarArguments(problem, 0, ACTIVATIONS.indexOf(problem.activation));
  const slots = args.flatMap((arg) => (isPointer(arg) ? [0, 0, 0] : [values[arg.name]!]));
  const slope = args.findIndex((arg) => arg.name === 'slope');
  const slopeAt = slope < 0 ? -1 : slope + 2 * args.filter(isPointer).length;
  const grid = setGrid(new Uint32Array(7), launchGeometry(spec, problem));
  return { plan: null, name, handle, grid, packed: Float64Array.from(slots), slopeAt };
}

/** @throws FracstrideError what launching throws */
export function launchOwn(device: Device, kernel: OwnKernel, pointers: readonly Pointer[], slope: number): void {
  const { args, grid } = staging();
  args.set(kernel.packed);
  if (kernel.slopeAt >= 0) args[kernel.slopeAt] = slope;
  setPointers(args, 0, pointers);
  grid.set(kernel.grid);
  launch(device, kernel.handle);
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
