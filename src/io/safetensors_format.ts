/**
 * The safetensors container, bytes only: 8 bytes little-endian header length, a JSON header
 * `{ name: { dtype, shape, data_offsets: [begin, end] }, __metadata__: { … } }` padded with spaces to a multiple of 8,
 * then the data. Files come from anywhere, so nothing in one is believed before it is checked: lengths, types,
 * shapes, and that the tensors cover the data without gap or overlap.
 */

import { types } from 'node:util';
import { FracstrideError, show } from '../errors.js';
import { RAW_TYPES, type RawType, rawBytes } from './raw.js';

export interface RawTensor {
  readonly dtype: RawType;
  readonly shape: readonly number[];
  /** Little-endian elements, row-major. */
  readonly bytes: Uint8Array;
}

export interface Container {
  readonly tensors: ReadonlyMap<string, RawTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The reference implementation's own limit. */
const MAX_HEADER_BYTES = 100_000_000;
const METADATA = '__metadata__';

/**
 * Reads a container; tensors are views of `file`, in the order of their data.
 *
 * @throws FracstrideError ERR_ARGUMENT when anything is not as the format says
 */
export function parseSafetensors(file: Uint8Array): Container {
  if (!types.isUint8Array(file)) throw bad('file', 'a Uint8Array', show(file));
  const headerBytes = headerLength(file);
  const header = parseHeader(file.subarray(8, 8 + headerBytes));
  const data = file.subarray(8 + headerBytes);
  const entries = Object.entries(header).filter(([name]) => name !== METADATA);
  const tensors = entries.map(([name, entry]) => readEntry(name, entry, data.length));
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  needCover(tensors, data.length);
  return {
    tensors: new Map(
      tensors.map((t) => [t.name, { dtype: t.dtype, shape: t.shape, bytes: data.subarray(t.begin, t.end) }]),
    ),
    metadata: Object.hasOwn(header, METADATA) ? readMetadata(header[METADATA]) : {},
  };
}

/**
 * Writes a container. The bytes depend on the contents alone: tensors are ordered by type (widest first), then by
 * name, as the reference implementation orders them; metadata keys are sorted.
 *
 * @throws FracstrideError ERR_ARGUMENT for the reserved name, or metadata that is not strings
 */
export function serializeSafetensors(
  tensors: ReadonlyMap<string, RawTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const ordered = [...tensors].sort(byTypeThenName);
  const header: [string, unknown][] = [];
  const pairs = Object.entries(readMetadata(metadata)).sort(([a], [b]) => compareBytes(a, b));
  if (pairs.length > 0) header.push([METADATA, Object.fromEntries(pairs)]);
  let offset = 0;
  for (const [name, { dtype, shape, bytes }] of ordered) {
    if (name === METADATA) throw bad('name of a tensor', `other than ${METADATA}`, show(name));
    header.push([name, { dtype, shape, data_offsets: [offset, offset + bytes.length] }]);
    offset += bytes.length;
  }
  return assemble(
    headerText(header),
    ordered.map(([, t]) => t.bytes),
    offset,
  );
}

function headerText(entries: readonly [string, unknown][]): Uint8Array {
  const text = `{${entries.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`;
  const bytes = new TextEncoder().encode(text);
  const padded = new Uint8Array(Math.ceil(bytes.length / 8) * 8).fill(0x20);
  padded.set(bytes);
  return padded;
}

function assemble(header: Uint8Array, parts: readonly Uint8Array[], dataBytes: number): Uint8Array {
  const file = new Uint8Array(8 + header.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
  file.set(header, 8);
  let at = 8 + header.length;
  for (const part of parts) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}

function byTypeThenName([a, x]: [string, RawTensor], [b, y]: [string, RawTensor]): number {
  return RAW_TYPES.indexOf(y.dtype) - RAW_TYPES.indexOf(x.dtype) || compareBytes(a, b);
}

/** The order of UTF-8 bytes, which is that of code points and not of UTF-16 units. */
function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function headerLength(file: Uint8Array): number {
  if (file.length < 8) throw bad('file', 'at least 8 bytes long', file.length);
  const length = new DataView(file.buffer, file.byteOffset, 8).getBigUint64(0, true);
  const most = Math.min(file.length - 8, MAX_HEADER_BYTES);
  if (length > BigInt(most)) throw bad('header length', `at most ${most} in a file of ${file.length} bytes`, length);
  return Number(length);
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split('\n')[0]!.slice(0, 120) : String(cause);
    throw new FracstrideError('ERR_ARGUMENT', `safetensors: header must be JSON in UTF-8, got ${show(why)}`, { cause });
  }
  if (!isRecord(header)) throw bad('header', 'a JSON object', show(header));
  return header;
}

interface Entry {
  readonly name: string;
  readonly dtype: RawType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

function readEntry(name: string, entry: unknown, dataBytes: number): Entry {
  const what = (field: string) => `${field} of tensor ${show(name)}`;
  if (!isRecord(entry)) throw bad(what('entry'), 'a JSON object', show(entry));
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!RAW_TYPES.includes(dtype as RawType)) throw bad(what('dtype'), `one of ${RAW_TYPES.join(', ')}`, show(dtype));
  if (!isCounts(shape)) throw bad(what('shape'), 'non-negative integers', show(shape));
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]! || offsets[1]! > dataBytes) {
    throw bad(what('data_offsets'), `[begin, end] with begin ≤ end ≤ ${dataBytes}`, show(offsets));
  }
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce((product, size) => product * size, rawBytes(dtype as RawType));
  if (bytes !== end - begin) throw bad(what('data'), `${bytes} bytes long by its shape and dtype`, end - begin);
  return { name, dtype: dtype as RawType, shape: [...shape], begin, end };
}

function needCover(sorted: readonly Entry[], dataBytes: number): void {
  let at = 0;
  for (const { name, begin, end } of sorted) {
    if (begin !== at) throw bad(`data of tensor ${show(name)}`, `where the tensor before it ends, at ${at}`, begin);
    at = end;
  }
  if (at !== dataBytes) throw bad('data', `as long as its tensors, ${at} bytes`, dataBytes);
}

function readMetadata(value: unknown): Record<string, string> {
  if (!isRecord(value)) throw bad('metadata', 'an object of strings', show(value));
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw bad(`metadata ${show(key)}`, 'a string', show(text));
  }
  return value as Record<string, string>;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((v) => Number.isSafeInteger(v) && v >= 0);
}

function bad(what: string, rule: string, got: unknown): FracstrideError {
  return new FracstrideError('ERR_ARGUMENT', `safetensors: ${what} must be ${rule}, got ${got}`);
}
