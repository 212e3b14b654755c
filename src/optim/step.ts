/** The launches of an optimiser's kernel, in place: one for a group of tensors where the device has such a kernel. */

import { groupOperation } from '../../codegen/operations.js';
import { fail } from '../checks.js';
import { type Device, isCapturing, targetOf } from '../device.js';
import { shortName } from '../dtype.js';
import { NULL, type Pointer, runOperation } from '../kernels.js';
import type { Parameter } from '../nn/parameter.js';
import { pointer, pointwise } from '../pointwise.js';
import { elementCount, isDense } from '../shape.js';
import { allocateTensor, markWritten, Tensor, tidy } from '../tensor.js';

export type StepName = 'sgd' | 'adam';

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
 * Runs a step over parameters that have its scalars in common: one launch for as many of one device and dtype as its
 * kernel takes, or one a parameter. Nothing is allocated for a gradient that lies in memory as its parameter does.
 */
export function runStep(name: StepName, list: readonly Operands[], scalars: readonly number[]): void {
  for (const { device, type, members } of places(list)) {
    const group = groupOperation(name, targetOf(device));
    const capacity = group?.group.capacity ?? 1;
    for (let from = 0; from < members.length; from += capacity) {
      const part = members.slice(from, from + capacity);
      tidy(() => {
        const gradients = part.map(gradientLikeValue);
        if (group === null) stepOne({ name, type, device }, part[0]!, gradients[0]!, scalars);
        else stepTogether({ name: group.name, type, device }, group.group.roles.length, part, gradients, scalars);
        return [];
      });
    }
    for (const { value, state, count } of members) {
      for (const written of [value, ...state, count ?? null]) if (written !== null) markWritten(written);
    }
  }
}

/** Whether the steps of a device can be counted on the device, and so be part of a graph. */
export function countsSteps(name: StepName, device: Device): boolean {
  return groupOperation(name, targetOf(device))?.group.roles.includes('step') ?? false;
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

interface Kernel {
  readonly name: string;
  readonly type: string;
  readonly device: Device;
}

interface Place {
  readonly device: Device;
  readonly type: string;
  readonly members: Operands[];
}

/** The parameters by device and dtype, in their order; without those of no elements, unless a step is counted for them. */
function places(list: readonly Operands[]): Place[] {
  const found = new Map<string, Place>();
  for (const operands of list) {
    const { shape, dtype, storage } = Tensor.window(operands.value);
    if (elementCount(shape) === 0 && operands.count === undefined) continue;
    const key = `${storage.device.name} ${dtype}`;
    const place = found.get(key) ?? { device: storage.device, type: shortName(dtype), members: [] };
    found.set(key, place);
    place.members.push(operands);
  }
  return [...found.values()];
}

function stepOne(kernel: Kernel, a: Operands, gradient: Tensor, scalars: readonly number[]): void {
  const buffers = [a.value, gradient, ...a.state].map(pointerOf);
  runOperation(kernel.device, kernel, buffers, [elements(a.value), ...scalars]);
}

/** Every parameter has its pointers in the order of the kernel's roles; those that a step does not use are null. */
function stepTogether(
  kernel: Kernel,
  roles: number,
  list: readonly Operands[],
  gradients: readonly Tensor[],
  scalars: readonly number[],
): void {
  const buffers = list.flatMap(({ value, state, count }, i) => {
    const own = [value, gradients[i]!, ...state, ...(count === undefined ? [] : [count])].map(pointerOf);
    return [...own, ...new Array<Pointer>(roles - own.length).fill(NULL)];
  });
  runOperation(kernel.device, kernel, buffers, [list.length, ...list.map(({ value }) => elements(value)), ...scalars]);
}

const elements = (value: Tensor): number => elementCount(Tensor.window(value).shape);

const pointerOf = (value: Tensor | null): Pointer => (value === null ? NULL : pointer(Tensor.window(value)));

/** The gradient, lying in memory as its parameter does. */
function gradientLikeValue({ value, gradient }: Operands): Tensor {
  const { shape, strides, dtype, storage } = Tensor.window(value);
  if (isDense(shape, Tensor.window(gradient).strides, strides)) return gradient;
  const same = allocateTensor({ shape, strides, dtype, device: storage.device });
  pointwise('copy', Tensor.window(same), [Tensor.window(gradient)]);
  return same;
}
