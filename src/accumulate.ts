/**
 * Gradients added to those that leaves have already. The sums of a backward pass wait for one another, so that one launch
 * takes many of them; each is of two numbers an element, so nothing depends on how they are taken together.
 */

import { elementBytes } from './dtype.js';
import { inLaunches, runGroup } from './group.js';
import { pointwise } from './pointwise.js';
import { isDense, isPacked } from './shape.js';
import { Tensor } from './tensor.js';

/** Bytes of gradients that wait at most: they would be free otherwise. */
const MOST_BYTES = 64 * 2 ** 20;

interface Sum {
  readonly into: Tensor;
  readonly gradient: Tensor;
}

export class Sums {
  #waiting: Sum[] = [];
  #bytes = 0;
  /** Handles of the memory that sums which wait read and write. */
  readonly #read = new Set<number>();
  readonly #written = new Set<number>();

  /** into ← into + gradient, at the next `flush` at the latest; takes the gradient over. */
  add(into: Tensor, gradient: Tensor): void {
    const [to, from] = [Tensor.window(into), Tensor.window(gradient)];
    const [written, read] = [to.storage.handle, from.storage.handle];
    if (this.#written.has(written) || this.#written.has(read) || this.#read.has(written)) this.flush();
    to.storage.version++;
    if (into.numel() === 0 || !isPacked(to.shape, to.strides) || !isDense(to.shape, from.strides, to.strides)) {
      pointwise('add', to, [to, from]);
      gradient.dispose();
      return;
    }
    this.#waiting.push({ into, gradient });
    this.#read.add(read);
    this.#written.add(written);
    this.#bytes += into.numel() * elementBytes(to.dtype);
    if (this.#bytes > MOST_BYTES) this.flush();
  }

  flush(): void {
    for (const part of inLaunches('add_group', this.#waiting, ({ into }) => into)) {
      runGroup(
        'add_group',
        part.map(({ into, gradient }) => [into, gradient]),
      );
    }
    for (const { gradient } of this.#waiting) gradient.dispose();
    this.#waiting = [];
    this.#bytes = 0;
    this.#read.clear();
    this.#written.clear();
  }
}
