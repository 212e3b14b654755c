/**
 * What all optimisers share: groups of parameters with hyperparameters of their own, state a parameter, and the state
 * dict in PyTorch's form, `{ state: { index: { … } }, param_groups: [{ …, params: [index, …] }] }`.
 */

import { checkBoolean, fail, read, options as readOptions } from '../checks.js';
import { checkIterable } from '../nn/arguments.js';
import { zeroInPlace } from '../nn/in_place.js';
import type { Parameter } from '../nn/parameter.js';
import { Tensor } from '../tensor.js';
import { type Hyperparameter, type HyperTable, type HyperValue, readHyper } from './hyper.js';
import {
  checkParameter,
  checkStateDict,
  copyState,
  disposeState,
  type GroupDict,
  type OptimizerStateDict,
  type ParameterState,
} from './state.js';

/** Parameters that share hyperparameters, which may be changed between steps (`group.lr = …`). */
export type ParamGroup<H> = H & { readonly params: readonly Parameter[] };

/** What constructors take: parameters, or groups of them with hyperparameters that differ from the defaults. */
export type ParamsOrGroups<H> = Iterable<Parameter> | Iterable<Partial<H> & { readonly params: Iterable<Parameter> }>;

export interface ValueAndGradient {
  readonly value: Parameter;
  readonly gradient: Tensor;
}

export abstract class Optimizer<H extends object> {
  readonly paramGroups: ParamGroup<H>[] = [];
  readonly #name: string;
  readonly #table: HyperTable<H>;
  readonly #defaults: H;
  protected readonly state = new Map<Parameter, ParameterState>();

  protected constructor(name: string, params: ParamsOrGroups<H>, options: unknown, table: HyperTable<H>) {
    this.#name = name;
    this.#table = table;
    const keys = Object.keys(table) as (keyof H & string)[];
    const defaults = Object.fromEntries(keys.map((key) => [key, table[key].default])) as H;
    this.#defaults = this.#read(readOptions(name, options, keys), defaults);
    const entries = checkIterable(name, 'params', params);
    if (entries.length === 0) fail('ERR_ARGUMENT', name, 'params', 'at least one parameter', []);
    const groups = !entries.some((entry) => Tensor.isTensor(entry));
    for (const group of groups ? entries : [{ params: entries }]) this.addParamGroup(group as ParamGroup<Partial<H>>);
  }

  /**
   * Adds parameters with hyperparameters of their own; those that are absent are the constructor's.
   *
   * @throws FracstrideError ERR_ARGUMENT when a parameter is not a leaf, or is in a group already
   */
  addParamGroup(group: Partial<H> & { readonly params: Iterable<Parameter> }): void {
    const keys = Object.keys(this.#table) as (keyof H & string)[];
    const { params, ...given } = readOptions(this.#name, group, ['params', ...keys]);
    const values = this.#read(given as Record<string, unknown>, this.#defaults);
    const list = checkIterable(this.#name, 'params', params).map((value) => checkParameter(this.#name, value));
    if (list.length === 0) fail('ERR_ARGUMENT', this.#name, 'params', 'at least one parameter', list);
    const taken = new Set(this.paramGroups.flatMap((other) => other.params));
    for (const value of list) {
      if (taken.has(value))
        fail('ERR_ARGUMENT', this.#name, 'a parameter', 'in one group once', 'one that appears twice');
      taken.add(value);
    }
    this.paramGroups.push({ ...values, params: list });
  }

  /**
   * Updates every parameter that has a gradient. A closure is called first: it computes the loss again and returns it,
   * and so does `step`.
   */
  step(): void;
  step<R>(closure: () => R): R;
  step<R>(closure?: () => R): R | undefined {
    if (closure !== undefined && typeof closure !== 'function')
      fail('ERR_ARGUMENT', 'step', 'closure', 'a function', closure);
    const result = closure?.();
    for (const group of this.paramGroups) {
      const pairs = group.params.flatMap((value) => (value.grad === null ? [] : [{ value, gradient: value.grad }]));
      if (pairs.length > 0) this.update(pairs, group);
    }
    return result;
  }

  /** Drops the gradients of all parameters, or with `setToNone: false` fills them with zeros. */
  zeroGrad(options: { readonly setToNone?: boolean } = {}): void {
    const found = readOptions('zeroGrad', options, ['setToNone']);
    const drop = checkBoolean('zeroGrad', 'setToNone', found.setToNone, true);
    const params = this.paramGroups.flatMap((group) => group.params);
    if (drop) for (const value of params) value.grad = null;
    else zeroInPlace(params.map((value) => value.grad).filter((gradient) => gradient !== null));
  }

  /** State and hyperparameters under PyTorch's names. Tensors are the optimiser's own, not copies. */
  stateDict(): OptimizerStateDict {
    const params = this.paramGroups.flatMap((group) => group.params);
    const index = new Map(params.map((value, i) => [value, i]));
    const state = Object.fromEntries([...this.state].map(([value, entry]) => [index.get(value)!, { ...entry }]));
    const rows = Object.entries(this.#table) as [keyof H & string, Hyperparameter][];
    const groups = this.paramGroups.map((group) => ({
      ...Object.fromEntries(rows.map(([key, row]) => [row.stateName, group[key] as HyperValue])),
      params: group.params.map((value) => index.get(value)!),
    }));
    return { state, param_groups: groups };
  }

  /**
   * Takes over hyperparameters, and copies of the state, from the state dict of an optimiser over the same parameters.
   *
   * @throws FracstrideError ERR_ARGUMENT when groups or their sizes differ, ERR_SHAPE when a state's shape does
   */
  loadStateDict(dict: OptimizerStateDict): void {
    const { values, copies } = read(this.#name, 'state dict', () => this.#readState(dict));
    values.forEach((value, i) => {
      Object.assign(this.paramGroups[i]!, value, { params: this.paramGroups[i]!.params });
    });
    this.dispose();
    for (const [value, entry] of copies) this.state.set(value, entry);
  }

  /** Gives the memory of the state back; the parameters stay. */
  dispose(): void {
    for (const entry of this.state.values()) disposeState(entry);
    this.state.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Moves a group's parameters along their gradients, in place. */
  protected abstract update(pairs: readonly ValueAndGradient[], group: ParamGroup<H>): void;

  /** Checks what the rows of the table cannot say on their own. */
  protected validate(_values: H): void {}

  #readState(dict: OptimizerStateDict): { values: H[]; copies: Map<Parameter, ParameterState> } {
    const groups = checkStateDict(
      this.#name,
      dict,
      this.paramGroups.map((group) => group.params.length),
    );
    const rows = Object.entries(this.#table) as [keyof H & string, Hyperparameter][];
    const values = groups.map((group, i) => {
      const known = rows.filter(([, row]) => group[row.stateName] !== undefined);
      return this.#read(
        Object.fromEntries(known.map(([key, row]) => [key, group[row.stateName]])),
        this.paramGroups[i]!,
      );
    });
    return { values, copies: this.#copyStates(dict, groups) };
  }

  #read(given: Record<string, unknown>, otherwise: H): H {
    const values = readHyper(this.#name, this.#table, given, otherwise);
    this.validate(values);
    return values;
  }

  #copyStates(dict: OptimizerStateDict, groups: readonly GroupDict[]): Map<Parameter, ParameterState> {
    const copies = new Map<Parameter, ParameterState>();
    try {
      groups.forEach((group, i) => {
        group.params.forEach((key, j) => {
          const entry = dict.state[key];
          const value = this.paramGroups[i]!.params[j]!;
          if (entry !== undefined) copies.set(value, copyState(this.#name, entry, value));
        });
      });
    } catch (error) {
      for (const entry of copies.values()) disposeState(entry);
      throw error;
    }
    return copies;
  }
}
