/**
 * State dicts as .safetensors files, readable by and from PyTorch.
 *
 * Floating-point tensors keep their dtype; integers of any width become int32. Written, an int32 tensor is I32, except
 * a counter named `num_batches_tracked`, which PyTorch keeps as int64: I64.
 */

import { checkTensor, options as readOptions } from '../checks.js';
import { tensor } from '../create.js';
import type { TensorData } from '../dtype.js';
import { show } from '../errors.js';
import { readData, readDataAsync } from '../host.js';
import { checkEntries } from '../nn/arguments.js';
import type { Tensor } from '../tensor.js';
import { type LoadOptions, readBytes, readPlacement, writeBytes } from './files.js';
import { decodeRaw, encodeRaw, type RawType, rawType } from './raw.js';
import { parseSafetensors, type RawTensor, serializeSafetensors } from './safetensors_format.js';

export type StateDict = Record<string, Tensor>;

export interface SaveOptions {
  /** Strings kept in the file beside the tensors, e.g. `{ format: 'pt' }`. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/**
 * The file's bytes; equal contents give equal bytes.
 *
 * @throws FracstrideError ERR_ARGUMENT when a value is not a tensor or the metadata are not strings
 */
export function serialize(
  tensors: Readonly<StateDict> | ReadonlyMap<string, Tensor>,
  options: SaveOptions = {},
): Uint8Array {
  const file = layOut(tensors, options);
  return written(
    file,
    file.entries.map(({ value }) => readData(value)),
  );
}

/**
 * The tensors of a file's bytes, by name in the order of the file.
 *
 * @throws FracstrideError ERR_ARGUMENT when the bytes are not such a file, ERR_DTYPE when integers exceed int32
 */
export function deserialize(file: Uint8Array, options: LoadOptions = {}): StateDict {
  const placed = readPlacement('safetensors', options);
  const made: [string, Tensor][] = [];
  try {
    for (const [name, raw] of parseSafetensors(file).tensors) {
      const { dtype, data } = decodeRaw(`safetensors: tensor ${show(name)}`, raw.dtype, raw.bytes);
      made.push([name, tensor(data, { shape: [...raw.shape], dtype, ...placed })]);
    }
  } catch (error) {
    for (const [, value] of made) value.dispose();
    throw error;
  }
  return Object.fromEntries(made);
}

/** The strings stored beside the tensors. */
export function metadata(file: Uint8Array): Readonly<Record<string, string>> {
  return parseSafetensors(file).metadata;
}

/** Writes a file in one step (temporary file and rename); see `serialize`. */
export async function save(
  path: string,
  tensors: Readonly<StateDict> | ReadonlyMap<string, Tensor>,
  options: SaveOptions = {},
): Promise<void> {
  const file = layOut(tensors, options);
  const values = await Promise.all(file.entries.map(({ value }) => readDataAsync(value)));
  await writeBytes('safetensors', path, written(file, values));
}

/** Reads a file by its path, or its bytes; see `deserialize`. */
export async function load(source: string | Uint8Array, options: LoadOptions = {}): Promise<StateDict> {
  return deserialize(typeof source === 'string' ? await readBytes('safetensors', source) : source, options);
}

interface File {
  readonly entries: readonly { name: string; dtype: RawType; shape: readonly number[]; value: Tensor }[];
  readonly metadata: Record<string, string>;
}

/** What a file will hold, before anything is read. */
function layOut(tensors: unknown, options: SaveOptions): File {
  const { metadata } = readOptions('safetensors', options, ['metadata']);
  const entries = checkEntries('safetensors', 'tensors', tensors).map(([name, given]) => {
    const value = checkTensor('safetensors', show(name), given);
    return { name, dtype: storedType(name, value), shape: [...value.shape], value };
  });
  return { entries, metadata: readStrings(metadata) };
}

function written(file: File, values: readonly TensorData[]): Uint8Array {
  const raw = file.entries.map(({ name, dtype, shape }, i): [string, RawTensor] => [
    name,
    { dtype, shape, bytes: encodeRaw(dtype, values[i]!) },
  ]);
  return serializeSafetensors(new Map(raw), file.metadata);
}

function storedType(name: string, value: Tensor): RawType {
  const counter = name === 'num_batches_tracked' || name.endsWith('.num_batches_tracked');
  return counter && value.dtype === 'int32' ? 'I64' : rawType(value.dtype);
}

/** A copy of the caller's metadata; what they must be is checked where they are written. */
function readStrings(value: unknown): Record<string, string> {
  if (value === undefined) return {};
  return Object.fromEntries(checkEntries('safetensors', 'metadata', value)) as Record<string, string>;
}
