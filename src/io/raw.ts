/**
 * Element types as files hold them, and the way between their little-endian bytes and tensor data. The names are
 * those of the safetensors format; npy maps its own onto them.
 *
 * Integers of every width are read into int32 tensors when their values fit: PyTorch keeps counters such as
 * `num_batches_tracked` as int64.
 */

import { endianness } from 'node:os';
import type { Dtype, TensorData } from '../dtype.js';
import { FracstrideError, show } from '../errors.js';
import { bfloatBits, bfloatValue, halfBits, halfValue } from './half.js';

export const RAW_TYPES = [
  'BOOL',
  'U8',
  'I8',
  'I16',
  'U16',
  'F16',
  'BF16',
  'I32',
  'U32',
  'F32',
  'F64',
  'I64',
  'U64',
] as const;
/** In the order of the safetensors library, which stores the last ones first. */
export type RawType = (typeof RAW_TYPES)[number];

interface RawRow {
  readonly bytes: 1 | 2 | 4 | 8;
  readonly dtype: Dtype;
  /** Elements of aligned, host-order bytes. */
  readonly view: (buffer: ArrayBuffer) => ArrayLike<number> | BigInt64Array | BigUint64Array;
}

const RAW_TABLE: Readonly<Record<RawType, RawRow>> = {
  BOOL: { bytes: 1, dtype: 'int32', view: (b) => new Uint8Array(b).map((v) => (v === 0 ? 0 : 1)) },
  U8: { bytes: 1, dtype: 'int32', view: (b) => new Uint8Array(b) },
  I8: { bytes: 1, dtype: 'int32', view: (b) => new Int8Array(b) },
  I16: { bytes: 2, dtype: 'int32', view: (b) => new Int16Array(b) },
  U16: { bytes: 2, dtype: 'int32', view: (b) => new Uint16Array(b) },
  F16: { bytes: 2, dtype: 'float16', view: (b) => Float32Array.from(new Uint16Array(b), halfValue) },
  BF16: { bytes: 2, dtype: 'bfloat16', view: (b) => Float32Array.from(new Uint16Array(b), bfloatValue) },
  I32: { bytes: 4, dtype: 'int32', view: (b) => new Int32Array(b) },
  U32: { bytes: 4, dtype: 'int32', view: (b) => new Uint32Array(b) },
  F32: { bytes: 4, dtype: 'float32', view: (b) => new Float32Array(b) },
  F64: { bytes: 8, dtype: 'float64', view: (b) => new Float64Array(b) },
  I64: { bytes: 8, dtype: 'int32', view: (b) => new BigInt64Array(b) },
  U64: { bytes: 8, dtype: 'int32', view: (b) => new BigUint64Array(b) },
};

/** Bytes of one stored element. */
export function rawBytes(type: RawType): number {
  return RAW_TABLE[type].bytes;
}

/** The type a tensor of `dtype` is stored as. */
export function rawType(dtype: Dtype): RawType {
  return ({ float32: 'F32', float64: 'F64', float16: 'F16', bfloat16: 'BF16', int32: 'I32' } as const)[dtype];
}

/**
 * Little-endian bytes to tensor data; copies.
 *
 * @throws FracstrideError ERR_DTYPE when an integer does not fit into int32
 */
export function decodeRaw(where: string, type: RawType, bytes: Uint8Array): { dtype: Dtype; data: TensorData } {
  const row = RAW_TABLE[type];
  const copy = new Uint8Array(bytes);
  if (endianness() === 'BE') swapBytes(copy, row.bytes);
  const elements = row.view(copy.buffer);
  if (row.dtype !== 'int32') return { dtype: row.dtype, data: elements as Float32Array | Float64Array };
  return { dtype: 'int32', data: toInt32(where, elements) };
}

/** Tensor data to little-endian bytes of `type`: the data's own type, its 16-bit rounding, or I64 of int32. */
export function encodeRaw(type: RawType, data: TensorData): Uint8Array {
  const stored = asStored(type, data);
  const bytes = new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
  return endianness() === 'BE' ? swapBytes(bytes.slice(), rawBytes(type)) : bytes;
}

/** Reverses the bytes of every element in place. */
export function swapBytes(bytes: Uint8Array, size: number): Uint8Array {
  for (let i = 0; i < bytes.length; i += size) bytes.subarray(i, i + size).reverse();
  return bytes;
}

function asStored(type: RawType, data: TensorData): TensorData | Uint16Array | BigInt64Array {
  if (type === 'F16') return Uint16Array.from(data, halfBits);
  if (type === 'BF16') return Uint16Array.from(data, bfloatBits);
  if (type === 'I64') return BigInt64Array.from(data as Int32Array, BigInt);
  return data;
}

function toInt32(where: string, elements: ArrayLike<number | bigint>): Int32Array {
  const out = new Int32Array(elements.length);
  for (let i = 0; i < out.length; i++) {
    const value = elements[i]!;
    out[i] = Number(value);
    if (BigInt(out[i]!) !== BigInt(value)) {
      throw new FracstrideError('ERR_DTYPE', `${where}: integers must be within int32, got ${show(value)}`);
    }
  }
  return out;
}
