/** Hyperparameters: for each its default, its name in PyTorch's state dict, and what it may be. */

import { checkArray, checkBoolean, fail } from '../checks.js';
import { BELOW_ONE, checkRule, NOT_NEGATIVE } from '../nn/arguments.js';

export type HyperValue = number | boolean | readonly [number, number];

export interface Hyperparameter<V = unknown> {
  readonly default: V;
  /** Key in `param_groups` of a state dict. */
  readonly stateName: string;
  readonly check: (where: string, what: string, value: unknown) => V;
}

export type HyperTable<H> = { readonly [K in keyof H]: Hyperparameter<H[K]> };

/** A number ≥ 0. */
export function notNegative(stateName: string, value: number): Hyperparameter<number> {
  const check = (where: string, what: string, given: unknown): number => checkRule(where, what, given, NOT_NEGATIVE);
  return { default: value, stateName, check };
}

export function flag(stateName: string): Hyperparameter<boolean> {
  return { default: false, stateName, check: (where, what, given) => checkBoolean(where, what, given, false) };
}

/** Two decay rates in [0, 1). */
export function decayPair(
  stateName: string,
  value: readonly [number, number],
): Hyperparameter<readonly [number, number]> {
  const check = (where: string, what: string, given: unknown): readonly [number, number] => {
    const list = checkArray(where, what, given);
    if (list.length !== 2) fail('ERR_ARGUMENT', where, what, 'two numbers in [0, 1)', list);
    return [checkRule(where, `${what}[0]`, list[0], BELOW_ONE), checkRule(where, `${what}[1]`, list[1], BELOW_ONE)];
  };
  return { default: value, stateName, check };
}

/** The values of a whole table: those given, checked, else those of `otherwise`. */
export function readHyper<H extends object>(
  where: string,
  table: HyperTable<H>,
  given: Readonly<Record<string, unknown>>,
  otherwise: H,
): H {
  const keys = Object.keys(table) as (keyof H & string)[];
  const entries = keys.map((key) => {
    const value = given[key];
    return [key, value === undefined ? otherwise[key] : table[key].check(where, key, value)] as const;
  });
  return Object.fromEntries(entries) as H;
}
