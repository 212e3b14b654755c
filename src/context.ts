/**
 * What holds for the code that runs now: the scope that owns new tensors, and whether operations are recorded.
 * Both belong to an async context (AsyncLocalStorage), so two awaiting functions never see each other's. Synchronous
 * sections inside the package (`section`) override them by a plain variable, which costs next to nothing.
 */

import { AsyncLocalStorage } from 'node:async_hooks';

/** Something a scope can own: it says itself which scope does, so that leaving one costs nothing. */
export interface Owned {
  scope: Scope | null;
  /** Closed once the value was disposed of, or forgotten and collected. */
  readonly lease: { readonly open: boolean };
}

export interface Mode {
  readonly scope: Scope | null;
  readonly recording: boolean;
}

const OUTSIDE: Mode = Object.freeze({ scope: null, recording: true });
const storage = new AsyncLocalStorage<Mode>();
let inner: Mode | null = null;

/** The mode of the code that runs now. */
export function mode(): Mode {
  return inner ?? storage.getStore() ?? OUTSIDE;
}

/** The tensors created in one call of `scope` that have neither escaped nor been disposed. */
export class Scope {
  /** What joined, in order; what has left since is still listed until the next sweep. */
  #joined: Owned[] = [];
  #sweepAt = 64;
  #open = true;
  /** Whether a synchronous section of the package closes it, whatever happens: nothing it owns can be forgotten. */
  readonly brief: boolean;

  constructor(brief: boolean) {
    this.brief = brief;
  }

  /** Makes a value the property of another scope, or of none: a closed one takes nothing. */
  static move(value: Owned, to: Scope | null): void {
    value.scope = to;
    if (to !== null) to.#add(value);
  }

  #add(value: Owned): void {
    if (!this.#open) {
      value.scope = null;
      return;
    }
    if (this.#joined.length >= this.#sweepAt) {
      this.#joined = this.#joined.filter((entry) => entry.scope === this && entry.lease.open);
      this.#sweepAt = 2 * this.#joined.length + 64;
    }
    this.#joined.push(value);
  }

  /** Hands everything that is still owned to `discard`. */
  close(discard: (value: Owned) => void): void {
    this.#open = false;
    for (const value of this.#joined) if (value.scope === this) discard(value);
    this.#joined = [];
  }
}

/** Runs a synchronous function of the package under another mode. */
export function section<R>(next: Partial<Mode>, fn: () => R): R {
  const before = inner;
  inner = changed(next);
  try {
    return fn();
  } finally {
    inner = before;
  }
}

/** Runs a user's function, sync or async, under another mode: what it awaits keeps that mode. */
export function enter<R>(next: Partial<Mode>, fn: () => R): R {
  const wanted = changed(next);
  const before = inner;
  inner = null;
  try {
    return storage.run(wanted, fn);
  } finally {
    inner = before;
  }
}

function changed(next: Partial<Mode>): Mode {
  const now = mode();
  return { scope: next.scope === undefined ? now.scope : next.scope, recording: next.recording ?? now.recording };
}

/** Every object reachable from a value through own data properties, arrays, maps and sets; runs no getter. */
export function reach(root: unknown): Set<unknown> {
  const seen = new Set<unknown>();
  const pending: object[] = [];
  const add = (value: unknown): void => {
    if (typeof value !== 'object' || value === null || seen.has(value)) return;
    seen.add(value);
    pending.push(value);
  };
  add(root);
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    try {
      visit(value, add);
    } catch {
      // A proxy that refuses to be looked at holds nothing that can be found.
    }
  }
  return seen;
}

const LONG = 2 ** 24;

function visit(value: object, add: (value: unknown) => void): void {
  if (ArrayBuffer.isView(value)) return;
  if (Array.isArray(value)) {
    // An array of holes can be longer than anybody can wait for.
    Array.prototype.forEach.call(value.length > LONG ? Object.values(value) : value, (entry) => add(entry));
    return;
  }
  if (value instanceof Map) {
    Map.prototype.forEach.call(value, (entry, key) => {
      add(entry);
      add(key);
    });
  }
  if (value instanceof Set) Set.prototype.forEach.call(value, (entry) => add(entry));
  for (const property of Object.values(Object.getOwnPropertyDescriptors(value))) add(property.value);
}
