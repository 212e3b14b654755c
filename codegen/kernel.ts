/**
 * Any kernel, a convolution's or another operation's: one name, one text, one argument list. What builds, stores, lists
 * and loads kernels works with these and does not ask which of the two it has.
 */

import type { Launcher } from './cuda_family.js';
import { cudaOperations, cudaOperationText, operationLauncher } from './cuda_operations.js';
import { hasOwnChannels } from './cuda_reduce.js';
import { FracstrideError, show } from './errors.js';
import {
  OPERATIONS,
  type OperationSpec,
  operationArguments,
  operationKernel,
  type Planes,
  STORAGE_TYPES,
} from './operations.js';
import type { Arg } from './passes.js';
import { cpuText, renderKernel } from './render.js';
import { kernelName, parseKernelName, type Spec, specArguments } from './spec.js';
import { targetOfZone } from './spec_name.js';
import { type Target, targetName } from './target.js';

export type KernelSpec = Spec | OperationSpec;

export function isOperation(spec: KernelSpec): spec is OperationSpec {
  return 'operation' in spec;
}

/** The name that is the file, the symbol and the cache folder of a kernel; `specOfName` reads it back. */
export function nameOf(spec: KernelSpec): string {
  return isOperation(spec) ? operationKernel(spec.operation, spec.type, targetName(spec.target)) : kernelName(spec);
}

/**
 * The spec that a kernel name stands for.
 *
 * @throws FracstrideError ERR_ARGUMENT when the name follows neither grammar or holds words of no table
 */
export function specOfName(name: string): KernelSpec {
  if (name.startsWith('ct2d_')) return parseKernelName(name);
  const spec = operationOfName(name);
  if (spec !== null) return spec;
  const rule = 'ct2d_<pass>_… or <operation>_<type>__<family>__<target> in the words of the catalogue';
  throw new FracstrideError('ERR_ARGUMENT', `kernel name: the name must be ${rule}, got ${show(name)}`);
}

/**
 * The self-contained text of a kernel, the same bytes each time; for a CPU the generated file that holds it.
 *
 * @throws FracstrideError ERR_ARGUMENT for a spec that is not of the catalogue
 */
export function textOf(spec: KernelSpec): string {
  if (!isOperation(spec)) return renderKernel(spec);
  return spec.target.kind === 'cpu' ? cpuText(nameOf(spec), spec.target.isa) : cudaOperationText(spec);
}

/** The argument list that a kernel is launched with. */
export function argumentsOf(spec: KernelSpec): readonly Arg[] {
  return isOperation(spec) ? operationArguments(spec.operation) : specArguments(spec);
}

/** An operation's launches by its scalar arguments; null for a CPU, where there is nothing to choose. */
export function launcherOf({ operation, type, target }: OperationSpec): Launcher | null {
  return target.kind === 'cpu' ? null : operationLauncher(operation, type);
}

/** Whether one launch does a whole direction of a batch norm over these planes, of elements of so many bytes. */
export function isNormTogether(target: Target, bytes: number, planes: Planes): boolean {
  return target.kind === 'cpu' || hasOwnChannels(bytes, planes);
}

/** Every kernel of a CUDA target that is not a convolution. */
export function operationSpecs(target: Target): OperationSpec[] {
  return cudaOperations().map(({ operation, type }) => Object.freeze({ operation, type, target }));
}

function operationOfName(name: string): OperationSpec | null {
  const [what = '', , zone = ''] = name.split('__');
  const target = targetOfZone(zone);
  const type = STORAGE_TYPES.find((word) => what.endsWith(`_${word}`));
  const operation = OPERATIONS.get(what.slice(0, -1 - (type?.length ?? 0)));
  if (target === null || type === undefined || !operation?.types.includes(type)) return null;
  const spec = Object.freeze({ operation: operation.name, type, target });
  return nameOf(spec) === name ? spec : null;
}
