/**
 * State dicts as .safetensors files, readable by and from PyTorch.
 *
 * Floating-point tensors keep their dtype; integers of any width become int32. Written, an int32 tensor is I32, except
 * a counter named `num_batches_tracked`, which PyTorch keeps as int64: I64.
 */

import { checkTensor, options as readOptions } from '../checks.js';
import { tensor } from '../create.js';
import { show } from '../errors.js';
import { readData } from '../host.js';
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
  const { metadata } = readOptions('safetensors', options, ['metadata']);
  const entries = checkEntries('safetensors', 'tensors', tensors);
  const raw = new Map(entries.map(([name, value]) => [name, toRaw(name, value)]));
  return serializeSafetensors(raw, readStrings(metadata));
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
  await writeBytes('safetensors', path, serialize(tensors, options));
}

/** Reads a file by its path, or its bytes; see `deserialize`. */
export async function load(source: string | Uint8Array, options: LoadOptions = {}): Promise<StateDict> {
  return deserialize(typeof source === 'string' ? await readBytes('safetensors', source) : source, options);
}

function toRaw(name: string, given: unknown): RawTensor {
  const value = checkTensor('safetensors', show(name), given);
  const dtype = storedType(name, value);
  return { dtype, shape: [...value.shape], bytes: encodeRaw(dtype, readData(value)) };
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
