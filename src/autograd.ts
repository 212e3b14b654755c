/**
 * Reverse-mode differentiation over a graph of nodes. Knows no operation and no tensor: a value is anything of type T.
 *
 * A node stands for one recorded operation. Its inputs are the nodes that made its operands (null where no gradient is
 * wanted). Nodes are numbered as they are recorded, so a node's inputs always have smaller numbers and walking down the
 * numbers is a topological order: the order of every sum, hence every bit of a gradient, is the same in each run.
 *
 * Nodes are counted: tensors, later nodes and saved values that lead to a node each hold one reference. When the last
 * goes, the node lets go of what it saved and of its inputs; a loop that never calls backward does not grow.
 */

import { FracstrideError } from './errors.js';

/** An operand or a result kept for the backward pass. */
export interface Saved<T> {
  /** A fresh value; throws when the memory was written to since. */
  unpack(): T;
  release(): void;
}

/** Gradient of each input, null where there is none; `needed[i]` says whether anybody asks for input i's. */
export type Backward<T> = (gradient: T, saved: T[], needed: readonly boolean[]) => (T | null)[];

/** A tensor that the user made, and that collects its gradient. */
export interface Leaf<T> {
  grad: T | null;
  /** Closed once the user has disposed of it: what arrives then is dropped. */
  readonly lease: { readonly open: boolean };
}

let recorded = 0;

export class Node<T> {
  readonly order = ++recorded;
  readonly name: string;
  readonly inputs: readonly (Node<T> | null)[];
  readonly backward: Backward<T> | null;
  /** Whose gradient this node collects; null for operations. */
  readonly leaf: Leaf<T> | null;
  #saved: readonly Saved<T>[];
  #references = 0;
  #freed = false;

  constructor(a: {
    name: string;
    inputs: readonly (Node<T> | null)[];
    saved: readonly Saved<T>[];
    backward: Backward<T> | null;
    leaf: Leaf<T> | null;
  }) {
    this.name = a.name;
    this.inputs = a.inputs;
    this.backward = a.backward;
    this.leaf = a.leaf;
    this.#saved = a.saved;
    for (const input of a.inputs) input?.retain();
  }

  retain(): this {
    this.#references++;
    return this;
  }

  /** Drops one reference; iterative, so that a graph of any depth unwinds. */
  release(): void {
    const pending: Node<T>[] = [this];
    for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
      if (--node.#references !== 0) continue;
      node.free();
      for (const input of node.inputs) if (input !== null) pending.push(input);
    }
  }

  /** Lets go of the saved values: a second backward through this node is refused from now on. */
  free(): void {
    const saved = this.#saved;
    this.#saved = [];
    this.#freed ||= saved.length > 0;
    for (const value of saved) value.release();
  }

  unpack(): T[] {
    if (this.#freed) {
      throw new FracstrideError(
        'ERR_ARGUMENT',
        `backward: the graph must still hold its saved tensors, got a second backward through ${this.name}; pass retainGraph: true to the first`,
      );
    }
    return this.#saved.map((value) => value.unpack());
  }
}

export interface Propagation<T> {
  readonly roots: readonly { node: Node<T>; gradient: T }[];
  /** Gradients of these nodes are returned and leaves stay as they are; null: every leaf collects its own. */
  readonly captures: readonly Node<T>[] | null;
  readonly retainGraph: boolean;
  /** The sum of two gradients; takes over both. */
  readonly add: (a: T, b: T) => T;
  /** Runs `node.backward` and returns values of the caller's own. */
  readonly evaluate: (node: Node<T>, gradient: T, needed: readonly boolean[]) => (T | null)[];
  /** Adds a gradient, which it takes over, to what a leaf has. */
  readonly collect: (leaf: Leaf<T>, gradient: T) => void;
  readonly dispose: (value: T) => void;
}

/** Sends the roots' gradients, which it takes over, through the graph; one gradient, or null, for each capture. */
export function propagate<T>(job: Propagation<T>): (T | null)[] {
  const order = reachable(job.roots.map((root) => root.node));
  const wanted = job.captures === null ? null : leadingTo(order, new Set(job.captures));
  const captured = new Map<Node<T>, T>();
  const pending = new Map<Node<T>, T>();
  const send = (node: Node<T>, gradient: T): void => {
    const before = pending.get(node);
    pending.set(node, gradient);
    if (before !== undefined) pending.set(node, job.add(before, gradient));
  };
  let finished = false;
  try {
    for (const root of job.roots) send(root.node, root.gradient);
    for (const node of order) visit(node);
    finished = true;
  } finally {
    for (const value of pending.values()) job.dispose(value);
    if (!finished) for (const value of captured.values()) job.dispose(value);
  }
  return (job.captures ?? []).map((node) => captured.get(node) ?? null);

  function visit(node: Node<T>): void {
    const gradient = pending.get(node);
    if (gradient === undefined) return;
    const keep = job.captures?.includes(node) ?? false;
    const needed = node.inputs.map((input) => input !== null && (wanted?.has(input) ?? true));
    if (needed.includes(true)) {
      const gradients = job.evaluate(node, gradient, needed);
      node.inputs.forEach((input, i) => {
        const value = gradients[i] ?? null;
        if (input !== null && value !== null) send(input, value);
      });
      if (!job.retainGraph) node.free();
    }
    pending.delete(node);
    if (keep) captured.set(node, gradient);
    else if (node.leaf !== null && job.captures === null) job.collect(node.leaf, gradient);
    else job.dispose(gradient);
  }
}

/** Every node that leads to the roots, latest first. */
function reachable<T>(roots: readonly Node<T>[]): Node<T>[] {
  const seen = new Set<Node<T>>(roots);
  for (const node of seen) for (const input of node.inputs) if (input !== null) seen.add(input);
  return [...seen].sort((a, b) => b.order - a.order);
}

/** Those nodes of `order` through which a gradient reaches one of `targets`. */
function leadingTo<T>(order: readonly Node<T>[], targets: ReadonlySet<Node<T>>): Set<Node<T>> {
  const found = new Set<Node<T>>();
  for (const node of order.toReversed()) {
    if (targets.has(node) || node.inputs.some((input) => input !== null && found.has(input))) found.add(node);
  }
  return found;
}
