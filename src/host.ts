/** Values between JavaScript and a tensor's memory. */

import { fail, MAX_DIMS, read } from './checks.js';
import { copyOut, copyOutAsync, refuseRecording } from './device.js';
import { type Dtype, hostArray, type TensorData } from './dtype.js';
import { FracstrideError } from './errors.js';
import { cast } from './ops/convert.js';
import { contiguous } from './ops/views.js';
import { pointer } from './pointwise.js';
import { elementCount } from './shape.js';
import { Tensor, tidy, unrecorded, type Window } from './tensor.js';

export interface HostData {
  readonly shape: number[];
  /** Of the type that goes up: float32, float64 or int32. */
  readonly values: TensorData;
  /** The dtype the data suggests. */
  readonly dtype: Dtype;
}

/**
 * Reads a number, nested arrays or a typed array into an array of our own.
 *
 * @throws FracstrideError ERR_SHAPE for ragged arrays, ERR_ARGUMENT for what is no number, ERR_DTYPE for fractions or
 * out-of-range values where the dtype is int32
 */
export function readHostData(data: unknown, wanted: unknown): HostData {
  const typed = typedArray(data);
  const shape = typed === null ? read('tensor', 'data', () => nestedShape(data)) : [typed.length];
  const dtype = typed instanceof Float64Array ? 'float64' : typed instanceof Int32Array ? 'int32' : 'float32';
  const values = hostArray(uploadType(wanted ?? dtype), elementCount(shape));
  const source = typed ?? read('tensor', 'data', () => flattenNested(data, shape));
  if (values instanceof Int32Array) checkIntegers(source);
  // a typed array whose buffer was transferred or shrank throws
  read('tensor', 'data', () => values.set(source));
  return { shape, values, dtype };
}

/** The elements in row-major order, waiting for the device. 16-bit types come out as float32. */
export function readData(x: Tensor): TensorData {
  const values = hostArray(x.dtype, x.numel());
  withDense(x, (window) => copyOut(window.storage.device, window.storage.handle, pointer(window).byteOffset, values));
  return values;
}

/** The same without waiting: as they are when it is called, whatever is launched afterwards. */
export async function readDataAsync(x: Tensor): Promise<TensorData> {
  const values = hostArray(x.dtype, x.numel());
  await withDense(x, (window) =>
    copyOutAsync(window.storage.device, window.storage.handle, pointer(window).byteOffset, values),
  );
  return values;
}

/**
 * Calls `copy` with the elements as they go out. What that made is disposed of at once: a device runs its work in order.
 */
function withDense<R>(x: Tensor, copy: (window: Window) => R): R {
  refuseRecording(Tensor.window(x).storage.device, 'reading a tensor', 'return it from fn and read it after a replay');
  let result: R | undefined;
  unrecorded(() =>
    tidy(() => {
      const wide = x.dtype === 'float16' || x.dtype === 'bfloat16' ? cast(x, 'float32') : x;
      result = copy(Tensor.window(contiguous(wide)));
      return [];
    }),
  );
  return result as R;
}

/** Row-major values as arrays in arrays; a number for no dimensions. */
export function nest(values: TensorData, shape: readonly number[]): unknown {
  if (shape.length === 0) return values[0];
  let rows: unknown[] = Array.from(values);
  for (const size of shape.slice(1).toReversed()) {
    const count = size === 0 ? elementCount(shape.slice(0, -1)) : rows.length / size;
    rows = Array.from({ length: count }, (_, i) => rows.slice(i * size, (i + 1) * size));
  }
  return rows;
}

type NumberArray = Exclude<NodeJS.TypedArray, BigInt64Array | BigUint64Array>;

function typedArray(data: unknown): NumberArray | null {
  if (!ArrayBuffer.isView(data)) return null;
  if (data instanceof DataView || data instanceof BigInt64Array || data instanceof BigUint64Array) {
    fail('ERR_ARGUMENT', 'tensor', 'data', 'numbers, nested arrays of numbers, or a typed array of numbers', data);
  }
  return data as NumberArray;
}

function uploadType(wanted: unknown): Dtype {
  return wanted === 'float64' || wanted === 'int32' ? wanted : 'float32';
}

function checkIntegers(source: ArrayLike<number>): void {
  for (let i = 0; i < source.length; i++) {
    if (source[i] !== (source[i]! | 0)) fail('ERR_DTYPE', 'tensor', 'data for int32', 'integers of 32 bits', source[i]);
  }
}

function nestedShape(data: unknown): number[] {
  const shape: number[] = [];
  let level = data;
  while (Array.isArray(level)) {
    shape.push(level.length);
    if (shape.length > MAX_DIMS)
      fail('ERR_SHAPE', 'tensor', 'data', `nested at most ${MAX_DIMS} deep`, 'deeper arrays');
    if (level.length === 0) break;
    level = level[0];
  }
  return shape;
}

function flattenNested(data: unknown, shape: readonly number[]): number[] {
  const values: number[] = [];
  const visit = (value: unknown, depth: number): void => {
    if (depth === shape.length) {
      if (typeof value !== 'number')
        fail('ERR_ARGUMENT', 'tensor', 'data', 'numbers or nested arrays of numbers of equal lengths', value);
      values.push(value);
      return;
    }
    if (!Array.isArray(value) || value.length !== shape[depth]) {
      const rule = `arrays of equal lengths, ${shape[depth]} at depth ${depth}`;
      throw new FracstrideError(
        'ERR_SHAPE',
        `tensor: data must be ${rule}, got ${Array.isArray(value) ? value.length : typeof value}`,
      );
    }
    for (let i = 0; i < value.length; i++) visit(value[i], depth + 1);
  };
  visit(data, 0);
  return values;
}
