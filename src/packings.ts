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
  /** Of the weight in its memory. */
  readonly byteOffset: number;
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
  /** By key: a text made anew at every look-up would have to be hashed anew. */
  readonly #kept = new Map<string, Packed[]>();
  #rewrites = rewrites;

  constructor(device: Device) {
    this.#device = device;
  }

  /** The buffer of this key and offset for contents of this version: under its old stamp when they are what it was made of. */
  take({ key, bytes }: { readonly key: string; readonly bytes: number }, byteOffset: number, version: number): Packed {
    if (this.#rewrites !== rewrites) for (const packed of this.#all()) packed.version = Number.NaN;
    this.#rewrites = rewrites;
    const kept = this.#kept.get(key);
    const known = kept?.find((packed) => packed.byteOffset === byteOffset);
    if (known !== undefined) {
      if (known.version !== version) Object.assign(known, { version, stamp: nextStamp(), stale: true });
      return known;
    }
    const handle = allocate(this.#device, bytes);
    const made = { byteOffset, handle, bytes, version, stamp: nextStamp(), stale: true };
    // The allocation may have made room by freeing what was kept.
    const now = this.#kept.get(key);
    if (now === undefined) this.#kept.set(key, [made]);
    else now.push(made);
    hold(this.#device, this, bytes);
    return made;
  }

  *#all(): Generator<Packed> {
    for (const kept of this.#kept.values()) yield* kept;
  }

  /** Gives everything back. */
  free(): void {
    let bytes = 0;
    for (const packed of this.#all()) {
      release(this.#device, packed.handle);
      bytes += packed.bytes;
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
