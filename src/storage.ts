/** Memory that several tensors may look at, counted. */

import { allocate, type Device, release } from './device.js';
import type { Dtype } from './dtype.js';
import type { Derived, Packings } from './packings.js';

/** Bytes on a device, shared by a tensor, its views and what backward passes saved of them. */
export class Storage {
  readonly device: Device;
  readonly bytes: number;
  readonly handle: number;
  /** Counts writes after creation; saved tensors compare it. */
  version = 0;
  /** What kernels keep of its contents, re-ordered. */
  packings: Packings | null = null;
  /** What modules keep of its contents, combined with those of others. */
  derived: Derived | null = null;
  #references = 0;

  constructor(device: Device, bytes: number) {
    this.device = device;
    this.bytes = bytes;
    this.handle = allocate(device, bytes);
  }

  get references(): number {
    return this.#references;
  }

  retain(): this {
    this.#references++;
    return this;
  }

  release(): void {
    if (--this.#references !== 0) return;
    this.packings?.free();
    this.derived?.free();
    release(this.device, this.handle);
  }
}

/** A window onto storage: everything about a tensor but its graph. Offset and strides count elements. */
export interface Window {
  readonly storage: Storage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly dtype: Dtype;
}
