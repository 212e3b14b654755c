/** Launches the addon's kernels directly, by operation, element type and instruction set: no tensors between. */

import {
  kindsOf,
  operationArguments,
  operationKernel,
  operationOf,
  type StorageType,
} from '../../codegen/operations.js';
import type { CpuIsa } from '../../codegen/target.js';
import { native } from '../../src/native.js';

export { noise } from '../../src/verify/numbers.js';

export type Numbers = ArrayLike<number>;
type Stored = Float32Array | Float64Array | Uint16Array | Int32Array;

export const BYTES: Readonly<Record<StorageType, number>> = { f32: 4, f64: 8, f16: 2, bf16: 2, i32: 4 };
export const FLOAT_TYPES = ['f32', 'f64', 'f16', 'bf16'] as const;

/** Instruction sets this machine runs. */
export function isas(): CpuIsa[] {
  return native().cpuInfo().isas as CpuIsa[];
}

/** A type's accumulator. */
export function accumulatorOf(type: StorageType): StorageType {
  return type === 'f64' ? 'f64' : 'f32';
}

/** Half a unit in the last place of 1. */
export const ROUNDOFF: Readonly<Record<StorageType, number>> = {
  f32: 2 ** -24,
  f64: 2 ** -53,
  f16: 2 ** -11,
  bf16: 2 ** -8,
  i32: 0,
};

const tables = new Map<'f16' | 'bf16', Float64Array>();

/** The value of a 16-bit pattern. */
export function decode16(type: 'f16' | 'bf16', bits: number): number {
  let table = tables.get(type);
  if (table === undefined) {
    table = Float64Array.from({ length: 65536 }, (_, i) => meaning16(type, i));
    tables.set(type, table);
  }
  return table[bits]!;
}

/** By the format's definition. */
function meaning16(type: 'f16' | 'bf16', bits: number): number {
  const mantissaBits = type === 'f16' ? 10 : 7;
  const exponentBits = 15 - mantissaBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits & 0x7fff) >> mantissaBits;
  const mantissa = bits & (2 ** mantissaBits - 1);
  if (exponent === 2 ** exponentBits - 1) return mantissa === 0 ? sign * Infinity : Number.NaN;
  if (exponent === 0) return sign * mantissa * 2 ** (1 - bias - mantissaBits);
  return sign * (1 + mantissa / 2 ** mantissaBits) * 2 ** (exponent - bias);
}

/** The 16-bit pattern nearest to a number, ties to the even pattern: by bisection over the positive patterns. */
export function encode16(type: 'f16' | 'bf16', value: number): number {
  const infinity = type === 'f16' ? 0x7c00 : 0x7f80;
  if (Number.isNaN(value)) return infinity | (infinity >> 1) | 0x40;
  const sign = Object.is(Math.sign(value), -0) || value < 0 ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  let low = 0;
  let high = infinity - 1;
  if (magnitude >= decode16(type, high)) {
    const step = decode16(type, high) - decode16(type, high - 1);
    return sign | (magnitude >= decode16(type, high) + step / 2 ? infinity : high);
  }
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (decode16(type, middle) <= magnitude) low = middle;
    else high = middle;
  }
  const below = magnitude - decode16(type, low);
  const above = decode16(type, high) - magnitude;
  return sign | (below < above || (below === above && low % 2 === 0) ? low : high);
}

export function encode(type: StorageType, values: Numbers): Stored {
  if (type === 'f32') return Float32Array.from(values);
  if (type === 'f64') return Float64Array.from(values);
  if (type === 'i32') return Int32Array.from(values);
  return Uint16Array.from(values, (v) => encode16(type, v));
}

export function decode(type: StorageType, stored: Stored): Float64Array {
  if (type === 'f16' || type === 'bf16') return Float64Array.from(stored, (bits) => decode16(type, bits));
  return Float64Array.from(stored);
}

/** The values as the type holds them. */
export function rounded(type: StorageType, values: Numbers): Float64Array {
  return decode(type, encode(type, values));
}

/** Memory that a launch can point into. */
export class Memory {
  readonly handle: number;
  readonly bytes: number;

  constructor(
    readonly type: StorageType,
    readonly count: number,
  ) {
    this.bytes = count * BYTES[type];
    this.handle = native().alloc(0, this.bytes);
  }

  static of(type: StorageType, values: Numbers): Memory {
    const memory = new Memory(type, values.length);
    native().copyIn(0, memory.handle, 0, encode(type, values));
    return memory;
  }

  raw(): Stored {
    const target = encode(this.type, new Float64Array(this.count));
    native().copyOut(0, this.handle, 0, target);
    return target;
  }

  read(): Float64Array {
    return decode(this.type, this.raw());
  }

  free(): void {
    native().free(0, this.handle);
  }
}

export interface Which {
  readonly operation: string;
  readonly type: StorageType;
  readonly isa: CpuIsa;
}

/**
 * Runs a kernel with its arguments by name; null is the null pointer. Of an operation over many tensors: one tensor, its
 * pointers by their roles, absent ones null, and its elements as `count`.
 */
export function launch(which: Which, values: Readonly<Record<string, Memory | number | null>>): void {
  const addon = native();
  const args = operationArguments(which.operation);
  const kernel = addon.load(0, operationKernel(which.operation, which.type, which.isa), kindsOf(args), null);
  const pointer = (memory: Memory | null): number[] => [memory?.handle ?? 0, 0, memory?.bytes ?? 0];
  const roles = operationOf(which.operation).group?.roles ?? [];
  const slots = args.flatMap((arg) => {
    if (arg.kind === 'P') return [roles.length, ...roles.flatMap((role) => pointer((values[role] ?? null) as Memory))];
    if (arg.kind === 'L') return [1, values.count as number];
    const value = values[arg.name];
    if (value === undefined) throw new Error(`${which.operation} needs ${arg.name}`);
    return arg.kind === 'p' ? pointer(value as Memory | null) : [value as number];
  });
  addon.args.set(slots);
  addon.launch(0, kernel);
}

/** `launch` over fresh memory: inputs by values, outputs by type and count; returns the outputs and frees everything. */
export function compute(
  which: Which,
  a: {
    readonly inputs: Readonly<Record<string, { type: StorageType; values: Numbers } | null>>;
    readonly outputs: Readonly<Record<string, { type: StorageType; count: number }>>;
    readonly scalars: Readonly<Record<string, number>>;
  },
): Record<string, Float64Array> {
  const memories: Record<string, Memory | null> = {};
  for (const [name, input] of Object.entries(a.inputs)) {
    memories[name] = input === null ? null : Memory.of(input.type, input.values);
  }
  for (const [name, output] of Object.entries(a.outputs)) memories[name] = new Memory(output.type, output.count);
  launch(which, { ...memories, ...a.scalars });
  const changed = Object.entries(memories).filter((entry): entry is [string, Memory] => entry[1] !== null);
  const results = Object.fromEntries(changed.map(([name, memory]) => [name, memory.read()]));
  for (const [, memory] of changed) memory.free();
  return results;
}

/** Shape and strides as scalars of an element-wise launch; tensors by name, output first. */
export function strided(
  shape: readonly number[],
  strides: Readonly<Record<string, readonly number[]>>,
): Record<string, number> {
  const scalars: Record<string, number> = { ndim: shape.length };
  for (let d = 0; d < 6; d++) {
    scalars[`shape${d}`] = shape[d] ?? 1;
    for (const [name, stride] of Object.entries(strides)) scalars[`${name}_stride${d}`] = stride[d] ?? 0;
  }
  return scalars;
}

/** Row-major strides. */
export function dense(shape: readonly number[]): number[] {
  return shape.map((_, d) => shape.slice(d + 1).reduce((product, size) => product * size, 1));
}
