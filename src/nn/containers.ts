/** Modules made of modules, numbered or named: Sequential and ModuleList. State names are '0.weight', '1.bias', … */

import { checkArray, checkTensor, fail, isArray } from '../checks.js';
import { alias, type Tensor, tidy } from '../tensor.js';
import { checkEntries, checkIterable, checkRule, INTEGER } from './arguments.js';
import { fused } from './fusion.js';
import { type Layer, Module } from './module.js';

/** Children in the order of their numbers. */
abstract class Container extends Module implements Iterable<Module> {
  /** The child of a number. */
  readonly [index: number]: Module;

  get length(): number {
    return this.namedChildren().length;
  }

  /** The child at an index; negative counts from the end. */
  at(index: number): Module | undefined {
    return this.namedChildren().at(checkRule(this.constructor.name, 'index', index, INTEGER))?.[1];
  }

  *[Symbol.iterator](): Iterator<Module> {
    for (const [, child] of this.namedChildren()) yield child;
  }

  /** Adds a child after the others. */
  append(module: Module): this {
    return this.addChild(String(this.length), module);
  }

  protected addChild(name: string, module: unknown): this {
    const where = this.constructor.name;
    if (!Module.isModule(module)) fail('ERR_ARGUMENT', where, `child ${name}`, 'a module', module);
    if (name in this || name.includes('.')) fail('ERR_ARGUMENT', where, 'a name', 'new and without dots', name);
    Object.defineProperty(this, name, { value: module, writable: true, enumerable: true, configurable: true });
    return this;
  }
}

/**
 * Modules one after the other. A convolution or a batch normalisation that is followed by an activation runs as one
 * kernel with it where there is one, and so does a convolution with the normalisation behind it in evaluation mode while
 * nothing is recorded: the same values up to rounding, passes over memory less. What layers make on the way is disposed
 * at the end of the call; a layer that wants to hold on to a tensor calls `keep` on it.
 */
export class Sequential extends Container {
  /** @param layers modules, or one array of them, or one object of named modules */
  constructor(
    ...layers: readonly Module[] | readonly [readonly Module[]] | readonly [Readonly<Record<string, Module>>]
  ) {
    super();
    const first: unknown = layers[0];
    const named = typeof first === 'object' && first !== null && !Module.isModule(first) && !isArray(first);
    if (layers.length === 1 && named) {
      for (const [name, layer] of checkEntries('Sequential', 'layers', first)) this.addChild(name, layer);
      return;
    }
    const listed = layers.length === 1 && isArray(first) ? checkArray('Sequential', 'layers', first) : layers;
    listed.forEach((layer, i) => {
      this.addChild(String(i), layer);
    });
  }

  /** @throws FracstrideError what its layers throw */
  forward(input: Tensor): Tensor {
    checkTensor('Sequential', 'input', input);
    const layers = this.namedChildren();
    if (layers.length === 0) return alias(input);
    return tidy(() => {
      let value = input;
      for (let i = 0; i < layers.length; i++) {
        const [name, layer] = layers[i]!;
        const found = fused(value, layer, [layers[i + 1]?.[1], layers[i + 2]?.[1]]);
        value = found === null ? (layer as Layer).forward(value) : found.run();
        checkTensor('Sequential', `the result of layer ${name}`, value);
        if (found !== null) i += found.others;
      }
      return value;
    });
  }
}

/** Modules in a list: registered, but called by whoever holds it. */
export class ModuleList extends Container {
  constructor(modules: Iterable<Module> = []) {
    super();
    for (const module of checkIterable('ModuleList', 'modules', modules)) this.append(module as Module);
  }

  /** @throws FracstrideError ERR_ARGUMENT always: a list has no order of computation */
  forward(): never {
    return fail('ERR_ARGUMENT', 'ModuleList', 'forward', 'called on the modules in the list', 'a call on the list');
  }
}
