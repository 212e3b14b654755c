/**
 * Tensor: a strided window onto reference-counted storage, and its place in the graph of autograd. Operations are
 * functions of other files; what they need of a tensor is here.
 *
 * Memory: each live Tensor object holds one reference to its storage, and so does everything saved for a backward pass.
 * `dispose()` (or `using`, or the end of a `scope`) gives the Tensor's reference back; when the last goes, the bytes are
 * free at once. A finalizer does the same for objects that were simply forgotten, some time later.
 */

import { type Backward, type Leaf, Node, type Saved } from './autograd.js';
import { mode, type Owned, Scope, section } from './context.js';
import type { Device, DeviceName } from './device.js';
import { type Dtype, elementBytes, isFloat } from './dtype.js';
import { FracstrideError, show } from './errors.js';
import type { Methods } from './method_types.js';
import { contiguousStrides, elementCount, isDense, type Layout, layoutOf } from './shape.js';
import { Storage, type Window } from './storage.js';

export type { Window };

/** What `console.log` asks an object for, by its registered name: declarations then need no types of Node. */
export const INSPECT = Symbol.for('nodejs.util.inspect.custom');

/** What a Tensor object, and after it the finalizer, gives back exactly once. It must not lead to a Tensor. */
interface Lease {
  readonly storage: Storage;
  readonly node: Node<Tensor> | null;
  open: boolean;
  /** Whether the finalizer knows of it. */
  watched: boolean;
}

function end(lease: Lease): void {
  if (!lease.open) return;
  lease.open = false;
  lease.storage.release();
  lease.node?.release();
}

const forgotten = new FinalizationRegistry<Lease>(end);

interface State extends Window, Leaf<Tensor>, Owned {
  readonly lease: Lease;
  /**
   * Frozen copies of shape and strides, made when somebody outside asks for them: V8 reads elements of frozen arrays by
   * a call each.
   */
  shown: { readonly shape: readonly number[]; readonly strides: readonly number[] } | null;
  requiresGrad: boolean;
  /** The node that made this tensor, or null for a leaf. */
  readonly node: Node<Tensor> | null;
  /** Whether this tensor is the gradient of another, with which it goes. */
  collected: boolean;
  /** Where a leaf's gradient is collected, once an operation has asked. */
  leafNode: Node<Tensor> | null;
}

const KEY = Symbol('made by the package');

export interface Tensor extends Methods<Tensor> {}

/**
 * An n-dimensional array of numbers on a device. Made by `tensor`, `zeros`, … and by operations, never by `new`.
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: methods.ts puts the methods on the prototype
export class Tensor {
  readonly #state: State;

  /** @internal */
  constructor(key: symbol, window: Window, node: Node<Tensor> | null, requiresGrad: boolean) {
    if (key !== KEY)
      throw new TypeError('Tensor: a tensor must be made by tensor(), zeros() or another factory, got new Tensor()');
    const { storage, offset, shape, strides, dtype } = window;
    node?.retain();
    this.#state = {
      storage,
      offset,
      shape,
      strides,
      dtype,
      shown: null,
      lease: { storage: storage.retain(), node, open: true, watched: false },
      requiresGrad,
      node,
      collected: false,
      leafNode: null,
      grad: null,
      scope: null,
    };
    this.#join(mode().scope);
  }

  /** Sizes of all dimensions. */
  get shape(): readonly number[] {
    return this.#shown().shape;
  }

  /** Element type. */
  get dtype(): Dtype {
    return this.#live().dtype;
  }

  /** 'cpu' or 'cuda:N'. */
  get device(): DeviceName {
    return this.#live().storage.device.name;
  }

  /** 'nhwc' when a 4-D tensor lies channels-last in memory, else 'nchw'. The shape is (N, C, H, W) in both. */
  get layout(): Layout {
    const { shape, strides } = this.#live();
    return layoutOf(shape, strides);
  }

  /** Elements between neighbours along each dimension. */
  get strides(): readonly number[] {
    return this.#shown().strides;
  }

  /** Number of dimensions. */
  get ndim(): number {
    return this.#live().shape.length;
  }

  /** Number of elements. */
  numel(): number {
    return elementCount(this.#live().shape);
  }

  /** All sizes, or that of one dimension (negative counts from the end). @throws ERR_ARGUMENT */
  size(): readonly number[];
  size(dim: number): number;
  size(dim?: number): readonly number[] | number {
    const { shape } = this.#shown();
    if (dim === undefined) return shape;
    const value = Number.isInteger(dim) ? shape.at(dim) : undefined;
    if (value !== undefined) return value;
    throw new FracstrideError(
      'ERR_ARGUMENT',
      `size: dim must be an integer in [${-shape.length}, ${shape.length - 1}], got ${show(dim)}`,
    );
  }

  /** Whether the elements lie in row-major order without gaps. */
  get isContiguous(): boolean {
    const { shape, strides } = this.#live();
    return isDense(shape, strides, contiguousStrides(shape));
  }

  /** Whether operations on this tensor are recorded. Only float tensors, and only leaves can be set. */
  get requiresGrad(): boolean {
    return this.#live().requiresGrad;
  }

  set requiresGrad(value: boolean) {
    const state = this.#live();
    if (typeof value !== 'boolean')
      throw new FracstrideError('ERR_ARGUMENT', `requiresGrad: value must be a boolean, got ${show(value)}`);
    if (state.node !== null) {
      throw new FracstrideError(
        'ERR_ARGUMENT',
        `requiresGrad: the tensor must be a leaf, got the result of ${state.node.name}; detach() it first`,
      );
    }
    if (value) checkDifferentiable('requiresGrad', state.dtype);
    state.requiresGrad = value;
  }

  /** Whether no recorded operation made this tensor. */
  get isLeaf(): boolean {
    return this.#live().node === null;
  }

  /** The gradient that backward passes have added up, for a leaf; it belongs to this tensor and goes with it. */
  get grad(): Tensor | null {
    return this.#live().grad;
  }

  set grad(value: Tensor | null) {
    const state = this.#live();
    if (value === state.grad) return;
    if (value !== null) checkGradient(this, value);
    const before = state.grad;
    // What is another tensor's gradient already is shared, and outlives whichever of the two goes first.
    state.grad = value === null ? null : Tensor.collected(value.#state.collected ? alias(value) : value);
    before?.dispose();
  }

  /** Whether `dispose` has been called. */
  get isDisposed(): boolean {
    return !this.#state.lease.open;
  }

  /**
   * Gives this tensor's memory back; its gradient goes too. Views of it and graphs that saved it keep theirs. Any later
   * use of this object, but another `dispose`, throws ERR_DISPOSED.
   */
  dispose(): void {
    Tensor.#end(this.#state);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal The parts that operations use. @throws ERR_DISPOSED */
  static window(value: Tensor): Window {
    return value.#live();
  }

  /** @internal The node that collects this tensor's gradient, or null when none is wanted. */
  static edge(value: Tensor): Node<Tensor> | null {
    const state = value.#live();
    if (!state.requiresGrad) return null;
    if (state.node !== null) return state.node;
    state.leafNode ??= new Node<Tensor>({ name: 'leaf', inputs: [], saved: [], backward: null, leaf: state });
    return state.leafNode;
  }

  /** @internal */
  static move(value: Tensor, scope: Scope | null): void {
    value.#join(scope);
  }

  /** @internal Whether a scope owns a tensor. */
  static isOwned(value: Tensor, scope: Scope | null): boolean {
    return value.#state.scope === scope;
  }

  /** @internal Makes a tensor somebody's gradient: it is taken out of every scope. */
  static collected(value: Tensor): Tensor {
    value.#state.collected = true;
    value.#join(null);
    return value;
  }

  /** @internal Lets a tensor leave a scope that owns it for another one. */
  static release(value: Tensor, inside: Scope, outer: Scope | null): void {
    if (value.#state.scope === inside) value.#join(outer);
  }

  /** @internal Disposes what a scope still owns at its end, but not its gradient where that is `reached`. */
  static discard(owned: Owned, reached: ReadonlySet<unknown> | null, outer: Scope | null): void {
    const state = owned as State;
    if (state.grad !== null && reached?.has(state.grad)) {
      state.grad.#join(outer);
      state.grad = null;
    }
    Tensor.#end(state);
  }

  /** Whether a value is a tensor of this package (disposed or not). */
  static isTensor(value: unknown): value is Tensor {
    return typeof value === 'object' && value !== null && #state in value;
  }

  #live(): State {
    const state = this.#state;
    if (!state.lease.open)
      throw new FracstrideError(
        'ERR_DISPOSED',
        'tensor: a tensor must be used before it is disposed, got one that is disposed',
      );
    return state;
  }

  #shown() {
    const state = this.#live();
    state.shown ??= { shape: Object.freeze([...state.shape]), strides: Object.freeze([...state.strides]) };
    return state.shown;
  }

  /** A tensor that only a brief scope owns needs no finalizer: the scope ends it, or hands it on. */
  #join(scope: Scope | null): void {
    const state = this.#state;
    Scope.move(state, scope);
    const { lease } = state;
    if (lease.watched || state.scope?.brief) return;
    lease.watched = true;
    forgotten.register(this, lease, lease);
  }

  static #end(state: State): void {
    const { lease } = state;
    if (!lease.open) return;
    if (lease.watched) forgotten.unregister(lease);
    Scope.move(state, null);
    end(lease);
    state.grad?.dispose();
    state.grad = null;
    state.leafNode = null;
  }
}

/** Its sizes, as a plain array that nobody may write to; what users get is frozen. @throws ERR_DISPOSED */
export function shapeOf(value: Tensor): readonly number[] {
  return Tensor.window(value).shape;
}

/** A tensor over existing storage, of the scope that is open now. */
export function wrap(window: Window): Tensor {
  return new Tensor(KEY, window, null, false);
}

/** A tensor over fresh memory with undefined contents. Strides default to row-major. */
export function allocateTensor(a: {
  shape: readonly number[];
  dtype: Dtype;
  device: Device;
  strides?: readonly number[];
}): Tensor {
  const storage = new Storage(a.device, elementCount(a.shape) * elementBytes(a.dtype));
  const strides = a.strides ?? contiguousStrides(a.shape);
  return wrap({ storage, offset: 0, shape: a.shape, strides, dtype: a.dtype });
}

/** One recorded operation: how its result depends on its inputs. Closures get saved tensors, and must hold none. */
export interface Recipe {
  readonly name: string;
  readonly inputs: readonly Tensor[];
  /** What `backward` needs; the result itself may be among them. */
  readonly saved?: readonly Tensor[];
  readonly backward: Backward<Tensor>;
}

/**
 * Makes a freshly computed tensor the result of an operation. Returns `output` itself when nothing is recorded, else a
 * tensor with the same window that takes its place: the closure `backward` may hold `output` without anybody seeing it,
 * as V8 keeps one context for all closures of a function, and would keep a result alive that leads to that closure.
 */
export function record(output: Tensor, recipe: Recipe): Tensor {
  if (!mode().recording || !recipe.inputs.some(isTracked)) return output;
  const { name, backward } = recipe;
  const saved = recipe.saved?.map((value) => new SavedTensor(value, name, value === output)) ?? [];
  const node = new Node<Tensor>({ name, inputs: recipe.inputs.map(Tensor.edge), saved, backward, leaf: null });
  for (const value of saved) value.recorded(node);
  const result = new Tensor(KEY, Tensor.window(output), node, true);
  output.dispose();
  return result;
}

function isTracked(value: Tensor): boolean {
  return value.requiresGrad;
}

/** A tensor kept for later: a reference to its storage and, unless it is the operation's own result, to its node. */
class SavedTensor implements Saved<Tensor> {
  readonly #window: Window;
  readonly #version: number;
  readonly #name: string;
  readonly #own: boolean;
  #node: Node<Tensor> | null;

  constructor(value: Tensor, name: string, own: boolean) {
    const { storage, offset, shape, strides, dtype } = Tensor.window(value);
    this.#window = { storage: storage.retain(), offset, shape, strides, dtype };
    this.#version = storage.version;
    this.#name = name;
    this.#own = own;
    this.#node = own ? null : Tensor.edge(value);
    this.#node?.retain();
  }

  /** Tells the node that saves it. An operation's own result leads to that node, and is no reason for it to stay. */
  recorded(node: Node<Tensor>): void {
    if (this.#own) this.#node = node;
  }

  unpack(): Tensor {
    checkVersion(this.#name, this.#version, this.#window.storage.version);
    return new Tensor(KEY, this.#window, this.#node, this.#node !== null);
  }

  release(): void {
    this.#window.storage.release();
    if (!this.#own) this.#node?.release();
  }
}

function checkVersion(name: string, saved: number, now: number): void {
  if (saved === now) return;
  throw new FracstrideError(
    'ERR_ARGUMENT',
    `backward: a tensor saved by ${name} must be unchanged since, got one written to ${now - saved} more times; clone it before it is written to`,
  );
}

/** Another handle to the same window and node. */
export function alias(value: Tensor): Tensor {
  const edge = Tensor.edge(value);
  return new Tensor(KEY, Tensor.window(value), edge, edge !== null);
}

/** Another handle to the same window, outside the graph. */
export function detached(value: Tensor): Tensor {
  return wrap(Tensor.window(value));
}

/** Whether several elements of a tensor are one place in memory, as after `expand`: none that can be written to. */
export function isExpanded(value: Tensor): boolean {
  const { shape, strides } = Tensor.window(value);
  return !shape.includes(0) && shape.some((size, i) => size > 1 && strides[i] === 0);
}

/** Takes a tensor out of every scope: it lives until it is disposed. Returns it. */
export function keep(value: Tensor): Tensor {
  if (!Tensor.isTensor(value))
    throw new FracstrideError('ERR_ARGUMENT', `keep: value must be a tensor, got ${show(value)}`);
  Tensor.move(value, null);
  return value;
}

/** Called by whatever writes into a tensor that exists: backward passes that saved it then refuse. */
export function markWritten(value: Tensor): void {
  Tensor.window(value).storage.version++;
}

/** Runs a synchronous part of an operation in a scope of its own; only the tensors it returns live on. */
export function tidy<R extends Tensor | readonly (Tensor | null)[]>(fn: () => R): R {
  const inside = new Scope(true);
  const outer = mode().scope;
  try {
    const result = section({ scope: inside }, fn);
    if (Tensor.isTensor(result)) Tensor.release(result, inside, outer);
    else
      for (const value of result as readonly (Tensor | null)[])
        if (value !== null) Tensor.release(value, inside, outer);
    return result;
  } finally {
    inside.close(discard);
  }
}

function discard(value: Owned): void {
  Tensor.discard(value, null, null);
}

/** Runs a synchronous part of an operation without recording. */
export function unrecorded<R>(fn: () => R): R {
  return section({ recording: false }, fn);
}

/** @throws FracstrideError ERR_DTYPE */
export function checkDifferentiable(where: string, dtype: Dtype): void {
  if (!isFloat(dtype))
    throw new FracstrideError('ERR_DTYPE', `${where}: dtype must be a float type for gradients, got ${show(dtype)}`);
}

function checkGradient(tensor: Tensor, value: unknown): void {
  if (!Tensor.isTensor(value) || value === tensor) {
    const got = value === tensor ? 'the tensor itself' : show(value);
    throw new FracstrideError('ERR_ARGUMENT', `grad: value must be another tensor or null, got ${got}`);
  }
  const owner = Tensor.window(tensor);
  const { shape, dtype, storage } = Tensor.window(value);
  const fits =
    dtype === owner.dtype && storage.device === owner.storage.device && String(shape) === String(owner.shape);
  if (fits) return;
  throw new FracstrideError(
    'ERR_SHAPE',
    `grad: value must be ${owner.dtype} of shape [${owner.shape}] on ${owner.storage.device.name}, got ${dtype} of shape [${shape}] on ${storage.device.name}`,
  );
}
