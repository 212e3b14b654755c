/**
 * Tensor: a strided window onto reference-counted storage, and its place in the graph of autograd. Operations are
 * functions of other files; what they need of a tensor is here.
 *
 * Memory: each live Tensor object holds one reference to its storage, and so does everything saved for a backward pass.
 * `dispose()` (or `using`, or the end of a `scope`) gives the Tensor's reference back; when the last goes, the bytes are
 * free at once. A finalizer does the same for objects that were simply forgotten, some time later.
 */

import { type Backward, type Leaf, Node, type Saved } from './autograd.js';
import { mode, Scope, section } from './context.js';
import type { Device, DeviceName } from './device.js';
import { type Dtype, elementBytes, isFloat } from './dtype.js';
import { FracstrideError, show } from './errors.js';
import type { Methods } from './method_types.js';
import { contiguousStrides, elementCount, isDense, type Layout, layoutOf } from './shape.js';
import { Storage, type Window } from './storage.js';

export type { Window };

/** What a Tensor object, and after it the finalizer, gives back exactly once. */
interface Lease {
  readonly storage: Storage;
  readonly node: Node<Tensor> | null;
  open: boolean;
}

function end(lease: Lease): void {
  if (!lease.open) return;
  lease.open = false;
  lease.storage.release();
  lease.node?.release();
}

const forgotten = new FinalizationRegistry<Lease>(end);

interface State extends Window, Leaf<Tensor> {
  readonly lease: Lease;
  requiresGrad: boolean;
  /** The node that made this tensor, or null for a leaf. */
  readonly node: Node<Tensor> | null;
  /** Where a leaf's gradient is collected, once an operation has asked. */
  leafNode: Node<Tensor> | null;
  scope: Scope | null;
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
    const lease: Lease = { storage: window.storage.retain(), node: node?.retain() ?? null, open: true };
    const { storage, offset, shape, strides, dtype } = window;
    const fixed = { shape: Object.freeze(shape), strides: Object.freeze(strides) };
    this.#state = {
      storage,
      offset,
      ...fixed,
      dtype,
      lease,
      requiresGrad,
      node,
      leafNode: null,
      grad: null,
      scope: null,
    };
    forgotten.register(this, lease, lease);
    this.#join(mode().scope);
  }

  /** Sizes of all dimensions. */
  get shape(): readonly number[] {
    return this.#live().shape;
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
    return this.#live().strides;
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
    const { shape } = this.#live();
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
    if (value !== null) checkGradient(state, value);
    state.grad?.dispose();
    state.grad = value;
    if (value !== null) keep(value);
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
    const state = this.#state;
    if (!state.lease.open) return;
    forgotten.unregister(state.lease);
    this.#join(null);
    end(state.lease);
    state.grad?.dispose();
    state.grad = null;
    state.leafNode = null;
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

  /** @internal Disposes a tensor at the end of a scope, but not its gradient where that is returned. */
  static discard(value: Tensor, reached: ReadonlySet<unknown>, outer: Scope | null): void {
    const state = value.#state;
    if (state.grad !== null && reached.has(state.grad)) {
      state.grad.#join(outer);
      state.grad = null;
    }
    value.dispose();
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

  #join(scope: Scope | null): void {
    const state = this.#state;
    state.scope?.delete(this);
    state.scope = scope?.add(this) ? scope : null;
  }
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
  return wrap({ storage, offset: 0, shape: [...a.shape], strides: [...strides], dtype: a.dtype });
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
 * tensor with the same window that takes its place.
 */
export function record(output: Tensor, recipe: Recipe): Tensor {
  if (!mode().recording || !recipe.inputs.some((input) => input.requiresGrad)) return output;
  const inputs = recipe.inputs.map((input) => Tensor.edge(input));
  const self: { node: Node<Tensor> | null } = { node: null };
  const saved = (recipe.saved ?? []).map((value) => save(value, value === output ? self : null, recipe.name));
  const node = new Node<Tensor>({ name: recipe.name, inputs, saved, backward: recipe.backward, leaf: null });
  self.node = node;
  const result = new Tensor(KEY, Tensor.window(output), node, true);
  output.dispose();
  return result;
}

/** Keeps a tensor for later: a reference to its storage and, unless it is the operation's own result, to its node. */
function save(value: Tensor, self: { node: Node<Tensor> | null } | null, name: string): Saved<Tensor> {
  const { storage, offset, shape, strides, dtype } = Tensor.window(value);
  const window = { storage, offset, shape, strides, dtype };
  const edge = self === null ? Tensor.edge(value) : null;
  const version = window.storage.version;
  window.storage.retain();
  edge?.retain();
  return {
    unpack(): Tensor {
      checkVersion(name, version, window.storage.version);
      const node = self === null ? edge : self.node;
      return new Tensor(KEY, window, node, node !== null);
    },
    release(): void {
      window.storage.release();
      edge?.release();
    },
  };
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
  const inside = new Scope();
  const outer = mode().scope;
  let result: R | undefined;
  try {
    result = section({ scope: inside }, fn);
    return result;
  } finally {
    const escaping = new Set<unknown>(Array.isArray(result) ? result : [result]);
    inside.close(
      escaping,
      (value) => Tensor.move(value as Tensor, outer),
      (value) => value.dispose(),
    );
  }
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

function checkGradient(owner: Window, value: unknown): void {
  if (!Tensor.isTensor(value))
    throw new FracstrideError('ERR_ARGUMENT', `grad: value must be a tensor or null, got ${show(value)}`);
  const { shape, dtype, storage } = Tensor.window(value);
  const fits =
    dtype === owner.dtype && storage.device === owner.storage.device && String(shape) === String(owner.shape);
  if (fits) return;
  throw new FracstrideError(
    'ERR_SHAPE',
    `grad: value must be ${owner.dtype} of shape [${owner.shape}] on ${owner.storage.device.name}, got ${dtype} of shape [${shape}] on ${storage.device.name}`,
  );
}
