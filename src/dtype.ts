/** Element types of tensors: those that kernels compute in, and int32, which only carries indices and counts. */

import { DTYPE_TABLE, DTYPES, type Dtype as FloatDtype } from '../codegen/target.js';
import { FracstrideError, show } from './errors.js';

export type { FloatDtype };
export type Dtype = FloatDtype | 'int32';

/** What `data()` gives: float16 and bfloat16 come out as float32. */
export type TensorData = Float32Array | Float64Array | Int32Array;

export const ALL_DTYPES: readonly Dtype[] = [...DTYPES, 'int32'];

/** Bytes of one stored element. */
export function elementBytes(dtype: Dtype): 2 | 4 | 8 {
  return dtype === 'int32' ? 4 : DTYPE_TABLE[dtype].bytes;
}

/** Name inside kernel names: f32 f64 f16 bf16 i32. */
export function shortName(dtype: Dtype): string {
  return dtype === 'int32' ? 'i32' : DTYPE_TABLE[dtype].short;
}

export function isFloat(dtype: Dtype): dtype is FloatDtype {
  return dtype !== 'int32';
}

/** @throws FracstrideError ERR_DTYPE */
export function checkDtype(where: string, value: unknown): Dtype {
  if (ALL_DTYPES.includes(value as Dtype)) return value as Dtype;
  throw new FracstrideError('ERR_DTYPE', `${where}: dtype must be one of ${ALL_DTYPES.join(', ')}, got ${show(value)}`);
}

/**
 * A host array that holds `count` elements as they go in and out.
 *
 * @throws FracstrideError ERR_OUT_OF_MEMORY where the engine has no array that long
 */
export function hostArray(dtype: Dtype, count: number): TensorData {
  if (dtype === 'float64') return sized(Float64Array, count);
  return dtype === 'int32' ? sized(Int32Array, count) : sized(Float32Array, count);
}

/** The same of bytes. */
export function hostBytes(count: number): Uint8Array {
  return sized(Uint8Array, count);
}

function sized<A>(type: new (count: number) => A, count: number): A {
  try {
    return new type(count);
  } catch (cause) {
    throw new FracstrideError('ERR_OUT_OF_MEMORY', `data: an array must fit into memory, got ${count} elements`, {
      cause,
    });
  }
}
