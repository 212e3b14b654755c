/**
 * Module: a function with parameters, made of other modules. Everything is found by its properties, in the order they
 * were set: a property that holds a Module is a child, one that holds a tensor declared by `parameter` is a parameter,
 * and buffers (tensors that are kept but not trained) are registered by name.
 *
 *   class Block extends nn.Module {
 *     up = new nn.ConvTranspose2d(8, 4, 4, { stride: 2, padding: 1 });
 *     act = new nn.ReLU();
 *     forward(x: Tensor): Tensor { return this.act.forward(this.up.forward(x)); }
 *   }
 */

import { checkBoolean, fail } from '../checks.js';
import { INSPECT, keep, Tensor } from '../tensor.js';
import { isParameter, type Parameter } from './parameter.js';
import { moveTensors, type Placement } from './placement.js';
import { moduleText } from './repr.js';
import { entriesOf, type LoadOptions, type LoadReport, loadInto, type StateDict } from './state.js';

/** A module that maps one tensor to one. */
export type Layer = Module & { forward(input: Tensor): Tensor };

export abstract class Module {
  /** True between `train()` and `eval()`; some modules behave differently. */
  training = true;
  /** Name in the state dict → property, for buffers. */
  readonly #buffers = new Map<string, string>();

  /** Whether a value is a module of this package, whatever its prototype says. */
  static isModule(value: unknown): value is Module {
    return typeof value === 'object' && value !== null && #buffers in value;
  }

  /** What the module computes. Sub-classes say of what, and what it throws. */
  abstract forward(...inputs: never[]): unknown;

  /** The same as `forward`. */
  call(...inputs: Parameters<this['forward']>): ReturnType<this['forward']> {
    return this.forward(...(inputs as never[])) as ReturnType<this['forward']>;
  }

  /** Parameters of this module and all below it; one that is shared is listed once. */
  parameters(): Parameter[] {
    return this.namedParameters().map(([, value]) => value);
  }

  /** The same with their names, e.g. '0.weight'. */
  namedParameters(): [name: string, value: Parameter][] {
    return distinct(this.namedModules().flatMap(([path, module]) => prefixed(path, module.ownParameters())));
  }

  /** Buffers of this module and all below it. */
  buffers(): Tensor[] {
    return this.namedBuffers().map(([, value]) => value);
  }

  /** The same with their names, e.g. '1.running_mean'. */
  namedBuffers(): [name: string, value: Tensor][] {
    return distinct(this.namedModules().flatMap(([path, module]) => prefixed(path, module.ownBuffers())));
  }

  /** The modules that are properties of this one. */
  children(): Module[] {
    return [...new Set(this.namedChildren().map(([, child]) => child))];
  }

  /** The same with the properties' names. */
  namedChildren(): [name: string, child: Module][] {
    return Object.entries(this).filter((entry): entry is [string, Module] => Module.isModule(entry[1]));
  }

  /** This module and all below it, each once. */
  modules(): Module[] {
    return this.namedModules().map(([, module]) => module);
  }

  /** The same with their paths; this module's is ''. */
  namedModules(): [path: string, module: Module][] {
    return collectModules(this, '', new Set());
  }

  /**
   * Parameters and buffers by name: the tensors themselves, not copies. The names are those of the PyTorch module of
   * the same structure.
   */
  stateDict(): StateDict {
    return Object.fromEntries(collectState(this, '', new Set()));
  }

  /**
   * Copies values into the parameters and buffers; float dtypes are converted. Nothing is changed when anything is
   * refused. `strict: false` passes over missing and unexpected names, which are returned.
   *
   * @throws FracstrideError ERR_ARGUMENT, or ERR_SHAPE / ERR_DTYPE when only sizes or types differ; the sentence names
   *   every key
   */
  loadStateDict(state: Readonly<StateDict> | ReadonlyMap<string, Tensor>, options: LoadOptions = {}): LoadReport {
    const given = entriesOf(state);
    for (const [path, module] of this.namedModules()) module.prepareLoad((name) => given.get(join(path, name)));
    return loadInto(this.constructor.name, this.stateDict(), given, options);
  }

  /**
   * Moves parameters and buffers to a device, floats also to a dtype. The module then holds new tensors: make the
   * optimiser after this call.
   */
  to(placement: Placement): this {
    const moved = moveTensors(
      this.modules().flatMap((module) => Object.values(module.ownTensors())),
      placement,
    );
    for (const module of this.modules()) {
      for (const [property, value] of Object.entries(module.ownTensors())) module.replace(property, moved.get(value)!);
    }
    for (const [before, after] of moved) if (before !== after) before.dispose();
    return this;
  }

  /** Puts this module and all below it into training mode, or with false into evaluation mode. */
  train(mode = true): this {
    const training = checkBoolean('train', 'mode', mode, true);
    for (const module of this.modules()) module.training = training;
    return this;
  }

  /** Evaluation mode: the same as `train(false)`. */
  eval(): this {
    return this.train(false);
  }

  /** Sets `requiresGrad` of every parameter: false freezes them. */
  requiresGrad_(value = true): this {
    for (const p of this.parameters()) p.requiresGrad = value;
    return this;
  }

  /** Drops the gradients of all parameters. */
  zeroGrad(): void {
    for (const p of this.parameters()) p.grad = null;
  }

  /** Calls `fn` with every module below this one, children first, and at last with this one. */
  apply(fn: (module: Module) => void): this {
    if (typeof fn !== 'function') fail('ERR_ARGUMENT', 'apply', 'fn', 'a function', fn);
    for (const child of this.children()) child.apply(fn);
    fn(this);
    return this;
  }

  /** Gives the memory of all parameters and buffers back. */
  dispose(): void {
    for (const value of [...this.parameters(), ...this.buffers()]) value.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** What stands between the parentheses of `toString`. */
  extraRepr(): string {
    return '';
  }

  /** The module as PyTorch prints it. */
  toString(): string {
    const children = this.namedChildren().map(([key, child]) => [key, child.toString()] as const);
    return moduleText(this.constructor.name, this.extraRepr(), children);
  }

  [INSPECT](): string {
    return this.toString();
  }

  /** Declares the tensor in `property` to be a buffer, `name` in the state dict; `scope` leaves it alone from then on. */
  protected registerBuffer(name: string, property: string = name): void {
    this.#buffers.set(name, property);
    const value = (this as unknown as Record<string, unknown>)[property];
    if (Tensor.isTensor(value)) keep(value);
  }

  /** @internal Called before values are loaded: for modules whose sizes come from them. */
  prepareLoad(_given: (name: string) => Tensor | undefined): void {}

  /** @internal Parameters of this module alone, by name. */
  ownParameters(): [string, Parameter][] {
    return Object.entries(this).filter((entry): entry is [string, Parameter] => isParameter(entry[1]));
  }

  /** @internal Buffers of this module alone, by their names in the state dict. */
  ownBuffers(): [string, Tensor][] {
    const fields = this as unknown as Record<string, unknown>;
    return [...this.#buffers]
      .map(([name, property]) => [name, fields[property]] as const)
      .filter((entry): entry is [string, Tensor] => Tensor.isTensor(entry[1]));
  }

  /** @internal Parameters and buffers of this module alone, by property. */
  ownTensors(): Record<string, Tensor> {
    const fields = this as unknown as Record<string, unknown>;
    const kept = [...this.#buffers.values()].filter((property) => Tensor.isTensor(fields[property]));
    const buffers = kept.map((property) => [property, fields[property] as Tensor] as const);
    return Object.fromEntries([...this.ownParameters(), ...buffers]);
  }

  /** @internal */
  replace(property: string, value: Tensor): void {
    (this as unknown as Record<string, Tensor>)[property] = value;
  }
}

function collectModules(module: Module, path: string, seen: Set<Module>): [string, Module][] {
  if (seen.has(module)) return [];
  seen.add(module);
  const below = module.namedChildren().flatMap(([name, child]) => collectModules(child, join(path, name), seen));
  return [[path, module], ...below];
}

/** Unlike `namedModules` a shared module appears under each of its names, as in PyTorch; only cycles are cut. */
function collectState(module: Module, path: string, above: ReadonlySet<Module>): [string, Tensor][] {
  if (above.has(module)) return [];
  const here = new Set(above).add(module);
  const own = prefixed(path, [...module.ownParameters(), ...module.ownBuffers()]);
  return [...own, ...module.namedChildren().flatMap(([name, child]) => collectState(child, join(path, name), here))];
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

function prefixed(path: string, entries: readonly [string, Tensor][]): [string, Tensor][] {
  return entries.map(([name, value]) => [join(path, name), value]);
}

function distinct(entries: readonly [string, Tensor][]): [string, Tensor][] {
  const seen = new Set<Tensor>();
  return entries.filter(([, value]) => !seen.has(value) && seen.add(value));
}
