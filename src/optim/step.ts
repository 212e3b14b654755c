/** The launches of an optimiser's kernel, in place: one for as many parameters as it takes. */

import { fail } from '../checks.js';
import { type Device, isCapturing, targetOf } from '../device.js';
import { inLaunches, runGroup } from '../group.js';
import type { Parameter } from '../nn/parameter.js';
import { pointwise } from '../pointwise.js';
import { elementCount, isDense } from '../shape.js';
import { allocateTensor, markWritten, Tensor, tidy } from '../tensor.js';

export type StepName = 'sgd_group' | 'adam_group';

/** One parameter of a step. */
export interface Operands {
  readonly value: Parameter;
  readonly gradient: Tensor;
  /** Tensors like the parameter, or null for the optional ones that are absent. */
  readonly state: readonly (Tensor | null)[];
  /** How many steps were done, where the device counts them: a float32. */
  readonly count?: Tensor;
}

/**
 * Runs a step over parameters that have its scalars in common. Nothing is allocated for a gradient that lies in memory as
 * its parameter does.
 */
export function runStep(name: StepName, list: readonly Operands[], scalars: readonly number[]): void {
  // A step is counted for parameters of no elements too.
  const live = list.filter(({ value, count }) => count !== undefined || elementCount(Tensor.window(value).shape) > 0);
  for (const part of inLaunches(name, live, ({ value }) => value)) {
    tidy(() => {
      const entries = part.map((a) => [a.value, gradientLikeValue(a), ...a.state, a.count ?? null] as const);
      runGroup(name, entries, scalars);
      return [];
    });
    for (const { value, state, count } of part) {
      for (const written of [value, ...state, count ?? null]) if (written !== null) markWritten(written);
    }
  }
}

/** Whether the steps of a device can be counted on the device, and so be part of a graph. */
export function countsSteps(device: Device): boolean {
  return targetOf(device).kind !== 'cpu';
}

/** Whether a graph records the work of the value's device. */
export function isRecorded(value: Tensor): boolean {
  return isCapturing(Tensor.window(value).storage.device);
}

/**
 * A graph would do again at every replay what only the first step does.
 *
 * @throws FracstrideError ERR_ARGUMENT while one records
 */
export function refuseFirstInGraph(where: string, list: readonly { readonly value: Parameter }[]): void {
  if (!list.some(({ value }) => isRecorded(value))) return;
  fail(
    'ERR_ARGUMENT',
    where,
    'a step that a graph records',
    'preceded by one that it does not record',
    'the first step',
  );
}

/** The gradient, lying in memory as its parameter does. */
function gradientLikeValue({ value, gradient }: Operands): Tensor {
  const { shape, strides, dtype, storage } = Tensor.window(value);
  if (isDense(shape, Tensor.window(gradient).strides, strides)) return gradient;
  const same = allocateTensor({ shape, strides, dtype, device: storage.device });
  pointwise('copy', Tensor.window(same), [Tensor.window(gradient)]);
  return same;
}
