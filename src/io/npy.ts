/**
 * NumPy's .npy files (format 1.0 to 3.0): one array a file. Float16, float32, float64 and integers up to 64 bits are
 * read, of either byte order, C or Fortran order; tensors are written as little-endian C order. NumPy has no bfloat16:
 * such a tensor is written as float32, which holds its values exactly.
 */

import { types } from 'node:util';
import { checkTensor } from '../checks.js';
import { tensor } from '../create.js';
import { FracstrideError, show } from '../errors.js';
import { readData, readDataAsync } from '../host.js';
import type { Tensor } from '../tensor.js';
import { type LoadOptions, readBytes, readPlacement, writeBytes } from './files.js';
import { decodeRaw, encodeRaw, type RawType, rawBytes, rawType, swapBytes } from './raw.js';

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
const DESCRIPTORS: Readonly<Record<string, RawType>> = {
  b1: 'BOOL',
  u1: 'U8',
  i1: 'I8',
  i2: 'I16',
  u2: 'U16',
  i4: 'I32',
  u4: 'U32',
  i8: 'I64',
  u8: 'U64',
  f2: 'F16',
  f4: 'F32',
  f8: 'F64',
};

interface Header {
  readonly type: RawType;
  readonly bigEndian: boolean;
  readonly fortran: boolean;
  readonly shape: number[];
  /** Where the elements begin. */
  readonly offset: number;
}

/**
 * The array of a .npy file's bytes as a tensor: integers become int32.
 *
 * @throws FracstrideError ERR_ARGUMENT when the bytes are not such a file, ERR_DTYPE when integers exceed int32
 */
export function deserialize(file: Uint8Array, options: LoadOptions = {}): Tensor {
  const placed = readPlacement('npy', options);
  const header = parseHeader(file);
  const size = rawBytes(header.type);
  const bytes = header.shape.reduce((product, n) => product * n, size);
  const body = file.subarray(header.offset);
  if (body.length !== bytes) throw bad('data', `${bytes} bytes long by its shape and dtype`, body.length);
  let elements = header.bigEndian ? swapBytes(new Uint8Array(body), size) : body;
  if (header.fortran && header.shape.length > 1) elements = toRowMajor(elements, header.shape, size);
  const { dtype, data } = decodeRaw('npy', header.type, elements);
  return tensor(data, { shape: header.shape, dtype, ...placed });
}

/** The bytes of a .npy file that holds `value`. */
export function serialize(value: Tensor): Uint8Array {
  const { type, head } = headOf(value);
  return Buffer.concat([head, encodeRaw(type, readData(value))]);
}

function headOf(value: Tensor): { type: RawType; head: Uint8Array } {
  checkTensor('npy', 'value', value);
  const type = value.dtype === 'bfloat16' ? 'F32' : rawType(value.dtype);
  const descriptor = Object.keys(DESCRIPTORS).find((key) => DESCRIPTORS[key] === type);
  const shape = value.shape.length === 1 ? `${value.shape[0]},` : value.shape.join(', ');
  const header = `{'descr': '<${descriptor}', 'fortran_order': False, 'shape': (${shape}), }`;
  const length = Math.ceil((10 + header.length + 1) / 64) * 64 - 10;
  const head = new Uint8Array(10 + length).fill(0x20);
  head.set([...MAGIC, 1, 0, length & 0xff, length >>> 8]);
  head.set(new TextEncoder().encode(header), 10);
  head[head.length - 1] = 0x0a;
  return { type, head };
}

/** Reads a .npy file by its path, or its bytes; see `deserialize`. */
export async function load(source: string | Uint8Array, options: LoadOptions = {}): Promise<Tensor> {
  return deserialize(typeof source === 'string' ? await readBytes('npy', source) : source, options);
}

/** Writes a .npy file in one step; see `serialize`. */
export async function save(path: string, value: Tensor): Promise<void> {
  const { type, head } = headOf(value);
  await writeBytes('npy', path, Buffer.concat([head, encodeRaw(type, await readDataAsync(value))]));
}

function parseHeader(file: Uint8Array): Header {
  if (!types.isUint8Array(file)) throw bad('file', 'a Uint8Array', show(file));
  if (file.length < 12 || MAGIC.some((byte, i) => file[i] !== byte))
    throw bad('file', 'begun by \\x93NUMPY', show(file));
  const wide = file[6]! >= 2;
  if (file[6]! < 1 || file[6]! > 3) throw bad('format version', '1, 2 or 3', file[6]);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const start = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  if (start + length > file.length) throw bad('header length', `at most ${file.length - start}`, length);
  return {
    ...parseDictionary(Buffer.from(file.subarray(start, start + length)).toString('latin1')),
    offset: start + length,
  };
}

/** A Python dictionary with the three known keys; anything more is refused. */
function parseDictionary(text: string): Omit<Header, 'offset'> {
  const field = (key: string, pattern: string) => new RegExp(`'${key}'\\s*:\\s*${pattern}\\s*[,}]`).exec(text)?.[1];
  const descr = field('descr', "'([^']{1,16})'");
  const order = field('fortran_order', '(True|False)');
  const shape = field('shape', '\\(([0-9, ]*)\\)');
  if (descr === undefined || order === undefined || shape === undefined) {
    throw bad('header', 'a dictionary of descr, fortran_order and shape', show(text.trim()));
  }
  const type = DESCRIPTORS[descr.slice(1)];
  if (type === undefined || !'<>|='.includes(descr[0]!)) {
    throw bad('descr', `a byte order and one of ${Object.keys(DESCRIPTORS).join(', ')}`, show(descr));
  }
  const sizes = shape
    .split(',')
    .filter((s) => s.trim() !== '')
    .map(Number);
  if (!sizes.every((n) => Number.isSafeInteger(n))) throw bad('shape', 'integers', show(shape));
  return { type, bigEndian: descr[0] === '>', fortran: order === 'True', shape: sizes };
}

/** Column-major elements of `size` bytes put into row-major order. */
function toRowMajor(bytes: Uint8Array, shape: readonly number[], size: number): Uint8Array {
  const out = new Uint8Array(bytes.length);
  const index = new Array<number>(shape.length).fill(0);
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((product, n) => product * n, 1));
  for (let at = 0; at < bytes.length; at += size) {
    const from = index.reduce((sum, i, axis) => sum + i * strides[axis]!, 0) * size;
    for (let b = 0; b < size; b++) out[at + b] = bytes[from + b]!;
    for (let axis = shape.length - 1; axis >= 0 && ++index[axis]! === shape[axis]; axis--) index[axis] = 0;
  }
  return out;
}

function bad(what: string, rule: string, got: unknown): FracstrideError {
  return new FracstrideError('ERR_ARGUMENT', `npy: ${what} must be ${rule}, got ${got}`);
}
