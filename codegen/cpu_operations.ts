/** The units of the kernels that are not convolutions: the families of operations.ts, split so that they compile evenly. */

import type { CpuKernel, CpuUnit } from './cpu_unit.js';
import {
  DISTANCES,
  type Family,
  kindsOf,
  NORM_ACTIVATIONS,
  OPERATIONS,
  type Operation,
  operationArguments,
  operationExtents,
  operationKernel,
  type StorageType,
} from './operations.js';
import { POINTWISE, POINTWISE_DIMS } from './pointwise.js';
import { CPU_VECTOR_BYTES, type CpuIsa } from './target.js';

type Accumulator = 'float' | 'double';

/** Element types by the type they are computed in. */
const COMPUTED_IN: Readonly<Record<Accumulator, readonly StorageType[]>> = {
  float: ['f32', 'f16', 'bf16'],
  double: ['f64'],
};

/** The class in templates/lib/storage.cpp.njk. */
const CLASSES: Readonly<Record<StorageType, string>> = { f32: 'F32', f64: 'F64', f16: 'F16', bf16: 'BF16', i32: 'I32' };
/** Elements of the same size are copied by the same code. */
const ELEMENTS: Readonly<Record<StorageType, string>> = {
  f32: 'uint32_t',
  f64: 'uint64_t',
  f16: 'uint16_t',
  bf16: 'uint16_t',
  i32: 'uint32_t',
};

interface Member {
  readonly operation: Operation;
  readonly type: StorageType;
}

function members(keep: (operation: Operation, type: StorageType) => boolean): Member[] {
  const here = [...OPERATIONS.values()].filter(({ only }) => only !== 'cuda');
  return here.flatMap((operation) =>
    operation.types.filter((type) => keep(operation, type)).map((type) => ({ operation, type })),
  );
}

function kernelsOf(list: readonly Member[], isa: CpuIsa): CpuKernel[] {
  return list.map(({ operation, type }) => ({
    name: operationKernel(operation.name, type, isa),
    kinds: kindsOf(operationArguments(operation.name)),
    extents: operationExtents(operation.name, type),
  }));
}

function kernelContext({ operation, type }: Member, isa: CpuIsa): Record<string, unknown> {
  return {
    name: operationKernel(operation.name, type, isa),
    operation: operation.name,
    storage: CLASSES[type],
    element: ELEMENTS[type],
    from: operation.family === 'cast' ? CLASSES[operation.name.slice('cast_'.length) as StorageType] : '',
    roles: operation.group?.roles.length ?? 0,
    capacity: operation.group?.capacity ?? 0,
  };
}

function unit(what: string, template: string, list: readonly Member[], context: Record<string, unknown> = {}): CpuUnit {
  return {
    what,
    template,
    kernels: (isa) => kernelsOf(list, isa),
    context: (isa) => ({
      dims: POINTWISE_DIMS,
      vector_bytes: CPU_VECTOR_BYTES[isa],
      ...context,
      kernels: list.map((member) => kernelContext(member, isa)),
    }),
  };
}

const indices = (count: number) => Array.from({ length: count }, (_, i) => i);

function pointwiseUnit(accumulator: Accumulator): CpuUnit {
  const types = COMPUTED_IN[accumulator];
  const list = members((o, type) => o.family === 'pointwise' && o.name !== 'copy' && types.includes(type));
  const operations = (isa: CpuIsa) =>
    Object.entries(POINTWISE)
      .filter(([name]) => name !== 'copy')
      .map(([name, { inputs, scalars, expr }]) => ({
        name,
        expr,
        inputs: indices(inputs),
        scalars: indices(scalars.length),
        kernels: list.filter((m) => m.operation.name === name).map((m) => kernelContext(m, isa)),
      }));
  return {
    what: `pointwise_${accumulator}`,
    template: 'pointwise.cpp.njk',
    kernels: (isa) => kernelsOf(list, isa),
    context: (isa) => ({ accumulator, dims: POINTWISE_DIMS, operations: operations(isa) }),
  };
}

function familyUnits(family: Family): CpuUnit[] {
  return (['float', 'double'] as const).map((accumulator) =>
    unit(
      `${family}_${accumulator}`,
      `${family}.cpp.njk`,
      members((o, type) => o.family === family && COMPUTED_IN[accumulator].includes(type)),
      { accumulator },
    ),
  );
}

function normUnit(accumulator: Accumulator): CpuUnit {
  const list = members((o, type) => o.family === 'norm' && COMPUTED_IN[accumulator].includes(type));
  const kernels = (isa: CpuIsa) =>
    list.map((member) => ({
      ...kernelContext(member, isa),
      part: member.operation.name.slice('bn_'.length),
      activation_at: member.operation.args.findIndex(({ name }) => name === 'activation'),
    }));
  return {
    what: `norm_${accumulator}`,
    template: 'norm.cpp.njk',
    kernels: (isa) => kernelsOf(list, isa),
    context: (isa) => ({ accumulator, activations: NORM_ACTIVATIONS, kernels: kernels(isa) }),
  };
}

/** Sums of the element-wise operations that distances are. */
function lossUnit(accumulator: Accumulator): CpuUnit {
  const list = members((o, type) => o.family === 'loss' && COMPUTED_IN[accumulator].includes(type));
  const kernels = (isa: CpuIsa) =>
    list.map((member) => ({
      ...kernelContext(member, isa),
      distance: DISTANCES.find((name) => member.operation.name === `${name}_sum`)!,
    }));
  const distances = DISTANCES.map((name) => ({ name, expr: POINTWISE[name].expr }));
  return {
    what: `loss_${accumulator}`,
    template: 'loss.cpp.njk',
    kernels: (isa) => kernelsOf(list, isa),
    context: (isa) => ({ accumulator, distances, kernels: kernels(isa) }),
  };
}

export const OPERATION_UNITS: readonly CpuUnit[] = [
  pointwiseUnit('float'),
  pointwiseUnit('double'),
  unit(
    'copy',
    'copy.cpp.njk',
    members((o) => o.name === 'copy'),
  ),
  unit(
    'cast',
    'cast.cpp.njk',
    members((o) => o.family === 'cast'),
  ),
  unit(
    'fill',
    'fill.cpp.njk',
    members((o) => o.family === 'fill'),
  ),
  ...(['reduce', 'optimizer', 'group', 'random'] as const).flatMap(familyUnits),
  unit(
    'probe',
    'probe.cpp.njk',
    members((o) => o.family === 'probe'),
  ),
  ...(['float', 'double'] as const).flatMap((accumulator) => [normUnit(accumulator), lossUnit(accumulator)]),
];
