/**
 * Weights as kernels re-order them, kept with the memory that they were made of: made again when that was written to,
 * given back when it goes, when caches are emptied and when memory is short.
 */

import { allocate, type Device, release, relieveWith } from './device.js';

/** Memory that kernels may keep re-ordered. */
export interface Packable {
  /** Counts writes. */
  readonly version: number;
  packings: Packings | null;
}

/** A buffer of a kernel's; its contents are named by the stamp. */
interface Packed {
  readonly handle: number;
  readonly bytes: number;
  version: number;
  stamp: number;
  /** Whether a copy has to make the contents first; kernels that pack by themselves know it by the stamp. */
  stale: boolean;
}

/** Something that can be made again from the memory it was made of. */
export interface Derived {
  /** Gives everything back. */
  free(): void;
}

/** Those that hold something, and the bytes they hold, by device. */
const holders = new Map<Device, Set<Derived>>();
const held = new Map<Device, number>();

/** Counts bytes of a device as a cache's, to be given back by `owner.free()` when memory is short. */
export function hold(device: Device, owner: Derived, bytes: number): void {
  const others = holders.get(device) ?? new Set();
  holders.set(device, others.add(owner));
  count(device, bytes);
}

/** The owner holds nothing any more; it held so many bytes. */
export function letGo(device: Device, owner: Derived, bytes: number): void {
  holders.get(device)?.delete(owner);
  count(device, -bytes);
}

// No two environments of a process, which share memory that was freed, should use the same numbers.
let stamps = Math.floor(Math.random() * 2 ** 52);

/** A name for the contents of a packed buffer that no other has had. */
export function nextStamp(): number {
  stamps = stamps === Number.MAX_SAFE_INTEGER ? 1 : stamps + 1;
  return stamps;
}

/** Counts what may have written to any memory without its version counting it. */
let rewrites = 0;

/** From here on nothing that was packed is taken for what its weight is: a recorded graph has run. */
export function distrustPackings(): void {
  rewrites++;
}

/** How often that was said: what was made of memory before the last time may be of other contents. */
export function distrusted(): number {
  return rewrites;
}

/** Everything that was made of one piece of memory. */
export class Packings implements Derived {
  readonly #device: Device;
  readonly #kept = new Map<string, Packed>();
  #rewrites = rewrites;

  constructor(device: Device) {
    this.#device = device;
  }

  /** The buffer of this key for contents of this version: under its old stamp when they are what it was made of. */
  take(key: string, bytes: number, version: number): Packed {
    if (this.#rewrites !== rewrites) for (const packed of this.#kept.values()) packed.version = Number.NaN;
    this.#rewrites = rewrites;
    const known = this.#kept.get(key);
    if (known !== undefined) {
      if (known.version !== version) Object.assign(known, { version, stamp: nextStamp(), stale: true });
      return known;
    }
    const made = { handle: allocate(this.#device, bytes), bytes, version, stamp: nextStamp(), stale: true };
    this.#kept.set(key, made);
    hold(this.#device, this, bytes);
    return made;
  }

  /** Gives everything back. */
  free(): void {
    let bytes = 0;
    for (const kept of this.#kept.values()) {
      release(this.#device, kept.handle);
      bytes += kept.bytes;
    }
    this.#kept.clear();
    letGo(this.#device, this, bytes);
  }
}

function count(device: Device, bytes: number): void {
  held.set(device, packedBytes(device) + bytes);
}

/** Bytes of a device that packed and folded weights hold. */
export function packedBytes(device: Device): number {
  return held.get(device) ?? 0;
}

/** What they hold is a cache: it goes before an allocation fails. */
relieveWith((device) => {
  const some = packedBytes(device) > 0;
  for (const derived of holders.get(device) ?? []) derived.free();
  return some;
});
