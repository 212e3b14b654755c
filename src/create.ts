/**
 * Factories. A shape is a size or an array of sizes; options are `dtype` (default 'float32'), `device` (default:
 * FRACSTRIDE_DEVICE or 'auto') and `requiresGrad` (default false). All throw FracstrideError: ERR_SHAPE, ERR_DTYPE,
 * ERR_ARGUMENT for what they refuse, ERR_DEVICE_UNAVAILABLE, ERR_OUT_OF_MEMORY.
 */

import {
  checkNumber,
  checkPlacement,
  checkShape,
  checkSize,
  checkTensor,
  fail,
  options,
  PLACEMENT,
  type Placement,
} from './checks.js';
import { copyIn } from './device.js';
import type { Dtype } from './dtype.js';
import { fillWith } from './fill.js';
import { readHostData } from './host.js';
import { cast } from './ops/convert.js';
import { fillOrDispose } from './pointwise.js';
import { drawCounters } from './random.js';
import { elementCount } from './shape.js';
import { allocateTensor, Tensor, tidy, unrecorded } from './tensor.js';

export interface TensorOptions {
  dtype?: Dtype;
  device?: string;
  requiresGrad?: boolean;
}

/** Numbers in nested arrays of equal lengths. */
export type NestedNumbers = number | readonly NestedNumbers[];
export type TensorLike = NestedNumbers | ArrayBufferView;

/**
 * A tensor with given values: a number, nested arrays, or a typed array with `shape` (one dimension without). The dtype
 * defaults to float64 for a Float64Array, int32 for an Int32Array, else float32. The data is copied.
 */
export function tensor(data: TensorLike, settings?: TensorOptions & { shape?: number | readonly number[] }): Tensor {
  const found = options('tensor', settings, ['shape', ...PLACEMENT]);
  const host = readHostData(data, found.dtype);
  const shape = found.shape === undefined ? host.shape : checkShape('tensor', found.shape);
  const placement = checkPlacement('tensor', found, host.dtype);
  if (elementCount(shape) !== host.values.length) {
    fail('ERR_SHAPE', 'tensor', 'shape', `of ${host.values.length} elements, as many as the data has`, shape);
  }
  return finish(placement, () =>
    tidy(() => {
      // 16-bit types go up as float32 and are rounded on the device.
      const stored =
        host.values instanceof Float32Array ? 'float32' : host.values instanceof Int32Array ? 'int32' : 'float64';
      const out = allocateTensor({ shape, dtype: stored, device: placement.device });
      fillOrDispose(out, () => copyIn(placement.device, Tensor.window(out).storage.handle, host.values));
      return stored === placement.dtype ? out : cast(out, placement.dtype);
    }),
  );
}

/** A tensor of zeros. */
export function zeros(shape: number | readonly number[], settings?: TensorOptions): Tensor {
  return filled('zeros', shape, settings, (out) => fillWith('fill', out, [0]));
}

/** A tensor of ones. */
export function ones(shape: number | readonly number[], settings?: TensorOptions): Tensor {
  return filled('ones', shape, settings, (out) => fillWith('fill', out, [1]));
}

/** Zeros of x's shape, dtype and device, where the options do not say otherwise. */
export function zerosLike(x: Tensor, settings?: TensorOptions): Tensor {
  return filledLike('zerosLike', x, settings, 0);
}

/** Ones of x's shape, dtype and device, where the options do not say otherwise. */
export function onesLike(x: Tensor, settings?: TensorOptions): Tensor {
  return filledLike('onesLike', x, settings, 1);
}

/** A tensor of one value. */
export function full(shape: number | readonly number[], value: number, settings?: TensorOptions): Tensor {
  checkNumber('full', 'value', value);
  return filled('full', shape, settings, (out) => fillWith('fill', out, [value]));
}

/** A tensor with undefined contents. */
export function empty(shape: number | readonly number[], settings?: TensorOptions): Tensor {
  return filled('empty', shape, settings, () => {});
}

/** Uniform random numbers in [0, 1). */
export function rand(shape: number | readonly number[], settings?: TensorOptions): Tensor {
  return filled('rand', shape, settings, (out, where) => fillRandom('uniform', out, { where, a: 0, b: 1 }));
}

/** Normal random numbers of mean 0 and deviation 1. */
export function randn(shape: number | readonly number[], settings?: TensorOptions): Tensor {
  return filled('randn', shape, settings, (out, where) => fillRandom('normal', out, { where, a: 0, b: 1 }));
}

/** start, start + step, … below end: `arange(end)`, `arange(start, end)` or `arange(start, end, step)`, then options. */
export function arange(end: number, settings?: TensorOptions): Tensor;
export function arange(start: number, end: number, settings?: TensorOptions): Tensor;
export function arange(start: number, end: number, step: number, settings?: TensorOptions): Tensor;
export function arange(...list: readonly (number | TensorOptions | undefined)[]): Tensor {
  const plain = list.findIndex((value, i) => i > 0 && typeof value !== 'number');
  const numbers = plain < 0 ? list : list.slice(0, plain);
  if (numbers.length > 3 || (plain >= 0 && list.length > plain + 1)) {
    fail('ERR_ARGUMENT', 'arange', 'arguments', 'at most start, end, step and options', list);
  }
  const [start, end, step] = progression(numbers.map((value) => checkFinite('arange', value)));
  const count = Math.max(0, Math.ceil((end - start) / step));
  const settings = plain < 0 ? undefined : (list[plain] as TensorOptions);
  return filled('arange', count, settings, (out) => fillWith('arange', out, [start, step]));
}

/** Fills a dense tensor with random numbers of its device's stream: uniform in [a, b), or normal of mean a, deviation b. */
export function fillRandom(
  kind: 'uniform' | 'normal',
  out: Tensor,
  range: { where: string; a: number; b: number },
): void {
  const { dtype, storage } = Tensor.window(out);
  if (dtype === 'int32') fail('ERR_DTYPE', range.where, 'dtype', 'a float type', dtype);
  const { seed, offset } = drawCounters(storage.device, out.numel());
  fillWith(kind, out, [seed, offset, range.a, range.b]);
}

function progression(numbers: readonly number[]): [number, number, number] {
  const [first, second, step = 1] = numbers;
  if (step === 0) fail('ERR_ARGUMENT', 'arange', 'step', 'a number other than 0', step);
  return second === undefined ? [0, first!, 1] : [first!, second, step];
}

function checkFinite(where: string, value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value))
    fail('ERR_ARGUMENT', where, 'start, end and step', 'finite numbers', value);
  return value;
}

function filled(where: string, size: unknown, settings: unknown, fill: (out: Tensor, where: string) => void): Tensor {
  const shape = checkShape(where, size);
  const placement = checkPlacement(where, options(where, settings, PLACEMENT));
  checkSize(where, shape, placement.dtype);
  return finish(placement, () => {
    const out = allocateTensor({ shape, dtype: placement.dtype, device: placement.device });
    fillOrDispose(out, () => fill(out, where));
    return out;
  });
}

function filledLike(where: string, x: Tensor, settings: unknown, value: number): Tensor {
  const { shape, dtype, device } = checkTensor(where, 'x', x);
  const found = options(where, settings, PLACEMENT);
  return filled(where, [...shape], { dtype, device, ...found }, (out) => fillWith('fill', out, [value]));
}

function finish(placement: Placement, make: () => Tensor): Tensor {
  const out = unrecorded(make);
  if (placement.requiresGrad) out.requiresGrad = true;
  return out;
}
