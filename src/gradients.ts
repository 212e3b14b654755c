/** Gradients of tensors: what a user calls on top of autograd.ts. */

import { Sums } from './accumulate.js';
import { type Leaf, type Node, propagate } from './autograd.js';
import { checkArray, checkBoolean, checkTensor, fail, options } from './checks.js';
import { mode, section } from './context.js';
import { FracstrideError, show } from './errors.js';
import { fillWith } from './fill.js';
import type { BackwardOptions } from './method_types.js';
import { add } from './ops/elementwise.js';
import { clone } from './ops/views.js';
import { isPacked } from './shape.js';
import { alias, allocateTensor, detached, isExpanded, Tensor, tidy } from './tensor.js';

export interface GradOptions extends BackwardOptions {
  /** Gradients of the outputs, one each; an output of one element may go without. */
  gradOutputs?: Tensor | readonly (Tensor | null)[];
  /** Return null for an input that no output depends on, instead of throwing. Default false. */
  allowUnused?: boolean;
}

/**
 * Adds d output / d leaf, times `gradient`, to `.grad` of every leaf that requires one. The sum runs in one fixed order.
 *
 * @throws FracstrideError ERR_ARGUMENT when the output has more than one element and no gradient is given, when nothing
 * was recorded, when the graph was freed by an earlier backward, or when a saved tensor was written to since; ERR_SHAPE,
 * ERR_DTYPE and ERR_DEVICE_MISMATCH when the gradient does not fit
 */
export function backward(output: Tensor, gradient?: Tensor | null, settings?: BackwardOptions): void {
  checkTensor('backward', 'output', output);
  const found = options('backward', settings, ['createGraph', 'retainGraph']);
  const createGraph = checkBoolean('backward', 'createGraph', found.createGraph, false);
  const retainGraph = checkBoolean('backward', 'retainGraph', found.retainGraph, createGraph);
  run('backward', { outputs: [output], gradients: [gradient ?? null], captures: null, createGraph, retainGraph });
}

/**
 * The gradients of outputs with respect to inputs, leaving every `.grad` alone: one tensor an input, or one tensor when
 * `inputs` is a single tensor.
 *
 * @throws FracstrideError as `backward`; ERR_ARGUMENT for an input that does not require a gradient, or that no output
 * depends on unless `allowUnused`
 */
export function grad(outputs: Tensor | readonly Tensor[], inputs: Tensor, options?: GradOptions): Tensor;
export function grad(outputs: Tensor | readonly Tensor[], inputs: readonly Tensor[], options?: GradOptions): Tensor[];
export function grad(
  outputs: Tensor | readonly Tensor[],
  inputs: Tensor | readonly Tensor[],
  settings?: GradOptions,
): Tensor | Tensor[] {
  const sources = list('grad', 'outputs', outputs).map((value) => checkTensor('grad', 'an output', value));
  const targets = list('grad', 'inputs', inputs).map((value) => checkTensor('grad', 'an input', value));
  const found = options('grad', settings, ['gradOutputs', 'createGraph', 'retainGraph', 'allowUnused']);
  const gradients =
    found.gradOutputs === undefined ? sources.map(() => null) : list('grad', 'gradOutputs', found.gradOutputs);
  if (gradients.length !== sources.length) {
    fail('ERR_ARGUMENT', 'grad', 'gradOutputs', `one for each of ${sources.length} outputs`, gradients.length);
  }
  const createGraph = checkBoolean('grad', 'createGraph', found.createGraph, false);
  const retainGraph = checkBoolean('grad', 'retainGraph', found.retainGraph, createGraph);
  const allowUnused = checkBoolean('grad', 'allowUnused', found.allowUnused, false);
  const captures = targets.map((target, i) => {
    return (
      Tensor.edge(target) ??
      fail('ERR_ARGUMENT', 'grad', `inputs[${i}]`, 'a tensor that requires a gradient', 'one that does not')
    );
  });
  const job = { outputs: sources, gradients, captures, createGraph, retainGraph };
  const results = run('grad', job);
  const unused = results.indexOf(null);
  if (unused >= 0 && !allowUnused) {
    for (const result of results) result?.dispose();
    fail(
      'ERR_ARGUMENT',
      'grad',
      `inputs[${unused}]`,
      'used to compute the outputs, or allowUnused set',
      'one that is not',
    );
  }
  return (Tensor.isTensor(inputs) ? results[0] : results) as Tensor | Tensor[];
}

interface Job {
  readonly outputs: readonly Tensor[];
  readonly gradients: readonly unknown[];
  readonly captures: readonly Node<Tensor>[] | null;
  readonly createGraph: boolean;
  readonly retainGraph: boolean;
}

function run(where: string, job: Job): (Tensor | null)[] {
  const nodes = job.outputs.map((output, i) => {
    checkSeed(where, output, job.gradients[i]);
    return (
      Tensor.edge(output) ??
      fail('ERR_ARGUMENT', where, 'the output', 'recorded from a tensor that requires a gradient', 'one that is not')
    );
  });
  return section({ recording: job.createGraph }, () =>
    tidy(() => {
      const roots = nodes.map((node, i) => ({ node, gradient: seed(job.outputs[i]!, job.gradients[i]) }));
      const { captures, retainGraph } = job;
      const sums = new Sums();
      const collect = (leaf: Leaf<Tensor>, gradient: Tensor): void => collectInto(leaf, gradient, sums);
      const results = propagate<Tensor>({ roots, captures, retainGraph, add: addUp, evaluate, collect, dispose });
      sums.flush();
      // An input that is asked for twice gets two handles.
      return results.map((value, i) => (value !== null && results.indexOf(value) < i ? alias(value) : value));
    }),
  );
}

function dispose(value: Tensor): void {
  value.dispose();
}

/** Runs a node's closure in a scope of its own and gives back handles that are nobody else's. */
function evaluate(node: Node<Tensor>, gradient: Tensor, needed: readonly boolean[]): (Tensor | null)[] {
  return tidy(() => {
    const results = node.backward!(gradient, node.unpack(), needed);
    const inside = mode().scope;
    return results.map((value, i) => {
      if (value === null || !needed[i]) return null;
      return Tensor.isOwned(value, inside) && results.indexOf(value) === i ? value : alias(value);
    });
  });
}

function addUp(a: Tensor, b: Tensor): Tensor {
  const total = add(a, b);
  a.dispose();
  b.dispose();
  return total;
}

/** Leaves add gradients up in place, unless the pass is recorded; the first one is taken over when it is nobody else's. */
function collectInto(leaf: Leaf<Tensor>, gradient: Tensor, sums: Sums): void {
  const before = leaf.grad;
  if (!leaf.lease.open) {
    gradient.dispose();
  } else if (before === null) {
    leaf.grad = Tensor.collected(own(gradient));
  } else if (gradient.requiresGrad || before.requiresGrad || isExpanded(before)) {
    leaf.grad = Tensor.collected(addUp(before, gradient));
  } else {
    sums.add(before, gradient);
  }
}

function own(gradient: Tensor): Tensor {
  const { storage, shape, strides } = Tensor.window(gradient);
  if (storage.references === 1 && isPacked(shape, strides)) return gradient;
  const copy = clone(gradient);
  gradient.dispose();
  return copy;
}

function checkSeed(where: string, output: Tensor, gradient: unknown): void {
  if (gradient === null || gradient === undefined) {
    if (output.numel() === 1) return;
    fail('ERR_ARGUMENT', where, 'the output', 'of one element where no gradient is given', output.shape);
  }
  const given = checkTensor(where, 'the gradient', gradient);
  const [a, b] = [output, given].map((value) => Tensor.window(value));
  if (String(a!.shape) !== String(b!.shape))
    fail('ERR_SHAPE', where, 'the gradient', `of the output's shape [${a!.shape}]`, [...b!.shape]);
  if (a!.dtype !== b!.dtype) fail('ERR_DTYPE', where, 'the gradient', `of the output's dtype ${a!.dtype}`, b!.dtype);
  if (a!.storage.device !== b!.storage.device)
    fail('ERR_DEVICE_MISMATCH', where, 'the gradient', `on ${output.device}`, given.device);
}

function seed(output: Tensor, gradient: unknown): Tensor {
  if (gradient !== null && gradient !== undefined)
    return mode().recording ? alias(gradient as Tensor) : detached(gradient as Tensor);
  const { shape, dtype, storage } = Tensor.window(output);
  const ones = allocateTensor({ shape, dtype, device: storage.device });
  fillWith('fill', ones, [1]);
  return ones;
}

function list(where: string, what: string, value: unknown): unknown[] {
  if (Tensor.isTensor(value)) return [value];
  const found = checkArray(where, what, value);
  if (found.length === 0)
    throw new FracstrideError('ERR_ARGUMENT', `${where}: ${what} must be at least one tensor, got ${show(value)}`);
  return found;
}
