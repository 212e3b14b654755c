/**
 * The kernels that are not convolutions: their names, element types and argument lists, each written once for every
 * device. The launcher packs from them, CPU templates print their registry entries and CUDA templates their parameters
 * from them.
 *
 * A kernel is named `<operation>_<dtype>__<family>__<target>`, e.g. `add_f32__pointwise__sm90`, `cast_f32_f16__cast__avx2`.
 */

import { FracstrideError, show } from './errors.js';
import { type Extent, extentsText } from './extents.js';
import { type Arg, type ArgKind, kindText } from './passes.js';
import { POINTWISE, POINTWISE_DIMS, type PointwiseName, type PointwiseOperation } from './pointwise.js';
import { ACTIVATIONS, type Activation } from './problem.js';
import type { Target } from './target.js';

/** Element types of these kernels: those of target.ts, and 32-bit integers where an operation has them. */
export const STORAGE_TYPES = ['f32', 'f64', 'f16', 'bf16', 'i32'] as const;
export type StorageType = (typeof STORAGE_TYPES)[number];

export const FAMILIES = [
  'pointwise',
  'cast',
  'reduce',
  'loss',
  'norm',
  'optimizer',
  'group',
  'random',
  'fill',
  'probe',
] as const;
export type Family = (typeof FAMILIES)[number];

export interface Operation {
  readonly name: string;
  readonly family: Family;
  readonly types: readonly StorageType[];
  readonly args: readonly Arg[];
  /** What each pointer holds: elements of the kernel's type unless `of` says otherwise, a product of scalar arguments. */
  readonly holds: Readonly<Record<string, Holding>>;
  /** Only for operations that take many tensors at once, in tables by value. */
  readonly group?: Group;
  /** Only for operations that not every device has. */
  readonly only?: 'cpu' | 'cuda';
}

export interface Group {
  /** Pointers a tensor has in the table, those that are optional last. */
  readonly roles: readonly string[];
  /** Tensors of one launch at most: what 4 KiB of parameters hold. */
  readonly capacity: number;
}

/** A kernel of one operation: the counterpart of a convolution's Spec. */
export interface OperationSpec {
  readonly operation: string;
  readonly type: StorageType;
  readonly target: Target;
}

export interface Holding {
  readonly of: 'type' | 'accumulator' | StorageType;
  readonly factors: readonly string[];
}

/** Bytes of one element. */
export const STORAGE_BYTES: Readonly<Record<StorageType, number>> = { f32: 4, f64: 8, f16: 2, bf16: 2, i32: 4 };

const FLOATS: readonly StorageType[] = ['f32', 'f64', 'f16', 'bf16'];

const input = (name: string): Arg => ({ name, kind: 'p', role: 'in' });
const optional = (name: string): Arg => ({ name, kind: 'p', role: 'in', optional: true });
const output = (name: string): Arg => ({ name, kind: 'p', role: 'out' });
const all = (kind: ArgKind, ...names: string[]): Arg[] => names.map((name) => ({ name, kind }));

const holding = (names: readonly string[], of: Holding['of'], ...factors: string[]): Record<string, Holding> =>
  Object.fromEntries(names.map((name) => [name, { of, factors }]));

/** What a batch norm sees of a tensor; `last`: its channels are neighbours in memory. */
export interface Planes {
  readonly n: number;
  readonly c: number;
  readonly hw: number;
  readonly last: boolean;
}

/** Sizes [n, c, hw] of a normalised tensor and its layout: 0 is [n, c, hw], 1 is [n, hw, c]. */
const PLANES: readonly Arg[] = [...all('l', 'n', 'c', 'hw'), ...all('i', 'layout')];

function pointwiseArguments(operation: PointwiseOperation): readonly Arg[] {
  const operands = Array.from({ length: operation.inputs }, (_, i) => `x${i}`);
  const dims = Array.from({ length: POINTWISE_DIMS }, (_, d) => d);
  return [
    output('out'),
    ...operands.map(input),
    ...all('d', ...operation.scalars),
    ...all('i', 'ndim'),
    ...all('l', ...dims.map((d) => `shape${d}`)),
    ...all('l', ...['out', ...operands].flatMap((name) => dims.map((d) => `${name}_stride${d}`))),
  ];
}

const pointwise: Operation[] = Object.entries(POINTWISE).map(([name, operation]) => ({
  name,
  family: 'pointwise',
  types: name === 'copy' ? STORAGE_TYPES : FLOATS,
  args: pointwiseArguments(operation),
  holds: holding(['out', 'x0', 'x1', 'x2'].slice(0, 1 + operation.inputs), 'type', 'strided'),
}));

/** `cast_<from>` to every other type. A number outside int32 becomes its nearest end, NaN becomes 0. */
const casts: Operation[] = STORAGE_TYPES.map((from) => ({
  name: `cast_${from}`,
  family: 'cast',
  types: STORAGE_TYPES.filter((to) => to !== from),
  args: [output('out'), input('in'), ...all('l', 'count')],
  holds: { ...holding(['out'], 'type', 'count'), ...holding(['in'], from, 'count') },
}));

/** in [outer, reduced, inner] → out [outer, inner]; a sum is divided, in double, before it is rounded. */
const reductions: Operation[] = ['sum', 'max'].map((name) => ({
  name,
  family: 'reduce',
  types: FLOATS,
  args: [
    ...[output('out'), input('in')],
    ...[...all('l', 'outer', 'reduced', 'inner'), ...all('d', ...(name === 'sum' ? ['divisor'] : []))],
  ],
  holds: {
    ...holding(['out'], 'type', 'outer', 'inner'),
    ...holding(['in'], 'type', 'outer', 'reduced', 'inner'),
  },
}));

/**
 * parts [reduced, inner] of sums in the accumulator's type → out [inner]; outer is 1. What kernels of several parts are
 * followed by, and what is left to do behind a sum: bias [channels] is added, null for none, of runs of `plane` neighbours
 * each, over and over; then the activation, an index in ACTIVATIONS.
 */
const parts: Operation = {
  name: 'sum_parts',
  family: 'reduce',
  types: ['f32', 'f16', 'bf16'],
  args: [
    ...[output('out'), input('in'), optional('bias')],
    ...all('l', 'outer', 'reduced', 'inner', 'channels', 'plane'),
    ...[...all('d', 'slope'), ...all('i', 'activation')],
  ],
  holds: {
    ...holding(['out'], 'type', 'outer', 'inner'),
    ...holding(['in'], 'accumulator', 'outer', 'reduced', 'inner'),
    ...holding(['bias'], 'type', 'channels'),
  },
  only: 'cuda',
};

/** Element-wise distances of a prediction x0 and a target x1 that LOSSES are made of. */
export const DISTANCES = ['sq_diff', 'abs_diff', 'bce_logits'] as const satisfies readonly PointwiseName[];

/** The sum of a distance over all elements, divided as `sum` does: `sq_diff_sum`, … */
const losses: Operation[] = DISTANCES.map((distance) => ({
  name: `${distance}_sum`,
  family: 'loss',
  types: FLOATS,
  args: [output('out'), ...['x0', 'x1'].map(input), ...all('l', 'count'), ...all('d', 'divisor')],
  holds: { ...holding(['out'], 'type'), ...holding(['x0', 'x1'], 'type', 'count') },
}));

/** Activations whose derivative is a function of the sign of what they are applied to. */
export const FUSED_WITH_NORM = ['none', 'relu', 'leaky_relu'] as const satisfies readonly Activation[];

/** Their indices, and what they and their gradients are as the element-wise operations of the same name. */
export const NORM_ACTIVATIONS = FUSED_WITH_NORM.map((name) => ({
  name,
  index: ACTIVATIONS.indexOf(name),
  forward: name === 'none' ? 'x0' : POINTWISE[name].expr,
  backward: name === 'none' ? 'x0' : POINTWISE[`${name}_backward`].expr,
}));

/**
 * Running averages, and a count of batches, that statistics of a batch are added to, where they are kept: running ←
 * (1 − momentum) · running + momentum · batch, the variance times `unbias`, M / (M − 1).
 */
const AVERAGES: readonly Arg[] = ['running_mean', 'running_var', 'tracked'].map((name) => ({
  ...output(name),
  optional: true,
}));
const AVERAGING = all('d', 'momentum', 'unbias');
/** What comes behind the normalisation: an index in ACTIVATIONS, one of FUSED_WITH_NORM, and leaky_relu's slope. */
const ACTIVATED = [...all('d', 'slope'), ...all('i', 'activation')];
/** Statistics are the batch's own, not given. */
const OWN = all('i', 'own');
const AFFINE = ['weight', 'bias'].map(optional);

/**
 * Means, variances (biased), inverse deviations and sums are in the accumulator type: f32, or f64 for f64. A whole
 * direction is one launch on a CPU, and on a CUDA device where blocks have channels of their own (`isNormTogether`); else it
 * is two there: the second needs what every block of the first has found.
 */
const norms: Operation[] = [
  norm('bn_forward', [
    ...[input('x'), ...AFFINE, ...['mean', 'var', 'invstd', 'out'].map(output), ...AVERAGES],
    ...[...PLANES, ...all('d', 'eps'), ...AVERAGING, ...OWN, ...ACTIVATED],
  ]),
  norm('bn_backward', [
    ...[...['gy', 'x', 'mean', 'invstd'].map(input), ...AFFINE],
    ...[...['sum_gy', 'sum_gy_xhat'].map(output), { ...output('gx'), optional: true }],
    ...[...PLANES, ...OWN, ...ACTIVATED],
  ]),
  {
    ...norm('bn_stats', [
      ...[input('x'), ...['mean', 'var', 'invstd'].map(output), ...AVERAGES],
      ...[...PLANES, ...all('d', 'eps'), ...AVERAGING],
    ]),
    only: 'cuda',
  },
  {
    ...norm('bn_apply', [
      ...[...['x', 'mean', 'invstd'].map(input), ...AFFINE, output('out')],
      ...[...PLANES, ...ACTIVATED],
    ]),
    only: 'cuda',
  },
  {
    ...norm('bn_backward_stats', [
      ...[...['gy', 'x', 'mean', 'invstd'].map(input), ...AFFINE, ...['sum_gy', 'sum_gy_xhat'].map(output)],
      ...[...PLANES, ...ACTIVATED],
    ]),
    only: 'cuda',
  },
  {
    ...norm('bn_backward_input', [
      ...[
        ...['gy', 'x', 'mean', 'invstd'].map(input),
        ...AFFINE,
        ...['sum_gy', 'sum_gy_xhat'].map(input),
        output('gx'),
      ],
      ...[...PLANES, ...OWN, ...ACTIVATED],
    ]),
    only: 'cuda',
  },
];

function norm(name: string, args: readonly Arg[]): Operation {
  const holds = {
    ...holding(['x', 'gy', 'gx', 'out'], 'type', 'n', 'c', 'hw'),
    ...holding(['mean', 'var', 'invstd', 'sum_gy', 'sum_gy_xhat'], 'accumulator', 'c'),
    ...holding(['weight', 'bias', 'running_mean', 'running_var'], 'type', 'c'),
    ...holding(['tracked'], 'i32'),
  };
  const named = Object.fromEntries(Object.entries(holds).filter(([key]) => args.some((arg) => arg.name === key)));
  return { name, family: 'norm', types: FLOATS, args, holds: named };
}

/**
 * Operations over many tensors in one launch: `tensors` holds the pointers of each, `counts` their elements, the scalars
 * are common to all.
 */
function group(
  name: string,
  a: Pick<Operation, 'family' | 'types'> & { readonly roles: readonly string[]; readonly scalars: readonly Arg[] },
): Operation {
  const capacity = Math.floor(TABLE_WORDS / (a.roles.length + 1));
  const tables: Arg[] = [
    { name: 'tensors', kind: 'P', role: 'out', capacity: a.roles.length * capacity },
    { name: 'counts', kind: 'L', capacity },
  ];
  const { family, types, roles, scalars } = a;
  return { name, family, types, args: [...tables, ...scalars], holds: {}, group: { roles, capacity } };
}

/** Words of 8 bytes in the tables of a launch: they and the scalars have to fit into 4 KiB of parameters. */
const TABLE_WORDS = 448;

/**
 * PyTorch's formulas (torch.optim.SGD, Adam, AdamW); `correction1` is 1 − beta1^step, `correction2` 1 − beta2^step.
 * Adam's `step` is null or a float32 on the device, the number of steps done so far, from which the kernel takes the
 * corrections, and which it moves on; it is null on devices that record no graphs.
 */
const optimizers: Operation[] = [
  group('sgd_group', {
    family: 'optimizer',
    types: FLOATS,
    roles: ['p', 'g', 'buf'],
    scalars: [...all('d', 'lr', 'momentum', 'dampening', 'weight_decay'), ...all('i', 'nesterov', 'maximize', 'first')],
  }),
  group('adam_group', {
    family: 'optimizer',
    types: FLOATS,
    roles: ['p', 'g', 'm', 'v', 'vmax', 'step'],
    scalars: [
      ...all('d', 'lr', 'beta1', 'beta2', 'eps', 'weight_decay', 'correction1', 'correction2'),
      ...all('i', 'decoupled', 'maximize'),
    ],
  }),
];

/** out ← out + x, and out ← 0. */
const groups: Operation[] = [
  group('add_group', { family: 'group', types: FLOATS, roles: ['out', 'x'], scalars: [] }),
  group('zero_group', { family: 'group', types: FLOATS, roles: ['out'], scalars: [] }),
];

/** Philox4x32-10 (Salmon et al., SC 2011): counter = offset + index / 4, key = seed; uniform in [a, b), normal with mean a and deviation b. */
const randoms: Operation[] = ['uniform', 'normal'].map((name) => ({
  name,
  family: 'random',
  types: FLOATS,
  args: [output('out'), ...all('l', 'count', 'seed', 'offset'), ...all('d', 'a', 'b')],
  holds: holding(['out'], 'type', 'count'),
}));

const fills: Operation[] = [
  { name: 'fill', args: [output('out'), ...all('l', 'count'), ...all('d', 'value')] },
  { name: 'arange', args: [output('out'), ...all('l', 'count'), ...all('d', 'start', 'step')] },
].map(({ name, args }) => ({
  name,
  family: 'fill',
  types: STORAGE_TYPES,
  args,
  holds: holding(['out'], 'type', 'count'),
}));

/**
 * What a machine can do, for benches; on CPUs only. `fma`: `count` items of `steps` multiply-adds each, in registers; an
 * item's sum goes to out. `triad`: out = a + 3 b, with stores that go around the caches where `streaming` is not 0.
 */
const probes: Operation[] = [
  { name: 'fma', args: [output('out'), ...all('l', 'count', 'steps')] },
  { name: 'triad', args: [output('out'), input('a'), input('b'), ...all('l', 'count'), ...all('i', 'streaming')] },
].map(({ name, args }) => ({
  name,
  family: 'probe',
  types: ['f32', 'f64'],
  only: 'cpu',
  args,
  holds: holding(['out', 'a', 'b'].slice(0, name === 'fma' ? 1 : 3), 'type', 'count'),
}));

/** Every operation by name (`add`, `cast_f32`, `sum`, `adam`, …). */
export const OPERATIONS: ReadonlyMap<string, Operation> = new Map(
  [
    ...[...pointwise, ...casts, ...reductions, parts, ...losses, ...norms],
    ...[...optimizers, ...groups, ...randoms, ...fills, ...probes],
  ].map((o) => [o.name, Object.freeze({ ...o, args: Object.freeze(o.args) })]),
);

/** The kernel of an operation, e.g. ('add', 'f32', 'avx2') → `add_f32__pointwise__avx2`; `target` is a name's last zone. */
export function operationKernel(name: string, type: StorageType, target: string): string {
  return `${operationSymbol(operationOf(name), type)}__${target}`;
}

/**
 * The tables of an operation over many tensors.
 *
 * @throws FracstrideError ERR_ARGUMENT for an operation that takes none
 */
export function groupOf(name: string): Group {
  const { group: found } = operationOf(name);
  if (found === undefined) throw new FracstrideError('ERR_ARGUMENT', `kernel: ${name} must take tables of tensors`);
  return found;
}

/** Whether a target has an operation. */
export function hasOperation(name: string, target: Target): boolean {
  const { only } = operationOf(name);
  return only === undefined || (only === 'cpu') === (target.kind === 'cpu');
}

/** The argument list of an operation, in launch order. */
export function operationArguments(name: string): readonly Arg[] {
  return operationOf(name).args;
}

/** What its buffers must hold, as extents.ts writes it. */
export function operationExtents(name: string, type: StorageType): string {
  const { args, holds } = operationOf(name);
  const accumulator = type === 'f64' ? 'f64' : 'f32';
  const bytes = ({ of }: Holding) => STORAGE_BYTES[of === 'type' ? type : of === 'accumulator' ? accumulator : of];
  const extents = Object.entries(holds).map(([pointer, h]): [string, Extent] => [
    pointer,
    { bytes: bytes(h), factors: h.factors },
  ]);
  return extentsText(args, Object.fromEntries(extents));
}

/** The kinds string that the addon's `load` takes. */
export function kindsOf(args: readonly Arg[]): string {
  return args.map(kindText).join('');
}

/** A kernel's name without its last zone. */
export function operationSymbol(operation: Operation, type: StorageType): string {
  return `${operation.name}_${type}__${operation.family}`;
}

/**
 * @throws FracstrideError ERR_ARGUMENT for a name that the table does not hold
 */
export function operationOf(name: string): Operation {
  const found = OPERATIONS.get(name);
  if (found === undefined) {
    throw new FracstrideError('ERR_ARGUMENT', `kernel: operation must be a known one, got ${show(name)}`);
  }
  return found;
}
