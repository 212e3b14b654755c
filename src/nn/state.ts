/** Loading values into the tensors of a module: all of a state dict is checked before any of it is copied. */

import { checkBoolean, checkTensor, options as readOptions } from '../checks.js';
import { isFloat } from '../dtype.js';
import { type ErrorCode, FracstrideError, show } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { checkEntries } from './arguments.js';
import { copyInto } from './in_place.js';

export type StateDict = Record<string, Tensor>;

export interface LoadOptions {
  /** Whether the names must be exactly the module's. Default true. */
  readonly strict?: boolean;
}

export interface LoadReport {
  readonly missingKeys: readonly string[];
  readonly unexpectedKeys: readonly string[];
}

/** Dicts written before PyTorch 0.4.1 have no batch counter, and PyTorch then keeps the module's. */
const OPTIONAL = /(^|\.)num_batches_tracked$/;

/** @throws FracstrideError see Module.loadStateDict */
export function loadInto(
  module: string,
  own: StateDict,
  given: ReadonlyMap<string, Tensor>,
  options: LoadOptions,
): LoadReport {
  const strict = checkBoolean(
    'loadStateDict',
    'strict',
    readOptions('loadStateDict', options, ['strict']).strict,
    true,
  );
  const missingKeys = Object.keys(own).filter((name) => !given.has(name) && !OPTIONAL.test(name));
  const unexpectedKeys = [...given.keys()].filter((name) => !Object.hasOwn(own, name));
  const pairs = Object.entries(own).flatMap(([name, to]) =>
    given.has(name) ? [{ name, to, from: given.get(name)! }] : [],
  );
  const sizes = pairs.filter(({ to, from }) => !sameShape(to, from));
  const types = pairs.filter(({ to, from }) => isFloat(to.dtype) !== isFloat(from.dtype));
  const names = strict && missingKeys.length + unexpectedKeys.length > 0;
  if (names || sizes.length + types.length > 0) {
    const code = names ? 'ERR_ARGUMENT' : sizes.length > 0 ? 'ERR_SHAPE' : 'ERR_DTYPE';
    throw mismatch(code, module, [
      list('missing keys', strict ? missingKeys : [], (name) => show(name)),
      list('unexpected keys', strict ? unexpectedKeys : [], (name) => show(name)),
      list('other sizes', sizes, ({ name, to, from }) => `${show(name)} ${sizeOf(from)} for ${sizeOf(to)}`),
      list('other types', types, ({ name, to, from }) => `${show(name)} ${from.dtype} for ${to.dtype}`),
    ]);
  }
  for (const { to, from } of pairs) copyInto(to, from);
  return { missingKeys, unexpectedKeys };
}

/** The tensors of a state dict by name. @throws FracstrideError ERR_ARGUMENT when it is none */
export function entriesOf(state: unknown): Map<string, Tensor> {
  const entries = checkEntries('loadStateDict', 'state dict', state);
  return new Map(entries.map(([name, value]) => [name, checkTensor('loadStateDict', show(name), value)]));
}

function mismatch(code: ErrorCode, module: string, parts: readonly (string | null)[]): FracstrideError {
  const got = parts.filter((part) => part !== null).join('; ');
  return new FracstrideError(code, `loadStateDict: state dict must match the module ${module}, got ${got}`);
}

function list<T>(what: string, values: readonly T[], text: (value: T) => string): string | null {
  return values.length === 0 ? null : `${what} ${values.map(text).join(', ')}`;
}

function sameShape(a: Tensor, b: Tensor): boolean {
  return a.shape.length === b.shape.length && a.shape.every((size, i) => size === b.shape[i]);
}

function sizeOf(value: Tensor): string {
  return `[${value.shape.join(', ')}]`;
}
