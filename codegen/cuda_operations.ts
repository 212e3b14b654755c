/**
 * The kernels that are not convolutions on CUDA: the rows of their families, the checked context of a row's template,
 * and the launch for given arguments.
 */

import { z } from 'zod';
import { C_TYPES } from './context.js';
import { ELEMENTWISE } from './cuda_elementwise.js';
import type { CudaFamily, Launcher } from './cuda_family.js';
import { GROUPS } from './cuda_group.js';
import { REDUCTIONS } from './cuda_reduce.js';
import { FracstrideError, show } from './errors.js';
import {
  type Holding,
  OPERATIONS,
  type Operation,
  type OperationSpec,
  operationKernel,
  operationOf,
  STORAGE_TYPES,
  type StorageType,
} from './operations.js';
import type { Arg } from './passes.js';
import { targetName } from './target.js';
import { renderTemplate } from './template.js';
import { withoutUnused } from './unused.js';
import type { LaunchGeometry } from './variant.js';

const FAMILY_ROWS: readonly CudaFamily[] = [...ELEMENTWISE, ...REDUCTIONS, ...GROUPS];

/** C type of a stored element, and of the numbers it is computed with. */
const C_STORAGE = {
  f32: { storage: 'float', accumulator: 'float' },
  f64: { storage: 'double', accumulator: 'double' },
  f16: { storage: 'unsigned short', accumulator: 'float' },
  bf16: { storage: 'unsigned short', accumulator: 'float' },
  i32: { storage: 'int', accumulator: 'double' },
} as const satisfies Readonly<Record<StorageType, unknown>>;

const symbol = z.string().regex(/^[a-z][a-z0-9_]*$/);
const common = {
  name: symbol,
  specification: z.string().regex(/^[\w{}":, ]*$/),
  operation: symbol,
  dtype: z.enum(STORAGE_TYPES),
  storage: z.enum(['float', 'double', 'unsigned short', 'int']),
  accumulator: z.enum(['float', 'double']),
  storages: z.array(z.enum(STORAGE_TYPES)),
  parameters: z.string().regex(/^[\w*, \n]+$/),
  threads: z.int().min(32).max(1024),
};

/** The operations that CUDA devices have, with their element types. */
export function cudaOperations(): { operation: string; type: StorageType }[] {
  return [...OPERATIONS.values()]
    .filter((operation) => findRow(operation) !== undefined)
    .flatMap(({ name, types }) => types.map((type) => ({ operation: name, type })));
}

/**
 * The self-contained text of an operation's kernel.
 *
 * @throws FracstrideError ERR_ARGUMENT for an operation or a type that CUDA devices do not have
 */
export function cudaOperationText({ operation: name, type, target }: OperationSpec): string {
  const operation = operationOf(name);
  const row = rowOf(operation, type);
  const schema = z.strictObject({ ...common, ...row.schema });
  const checked = schema.safeParse({
    ...row.values(operation, type, target),
    name: operationKernel(name, type, targetName(target)),
    specification: JSON.stringify({ operation: name, type }),
    operation: name,
    dtype: type,
    ...C_STORAGE[type],
    storages: storagesOf(operation, type),
    parameters: parametersText(operation),
    threads: row.threads,
  });
  if (checked.success) return withoutUnused(renderTemplate(row.template, checked.data));
  const issue = checked.error.issues[0]!;
  const why = `${issue.path.join('.')}: ${issue.message}`;
  throw new FracstrideError('ERR_ARGUMENT', `render: the operation must fit its template's schema, got ${why}`);
}

/**
 * The launches of an operation: a function of its scalar arguments, in the order of its table. Any number of blocks is
 * right; these are as many as a large GPU has use for.
 */
export function operationLauncher(name: string, type: StorageType): Launcher {
  const operation = operationOf(name);
  return rowOf(operation, type).launcher(operation, type);
}

/** The launch of an operation with these scalar arguments. */
export function operationGeometry(name: string, type: StorageType, scalars: ArrayLike<number>): LaunchGeometry {
  return operationLauncher(name, type)(scalars);
}

/** The C type of each parameter, in launch order; `stored` and `real` are those of the kernel's type. */
export function parameterTypes(operation: Operation): string[] {
  return operation.args.map((arg) => (arg.kind === 'p' ? pointerType(operation, arg) : C_TYPES[arg.kind]));
}

function pointerType({ holds }: Operation, { name, role }: Arg): string {
  const element = (of: Holding['of']) => {
    if (of === 'type') return 'stored';
    return of === 'accumulator' ? 'real' : C_STORAGE[of].storage;
  };
  return `${role === 'in' ? 'const ' : ''}${element(holds[name]?.of ?? 'type')}*`;
}

function parametersText(operation: Operation): string {
  const types = parameterTypes(operation);
  const declared = operation.args.map(({ name }, i) => `${types[i]} ${name}`);
  const lines: string[] = [];
  for (const text of declared) {
    const longer = `${lines.at(-1)}, ${text}`;
    if (lines.length > 0 && longer.length <= 110) lines[lines.length - 1] = longer;
    else lines.push(text);
  }
  return lines.join(',\n    ');
}

/** The element types that the kernel converts: its own, and those that its buffers always have. */
function storagesOf({ holds }: Operation, type: StorageType): StorageType[] {
  const fixed = Object.values(holds).flatMap(({ of }) => STORAGE_TYPES.filter((name) => name === of));
  return [...new Set([...fixed, type])];
}

function findRow(operation: Operation): CudaFamily | undefined {
  return operation.only === 'cpu' ? undefined : FAMILY_ROWS.find((row) => row.computes(operation));
}

function rowOf(operation: Operation, type: StorageType): CudaFamily {
  const row = findRow(operation);
  if (row !== undefined && operation.types.includes(type)) return row;
  const asked = `${operation.name} of ${type}`;
  throw new FracstrideError('ERR_ARGUMENT', `kernel: operation must be one that CUDA devices have, got ${show(asked)}`);
}
