/** Checks of constructor arguments that the tensor API has no need of. */

import { types } from 'node:util';
import { checkArray, fail, isArray, read } from '../checks.js';
import { Tensor } from '../tensor.js';

/** A spatial argument: one integer for both axes, or `[height, width]`. */
export type Size2 = number | readonly [height: number, width: number];

/** What is made of the losses of all elements. */
export const REDUCTIONS = ['mean', 'sum', 'none'] as const;
export type Reduction = (typeof REDUCTIONS)[number];

/** What a number may be, and the words for it. */
export interface Rule {
  readonly words: string;
  readonly holds: (value: number) => boolean;
}

export const FINITE: Rule = { words: 'a finite number', holds: () => true };
export const NOT_NEGATIVE: Rule = { words: 'a finite number ≥ 0', holds: (value) => value >= 0 };
export const BELOW_ONE: Rule = { words: 'a number in [0, 1)', holds: (value) => value >= 0 && value < 1 };
export const INTEGER: Rule = { words: 'an integer', holds: (value) => Number.isSafeInteger(value) };
export const COUNT: Rule = { words: 'an integer ≥ 0', holds: (value) => Number.isSafeInteger(value) && value >= 0 };

/** @throws FracstrideError ERR_ARGUMENT unless the value is a finite number that the rule admits */
export function checkRule(where: string, what: string, value: unknown, rule: Rule): number {
  if (typeof value === 'number' && Number.isFinite(value) && rule.holds(value)) return value + 0;
  return fail('ERR_ARGUMENT', where, what, rule.words, value);
}

/**
 * A spatial argument as a pair. Only its form is checked: what the numbers may be is the operator's to say, as in
 * PyTorch, where a module with stride 0 can be built and refuses its first input.
 *
 * @throws FracstrideError ERR_ARGUMENT
 */
export function checkSize2(where: string, what: string, value: unknown): [height: number, width: number] {
  const list = isArray(value) ? checkArray(where, what, value) : [value];
  if ((list.length === 1 || list.length === 2) && list.every((v) => Number.isSafeInteger(v))) {
    return [(list[0] as number) + 0, (list[list.length - 1] as number) + 0];
  }
  return fail('ERR_ARGUMENT', where, what, 'a single integer value or a list of 2 integers [height, width]', value);
}

/** Most entries that are taken from a caller's iterator, which may have no end. */
const MAX_ENTRIES = 2 ** 20;

/** The entries of anything iterable but a tensor. */
export function checkIterable(where: string, what: string, value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null || Tensor.isTensor(value)) {
    fail('ERR_ARGUMENT', where, what, 'an iterable', value);
  }
  if (isArray(value)) return checkArray(where, what, value);
  return read(where, what, () => {
    if (!(Symbol.iterator in value)) fail('ERR_ARGUMENT', where, what, 'an iterable', value);
    const entries: unknown[] = [];
    for (const entry of value as Iterable<unknown>) {
      if (entries.push(entry) > MAX_ENTRIES)
        fail('ERR_ARGUMENT', where, what, `of at most ${MAX_ENTRIES} entries`, value);
    }
    return entries;
  });
}

/** The entries of a Map, or the properties of an object. */
export function checkEntries(where: string, what: string, value: unknown): [string, unknown][] {
  if (typeof value !== 'object' || value === null || isArray(value) || Tensor.isTensor(value)) {
    fail('ERR_ARGUMENT', where, what, 'an object or a Map of tensors', value);
  }
  return read(where, what, () => {
    const entries: [unknown, unknown][] = types.isMap(value) ? [...value] : Object.entries(value);
    return entries.map(([name, entry]) => [String(name), entry]);
  });
}
