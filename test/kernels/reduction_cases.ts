/** Launches of the rendered CUDA kernels that add up or step over groups of tensors, with what doubles give for them. */

import { operationGeometry } from '../../codegen/cuda_operations.js';
import {
  DISTANCES,
  groupOf,
  NORM_ACTIVATIONS,
  operationArguments,
  type StorageType,
} from '../../codegen/operations.js';
import type { GroupName } from '../../src/group.js';
import { accumulatorOf, encode, FLOAT_TYPES, noise, rounded } from '../support/kernels.js';
import { type Job, type Operand, ORDERS } from './host_program.js';

/** What one output has to hold. */
export interface Expected {
  readonly type: StorageType;
  readonly values: Float64Array;
  /** Error allowed in units of `2^-bits` of the type, relative to this. */
  readonly scale: number;
}

export interface ReductionCase {
  readonly title: string;
  readonly jobs: readonly Job[];
  readonly expected: readonly Expected[];
}

interface Launch {
  readonly title: string;
  readonly operation: string;
  readonly type: StorageType;
  readonly operands: Readonly<Record<string, Operand>>;
  readonly scalars: Readonly<Record<string, number>>;
  /** What stands before the scalars in the launcher's list. */
  readonly counts?: readonly number[];
  readonly expected: readonly Expected[];
}

function makeCase({ title, operation, type, operands, scalars, counts, expected }: Launch): ReductionCase {
  const names = operationArguments(operation).filter(({ kind }) => 'ilfd'.includes(kind));
  const list = [
    ...(counts === undefined ? [] : [counts.length, ...counts]),
    ...names.map(({ name }) => scalars[name]!),
  ];
  const launch = operationGeometry(operation, type, list);
  const spec = { operation, type, target: { kind: 'ptx' } } as const;
  return { title, expected, jobs: ORDERS.map((order) => ({ spec, launch, order, operands, scalars })) };
}

const bytesOf = (type: StorageType, values: ArrayLike<number>) => new Uint8Array(encode(type, values).buffer);
const sizeOf = (type: StorageType, count: number) => encode(type, new Float64Array(count)).byteLength;

/** [outer, reduced, inner] */
const BOXES = [
  [1, 1, 1],
  [5, 1, 1],
  [3, 7, 1],
  [1, 100_003, 1],
  [2, 40_000, 1],
  [700, 16, 1],
  [300, 33, 1],
  [1, 5, 3],
  [2, 3, 5],
  [1, 9000, 3],
  [4, 64, 130],
  [1, 3000, 64],
  [500, 2, 2],
  [64, 7, 1],
  [3, 2000, 33],
  [1, 20_000, 160],
] as const;

export function reduceCases(operation: 'sum' | 'max'): ReductionCase[] {
  return BOXES.flatMap(([outer, reduced, inner], turn) =>
    FLOAT_TYPES.map((type) => {
      const values = rounded(type, noise(outer * reduced * inner, turn + 3, -1, 2));
      const special = operation === 'max' && turn % 3 === 1;
      const divisor = operation === 'sum' ? 1 + (turn % 3) : 1;
      if (special) values[Math.floor(values.length / 2)] = Number.NaN;
      const out = new Float64Array(outer * inner).fill(operation === 'max' ? -Infinity : 0);
      for (let o = 0; o < outer; o++) {
        for (let r = 0; r < reduced; r++) {
          for (let i = 0; i < inner; i++) {
            const value = values[(o * reduced + r) * inner + i]!;
            const at = o * inner + i;
            out[at] = operation === 'max' ? Math.max(out[at]!, value) : out[at]! + value;
          }
        }
      }
      return makeCase({
        title: `${operation} of [${outer}, ${reduced}, ${inner}] ${type}`,
        operation,
        type,
        operands: { out: sizeOf(type, outer * inner), in: bytesOf(type, values) },
        // what a sum is divided by
        scalars: { outer, reduced, inner, divisor },
        expected: [{ type, values: out.map((v) => v / divisor), scale: operation === 'max' ? 0 : reduced ** 0.5 }],
      });
    }),
  );
}

const DISTANCE = {
  sq_diff: (x: number, t: number) => (x - t) ** 2,
  abs_diff: (x: number, t: number) => Math.abs(x - t),
  bce_logits: (x: number, t: number) => Math.max(x, 0) - x * t + Math.log1p(Math.exp(-Math.abs(x))),
};

export function lossCases(): ReductionCase[] {
  return DISTANCES.flatMap((distance) =>
    [1, 7, 4096, 100_003].flatMap((count, turn) =>
      FLOAT_TYPES.map((type) => {
        const x0 = rounded(type, noise(count, turn + 3, -3, 3));
        const x1 = rounded(type, noise(count, turn + 4, 0, 1));
        const total = x0.reduce((sum, v, i) => sum + DISTANCE[distance](v, x1[i]!), 0);
        return makeCase({
          title: `${distance}_sum of ${count} ${type}`,
          operation: `${distance}_sum`,
          type,
          operands: { out: sizeOf(type, 1), x0: bytesOf(type, x0), x1: bytesOf(type, x1) },
          scalars: { count, divisor: count },
          expected: [{ type, values: Float64Array.of(total / count), scale: 8 + (type === 'f64' ? count : 0) }],
        });
      }),
    ),
  );
}

/** [n, c, hw] */
const PLANES = [
  [2, 3, 16],
  [1, 1, 5],
  [4, 5, 1],
  [2, 3, 4000],
  [16, 2, 2048],
  [3, 64, 9],
  [5, 130, 12],
  [3, 1, 37],
  [40_000, 3, 1],
] as const;

interface Planes {
  readonly n: number;
  readonly c: number;
  readonly hw: number;
  readonly layout: number;
  readonly type: StorageType;
  readonly turn: number;
}

const channelOf =
  ({ c, hw, layout }: Planes) =>
  (i: number) =>
    layout === 1 ? i % c : Math.floor(i / hw) % c;

/** Values with a mean that is large beside their spread. */
function planesOf(p: Planes): { x: Float64Array; gy: Float64Array; mean: Float64Array; variance: Float64Array } {
  const count = p.n * p.c * p.hw;
  const far = { f32: 1000, f64: 1e6, f16: 30, bf16: 4, i32: 0 }[p.type];
  const x = rounded(p.type, noise(count, p.turn + 1, far - 1, far + 1));
  const gy = rounded(p.type, noise(count, p.turn + 2, -1, 1));
  const channel = channelOf(p);
  const m = p.n * p.hw;
  const mean = new Float64Array(p.c);
  const variance = new Float64Array(p.c);
  for (const [i, value] of x.entries()) mean[channel(i)]! += (value - far) / m;
  for (let c = 0; c < p.c; c++) mean[c]! += far;
  for (const [i, value] of x.entries()) variance[channel(i)]! += (value - mean[channel(i)]!) ** 2 / m;
  return { x, gy, mean, variance };
}

export function normCases(): ReductionCase[] {
  return PLANES.flatMap(([n, c, hw], turn) =>
    [0, 1].flatMap((layout) => {
      const type = FLOAT_TYPES[(turn + layout) % 4]!;
      return [type, FLOAT_TYPES[(turn + layout + 1) % 4]!].flatMap((each) =>
        normCasesOf({ n, c, hw, layout, type: each, turn }),
      );
    }),
  );
}

const SLOPE = 0.25;
const MOMENTUM = 0.125;

function normCasesOf(p: Planes): ReductionCase[] {
  const { n, c, hw, layout, type } = p;
  const wide = accumulatorOf(type);
  const { x, gy, mean: exact, variance } = planesOf(p);
  const channel = channelOf(p);
  const { name: act, index: activation } = NORM_ACTIVATIONS[p.turn % 3]!;
  const planes = { n, c, hw, layout };
  const after = { slope: SLOPE, activation };
  const mean = rounded(wide, exact);
  const invstd = rounded(
    wide,
    variance.map((v) => 1 / Math.sqrt(v + 1e-3)),
  );
  const weight = p.turn % 2 === 0 ? rounded(type, noise(c, 9, 0.5, 2)) : null;
  const bias = weight && rounded(type, noise(c, 10, -1, 1));
  const optional = (values: Float64Array | null) => values && bytesOf(type, values);
  const m = n * hw;
  const scale = invstd.map((v, at) => v * (weight?.[at] ?? 1));
  // in the type that the kernel computes in, so that the gate is the kernel's where it is near 0
  const fround = type === 'f64' ? (v: number) => v : Math.fround;
  const tilts = scale.map((v) => fround(v));
  const z = x.map((v, i) => {
    const at = channel(i);
    return fround(v - mean[at]!) * tilts[at]! + (bias?.[at] ?? 0);
  });
  const y = z.map((v) => (act === 'none' || v > 0 ? v : act === 'relu' ? 0 : v * SLOPE));
  const open = rounded(type, z);
  const g = gy.map((v, i) => (act === 'none' || open[i]! > 0 ? v : act === 'relu' ? 0 : v * SLOPE));
  const sums = [new Float64Array(c), new Float64Array(c)] as const;
  for (let i = 0; i < g.length; i++) {
    const at = channel(i);
    sums[0][at]! += g[i]!;
    sums[1][at]! += g[i]! * (x[i]! - mean[at]!) * invstd[at]!;
  }
  const given = {
    ...{ mean: bytesOf(wide, mean), invstd: bytesOf(wide, invstd) },
    ...{ weight: optional(weight), bias: optional(bias) },
  };
  const [sumGy, sumHat] = sums.map((values) => rounded(wide, values)) as [Float64Array, Float64Array];
  const input = (own: number) =>
    x.map((v, i) => {
      const at = channel(i);
      const hat = (v - mean[at]!) * invstd[at]!;
      return (g[i]! - own * (sumGy[at]! / m + (hat * sumHat[at]!) / m)) * scale[at]!;
    });
  const far = Math.max(...x.map(Math.abs));
  const make = (operation: string, operands: Launch['operands'], scalars: Launch['scalars'], expected: Expected[]) =>
    makeCase({
      title: `${operation} of [${n}, ${c}, ${hw}] layout ${layout} ${act} ${type}`,
      ...{ operation, type, operands, expected, scalars: { ...planes, ...scalars } },
    });
  const whole = (values: Float64Array, size: number): Expected => ({ type, values, scale: size });
  const channels = (values: Float64Array, size: number): Expected => ({ type: wide, values, scale: size });
  const both = { gy: bytesOf(type, gy), x: bytesOf(type, x) };
  const found = { sum_gy: bytesOf(wide, sumGy), sum_gy_xhat: bytesOf(wide, sumHat) };
  const old = [rounded(type, noise(c, 11, -1, 1)), rounded(type, noise(c, 12, 0.5, 2))] as const;
  const kept = p.turn % 4 !== 1;
  const none = { running_mean: null, running_var: null, tracked: null };
  const averages: Launch['operands'] = kept
    ? {
        ...{ running_mean: { inout: bytesOf(type, old[0]) }, running_var: { inout: bytesOf(type, old[1]) } },
        tracked: { inout: bytesOf('i32', [41]) },
      }
    : none;
  const unbias = 1.5;
  const moved = [
    whole(
      old[0].map((v, at) => (1 - MOMENTUM) * v + MOMENTUM * exact[at]!),
      far,
    ),
    whole(
      old[1].map((v, at) => (1 - MOMENTUM) * v + MOMENTUM * unbias * variance[at]!),
      type === 'f64' ? 1e5 : 4,
    ),
    { type: 'i32', values: Float64Array.of(42), scale: 0 } as const,
  ];
  // a variance of doubles keeps 53 bits less those that the mean's size costs the reference
  const statistics = [
    channels(exact, far),
    channels(variance, type === 'f64' ? 1e5 : 1),
    channels(
      variance.map((v) => 1 / Math.sqrt(v + 1e-3)),
      type === 'f64' ? 1e9 : 1e3,
    ),
  ];
  return [
    make(
      'bn_stats',
      { x: bytesOf(type, x), mean: sizeOf(wide, c), var: sizeOf(wide, c), invstd: sizeOf(wide, c), ...averages },
      { eps: 1e-3, momentum: MOMENTUM, unbias },
      [...statistics, ...(kept ? moved : [])],
    ),
    ...[1, 0].map((own) => {
      const fresh = { mean: sizeOf(wide, c), var: sizeOf(wide, c) };
      const known = { mean: { inout: bytesOf(wide, mean) }, var: { inout: bytesOf(wide, rounded(wide, variance)) } };
      const affine = { weight: optional(weight), bias: optional(bias) };
      const results = { invstd: sizeOf(wide, c), out: sizeOf(type, x.length) };
      return make(
        'bn_forward',
        {
          x: bytesOf(type, x),
          ...affine,
          ...(own === 1 ? fresh : known),
          ...results,
          ...(own === 1 ? averages : none),
        },
        { ...after, eps: 1e-3, momentum: MOMENTUM, unbias, own },
        // a mean that was rounded another way moves every element
        [...statistics, whole(y, type === 'f64' ? 1e10 : 20 * far), ...(own === 1 && kept ? moved : [])],
      );
    }),
    make('bn_apply', { ...given, x: bytesOf(type, x), out: sizeOf(type, x.length) }, after, [whole(y, 20)]),
    make('bn_backward_stats', { ...given, ...both, sum_gy: sizeOf(wide, c), sum_gy_xhat: sizeOf(wide, c) }, after, [
      channels(sums[0], m),
      channels(sums[1], type === 'f64' ? 1e3 * m : 3 * m),
    ]),
    ...[1, 0].flatMap((own) =>
      [true, false].map((wanted) =>
        make(
          'bn_backward',
          {
            ...given,
            ...both,
            sum_gy: sizeOf(wide, c),
            sum_gy_xhat: sizeOf(wide, c),
            gx: wanted ? sizeOf(type, x.length) : null,
          },
          { ...after, own },
          [
            ...[channels(sums[0], m), channels(sums[1], type === 'f64' ? 1e3 * m : 3 * m)],
            ...(wanted ? [whole(input(own), 60)] : []),
          ],
        ),
      ),
    ),
    ...[1, 0].map((own) =>
      make('bn_backward_input', { ...given, ...both, ...found, gx: sizeOf(type, x.length) }, { ...after, own }, [
        whole(input(own), 60),
      ]),
    ),
  ];
}

/** Elements of a group's tensors: none, less than a run, several blocks. */
const GROUP = [5, 0, 9001, 1, 4096, 37];

interface Step {
  readonly type: StorageType;
  readonly operation: GroupName;
  /** Names of the pointers that are there. */
  readonly roles: readonly string[];
  readonly scalars: Readonly<Record<string, number>>;
  readonly done: number | null;
  readonly rule: (values: Readonly<Record<string, number>>) => Readonly<Record<string, number>>;
}

export function groupCases(): ReductionCase[] {
  const plain = { scalars: {}, done: null };
  return FLOAT_TYPES.flatMap((type) => [
    stepCase({
      ...plain,
      type,
      operation: 'add_group',
      roles: ['out', 'x'],
      rule: ({ out, x }) => ({ out: out! + x! }),
    }),
    stepCase({ ...plain, type, operation: 'zero_group', roles: ['out'], rule: () => ({ out: 0 }) }),
    ...[
      { momentum: 0, nesterov: 0, first: 0, dampening: 0 },
      { momentum: 0.9, nesterov: 0, first: 1, dampening: 0.4 },
      { momentum: 0.9, nesterov: 0, first: 0, dampening: 0.4 },
      { momentum: 0.8, nesterov: 1, first: 0, dampening: 0 },
    ].map((a) => stepCase(sgdStep(type, a))),
    ...[
      { amsgrad: false, decoupled: 0, maximize: 0, done: null },
      { amsgrad: true, decoupled: 0, maximize: 1, done: null },
      { amsgrad: true, decoupled: 1, maximize: 0, done: 4 },
    ].map((a) => stepCase(adamStep(type, a))),
  ]);
}

function sgdStep(type: StorageType, a: { momentum: number; nesterov: number; first: number; dampening: number }): Step {
  const scalars = { lr: 0.1, weight_decay: 0.05, maximize: a.nesterov, ...a };
  return {
    type,
    operation: 'sgd_group',
    roles: a.momentum === 0 ? ['p', 'g'] : ['p', 'g', 'buf'],
    scalars,
    done: null,
    rule: ({ p, g, buf }) => {
      const d = (scalars.maximize === 1 ? -g! : g!) + 0.05 * p!;
      const b = a.first === 1 || a.momentum === 0 ? d : a.momentum * buf! + (1 - a.dampening) * d;
      const kept: Record<string, number> = a.momentum === 0 ? {} : { buf: b };
      return { p: p! - 0.1 * (a.nesterov === 1 ? d + a.momentum * b : b), ...kept };
    },
  };
}

function adamStep(
  type: StorageType,
  a: { amsgrad: boolean; decoupled: number; maximize: number; done: number | null },
): Step {
  const [lr, beta1, beta2, eps, decay] = [0.1, 0.9, 0.99, 1e-3, 0.2];
  const corrections = [beta1, beta2].map((beta) => 1 - beta ** ((a.done ?? 2) + 1)) as [number, number];
  // where the device counts, the corrections that it is given must not matter
  const given = a.done === null ? corrections : [7, 7];
  const { decoupled, maximize } = a;
  return {
    type,
    operation: 'adam_group',
    roles: ['p', 'g', 'm', 'v', ...(a.amsgrad ? ['vmax'] : [])],
    scalars: {
      ...{ lr, beta1, beta2, eps, weight_decay: decay, decoupled, maximize },
      ...{ correction1: given[0]!, correction2: given[1]! },
    },
    done: a.done,
    rule: ({ p, g, m, v, vmax }) => {
      const d = (maximize === 1 ? -g! : g!) + (decoupled === 1 ? 0 : decay * p!);
      const mean = beta1 * m! + (1 - beta1) * d;
      const square = beta2 * v! + (1 - beta2) * d * d;
      const largest = a.amsgrad ? Math.max(vmax!, square) : square;
      const moved = (lr / corrections[0]) * (mean / (Math.sqrt(largest) / Math.sqrt(corrections[1]) + eps));
      const kept = decoupled === 1 ? p! * (1 - lr * decay) : p!;
      return { p: kept - moved, m: mean, v: square, ...(a.amsgrad ? { vmax: largest } : {}) };
    },
  };
}

function stepCase({ type, operation, roles, scalars, done, rule }: Step): ReductionCase {
  const all = groupOf(operation).roles.filter((role) => role !== 'step');
  const expected: Expected[] = [];
  const table = GROUP.flatMap((count, t) => {
    const values = roles.map((role, k) => {
      const positive = role === 'v' || role === 'vmax';
      return rounded(type, noise(count, 7 * t + k + 1, positive ? 0.01 : -1, 1));
    });
    const results = Array.from({ length: count }, (_, i) =>
      rule(Object.fromEntries(roles.map((role, k) => [role, values[k]![i]!]))),
    );
    const entries = all.map((role) => {
      const at = roles.indexOf(role);
      if (at < 0) return null;
      if (role === 'g' || role === 'x') return bytesOf(type, values[at]!);
      expected.push({ type, values: Float64Array.from(results, (result) => result[role]!), scale: 8 });
      return { inout: bytesOf(type, values[at]!) };
    });
    if (operation !== 'adam_group') return entries;
    if (done === null) return [...entries, null];
    expected.push({ type: 'f32', values: Float64Array.of(done + 1), scale: 0 });
    return [...entries, { inout: bytesOf('f32', [done]) }];
  });
  return makeCase({
    title: `${operation} ${type} ${JSON.stringify(scalars)}`,
    operation,
    type,
    operands: { tensors: { table }, counts: { counts: GROUP } },
    scalars,
    counts: GROUP,
    expected,
  });
}
