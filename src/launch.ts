/** A loaded kernel of this package and its launch: the staging area filled, the addon called. */

import { type Arg, scalarArguments } from '../codegen/passes.js';
import { stridedScalars } from '../codegen/pointwise.js';
import { ACTIVATIONS, type Contraction, type Problem } from '../codegen/problem.js';
import { launchGeometry, packingOf, partingOf, type Spec, specArguments } from '../codegen/spec.js';
import { ACCUMULATOR_BYTES, DTYPE_TABLE } from '../codegen/target.js';
import { sidesOf } from '../codegen/tiles.js';
import type { LaunchGeometry, Packing, Parting } from '../codegen/variant.js';
import { allocate, type Device, isCapturing, release, translate, verbs } from './device.js';
import { type LoadedKernel, loadKernel } from './images.js';
import type { Native } from './native.js';
import { nextStamp, Packings } from './packings.js';
import { type LaunchOperation, NULL, type Pointer, setPointers } from './plan.js';

/** A contraction's kernel, and everything of its launch but pointers and slope. */
export interface OwnKernel extends LoadedKernel {
  readonly plan: null;
  readonly grid: Uint32Array;
  /** The staging area's contents; pointers come first in every argument list. */
  readonly packed: Float64Array;
  /** Where the slope belongs, -1 where there is none. */
  readonly slopeAt: number;
  /** How it re-orders the weight, the second operand; null for what reads it where it lies. */
  readonly packing: NamedPacking | null;
  /** The parts in which it leaves its sums; null where it computes the result itself. */
  readonly parting: NamedParting | null;
}

export interface NamedParting extends Parting {
  readonly bytes: number;
  /** Of the result's elements. */
  readonly type: string;
  /** Of the result, and neighbours that belong to one of them; the activation's index. */
  readonly channels: number;
  readonly plane: number;
  readonly activation: number;
}

/** Its key has the kernel's name in it. */
export interface NamedPacking extends Packing {
  /** Of the weight's elements. */
  readonly type: string;
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
  const type = DTYPE_TABLE[spec.dtype].short;
  const named = packing === null ? null : { ...packing, key: `${name} ${packing.key}`, type };
  const parting = namedParting(spec, problem);
  return { plan: null, name, handle, grid, packed: Float64Array.from(slots), slopeAt, packing: named, parting };
}

function namedParting(spec: Spec, problem: Problem): NamedParting | null {
  const parting = partingOf(spec, problem);
  const { short, accumulator } = DTYPE_TABLE[spec.dtype];
  const bytes = (parting?.parts ?? 0) * (parting?.elements ?? 0) * ACCUMULATOR_BYTES[accumulator];
  return parting === null ? null : { ...parting, bytes, type: short, ...behindSums(spec.form, problem) };
}

/** What sum_parts does to sums: weights have neither bias nor activation. */
function behindSums(form: Contraction, { geometry, layout, activation }: Problem) {
  if (form === 'wgrad') return { channels: 1, plane: 1, activation: 0 };
  const { channels, height, width } = sidesOf(form, geometry).output;
  return { channels, plane: layout === 'nchw' ? height * width : 1, activation: ACTIVATIONS.indexOf(activation) };
}

/** One call of a kernel: its operands in the order of `OPERANDS`, and how other operations are launched. */
export interface OwnCall {
  readonly device: Device;
  readonly pointers: readonly Pointer[];
  readonly slope: number;
  readonly launch: LaunchOperation;
}

/** @throws FracstrideError what launching throws */
export function launchOwn(kernel: OwnKernel, call: OwnCall): void {
  if (kernel.parting === null) launchWith(kernel, call, null);
  else launchParting(kernel, kernel.parting, call);
}

/** `parts` is the buffer for sums of parts, whose pointer follows those of the operands and of the packed weight. */
function launchWith(kernel: OwnKernel, call: OwnCall, parts: Pointer | null): void {
  if (kernel.packing !== null) {
    launchPacking(kernel, kernel.packing, call, parts);
    return;
  }
  stage(kernel, call);
  if (parts !== null) setPointers(staging().args, 3 * call.pointers.length, [parts]);
  launch(call.device, kernel.handle);
}

/** Into the addon's staging area, which the launch of another kernel overwrites. */
function stage(kernel: OwnKernel, { pointers, slope }: OwnCall): void {
  const { args, grid } = staging();
  args.set(kernel.packed);
  if (kernel.slopeAt >= 0) args[kernel.slopeAt] = slope;
  setPointers(args, 0, pointers);
  grid.set(kernel.grid);
}

/** Sums of parts, in memory that is theirs for the time of the call, and unless the kernel joins them the launch that adds them up. */
function launchParting(kernel: OwnKernel, parting: NamedParting, call: OwnCall): void {
  const { parts, elements, channels, plane, activation, bytes, type } = parting;
  const { device, pointers, slope } = call;
  const handle = allocate(device, bytes);
  try {
    const buffer = { handle, byteOffset: 0, bytes };
    launchWith(kernel, call, buffer);
    if (parting.joined) return;
    // Operands are the source, the weight, the bias and the output; of a weight gradient both sides and the weight.
    const bias = pointers.length === 4 ? pointers[2]! : NULL;
    const sizes = [1, parts, elements, channels, plane];
    call.launch({ name: 'sum_parts', type }, [pointers.at(-1)!, buffer, bias], [...sizes, slope, activation]);
  } finally {
    release(device, handle);
  }
}

/** With the buffer in which the kernel finds, or leaves, the weight as it re-orders it. */
function launchPacking(kernel: OwnKernel, packing: NamedPacking, call: OwnCall, parts: Pointer | null): void {
  const { device, pointers } = call;
  const { home, byteOffset } = pointers[1]!;
  // A graph packs each time it runs: its weights may have changed by then, and its memory is set aside for it.
  if (home === undefined || (packing.copy !== undefined && isCapturing(device))) {
    launchOnce(kernel, packing, call, parts);
    return;
  }
  home.packings ??= new Packings(device);
  const { bytes } = packing;
  const packed = home.packings.take(packing, byteOffset, home.version);
  const buffer = { handle: packed.handle, byteOffset: 0, bytes };
  if (packed.stale) pack(packing, buffer, call);
  packed.stale = false;
  launchPacked(kernel, call, buffers(buffer, parts), packed.stamp);
}

/** For a weight of which nothing can be kept. */
function launchOnce(kernel: OwnKernel, packing: NamedPacking, call: OwnCall, parts: Pointer | null): void {
  const { device } = call;
  const { bytes } = packing;
  const handle = allocate(device, bytes);
  try {
    const buffer = { handle, byteOffset: 0, bytes };
    pack(packing, buffer, call);
    launchPacked(kernel, call, buffers(buffer, parts), nextStamp());
  } finally {
    release(device, handle);
  }
}

/** By a copy, where the kernel does not do it. */
function pack(
  { copy, divisor, zeros, type }: NamedPacking,
  buffer: Pointer,
  { pointers, launch: launchOther }: OwnCall,
): void {
  if (copy === undefined) return;
  if (zeros) launchOther({ name: 'fill', type }, [buffer], [zeros, 0]);
  const [name, scalars] = divisor === undefined ? ['copy', []] : ['div_scalar', [divisor]];
  launchOther({ name, type }, [buffer, pointers[1]!], stridedScalars(scalars, copy, 2));
}

/** In the order of arguments. */
const buffers = (packed: Pointer, parts: Pointer | null): Pointer[] => (parts === null ? [packed] : [packed, parts]);

/** The pointers of buffers follow those of the operands; the stamp is the last argument. */
function launchPacked(kernel: OwnKernel, call: OwnCall, behind: readonly Pointer[], stamp: number): void {
  stage(kernel, call);
  const { args } = staging();
  setPointers(args, 3 * call.pointers.length, behind);
  args[kernel.packed.length - 1] = stamp;
  launch(call.device, kernel.handle);
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
