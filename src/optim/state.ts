/** The parts of an optimiser's state dict, checked and copied: it may come from anywhere. */

import { checkTensor, fail } from '../checks.js';
import { readData } from '../host.js';
import { checkEntries } from '../nn/arguments.js';
import { copyInto } from '../nn/in_place.js';
import type { Parameter } from '../nn/parameter.js';
import { fillOrDispose } from '../pointwise.js';
import { isPacked } from '../shape.js';
import { allocateTensor, keep, Tensor } from '../tensor.js';
import type { HyperValue } from './hyper.js';

/** What an optimiser remembers of one parameter. Tensors have the parameter's shape and dtype. */
export type ParameterState = Record<string, Tensor | number | null>;

export interface OptimizerStateDict {
  readonly state: Readonly<Record<number, ParameterState>>;
  readonly param_groups: readonly Readonly<Record<string, HyperValue | readonly number[]>>[];
}

export type GroupDict = Readonly<Record<string, unknown>> & { readonly params: readonly number[] };

/** A tensor like the parameter, of the same strides; contents undefined. It belongs to no scope. */
export function stateLike(value: Parameter): Tensor {
  const { shape, strides, dtype, storage } = Tensor.window(value);
  return keep(allocateTensor({ shape, strides, dtype, device: storage.device }));
}

export function disposeState(entry: ParameterState): void {
  for (const value of Object.values(entry)) if (Tensor.isTensor(value)) value.dispose();
}

/** @throws FracstrideError ERR_SHAPE when a tensor of the entry has not the parameter's shape */
export function copyState(where: string, entry: unknown, value: Parameter): ParameterState {
  const items = checkEntries(where, 'state of a parameter', entry);
  const copies: ParameterState = {};
  try {
    for (const [name, item] of items) copies[name] = copyItem(where, name, item, value);
  } catch (error) {
    disposeState(copies);
    throw error;
  }
  return copies;
}

function copyItem(where: string, name: string, item: unknown, value: Parameter): Tensor | number | null {
  if (item === null || typeof item === 'number') return item;
  const from = checkTensor(where, `state ${name}`, item);
  if (name === 'step' && from.numel() === 1) return readData(from)[0]!;
  if (String(from.shape) !== String(value.shape)) {
    fail('ERR_SHAPE', where, `state ${name}`, `of shape [${value.shape.join(', ')}]`, from.shape);
  }
  const copy = stateLike(value);
  fillOrDispose(copy, () => copyInto(copy, from));
  return copy;
}

/** @throws FracstrideError ERR_ARGUMENT unless it is a leaf whose elements fill its memory */
export function checkParameter(where: string, value: unknown): Parameter {
  const found = checkTensor(where, 'a parameter', value);
  if (!found.isLeaf) fail('ERR_ARGUMENT', where, 'a parameter', 'a leaf tensor', 'the result of an operation');
  if (found.dtype === 'int32') fail('ERR_DTYPE', where, 'a parameter', 'of a float type', found.dtype);
  if (!isPacked(found.shape, found.strides)) {
    fail('ERR_ARGUMENT', where, 'a parameter', 'without gaps in memory', `strides ${found.strides}`);
  }
  return found;
}

/** The groups of a state dict that has groups of these sizes. */
export function checkStateDict(where: string, dict: OptimizerStateDict, sizes: readonly number[]): GroupDict[] {
  const groups: unknown = dict?.param_groups;
  const state: unknown = dict?.state;
  if (!Array.isArray(groups) || typeof state !== 'object' || state === null) {
    fail('ERR_ARGUMENT', where, 'state dict', 'an object with state and param_groups', dict);
  }
  const given = groups.map((group: unknown) => (group as Partial<GroupDict> | null)?.params?.length ?? 0);
  if (String(given) !== String(sizes)) {
    fail('ERR_ARGUMENT', where, 'state dict', `of ${sizes.length} groups of [${sizes.join(', ')}] parameters`, given);
  }
  return groups as GroupDict[];
}
