/**
 * Launches of every element-wise CUDA kernel as rendered, with what the CPU kernel of the same name gives for them: dense,
 * with gaps, broadcast and permuted operands; buffers that end or begin at a page, so that some cannot be read in packs.
 */

import { operationGeometry } from '../../codegen/cuda_operations.js';
import { type OperationSpec, operationArguments, STORAGE_TYPES, type StorageType } from '../../codegen/operations.js';
import { POINTWISE, type PointwiseName } from '../../codegen/pointwise.js';
import { BYTES, compute, dense, encode, FLOAT_TYPES, isas, noise, rounded, strided } from '../support/kernels.js';
import { pointwiseOperands, pointwiseScalars } from '../support/pointwise_reference.js';
import { type Job, ORDERS } from './host_program.js';

/** One launch in both orders of threads, and what it must give. */
export interface OperationCase {
  readonly title: string;
  readonly spec: OperationSpec;
  readonly jobs: readonly Job[];
  /** Inputs by position, for operations that are compared with a reference. */
  readonly inputs: readonly Float64Array[];
  /** What the CPU kernel gives; gaps hold what the buffer held before. */
  readonly expected: Float64Array;
}

interface Request {
  readonly title: string;
  readonly operation: string;
  readonly type: StorageType;
  readonly inputs: Readonly<Record<string, { readonly type: StorageType; readonly values: Float64Array }>>;
  /** Elements of the output's buffer. */
  readonly count: number;
  readonly scalars: Readonly<Record<string, number>>;
  /** Blocks of the grid, where they are not those of the geometry. */
  readonly blocks?: number;
}

function makeCase(request: Request): OperationCase {
  const { title, operation, type, inputs, count, scalars } = request;
  const names = operationArguments(operation).filter(({ kind }) => kind !== 'p');
  const usual = operationGeometry(
    operation,
    type,
    names.map(({ name }) => scalars[name]!),
  );
  const launch = request.blocks === undefined ? usual : { ...usual, grid: [request.blocks, 1, 1] as const };
  const spec: OperationSpec = { operation, type, target: { kind: 'ptx' } };
  const stored = Object.entries(inputs).map(([name, input]) => [
    name,
    new Uint8Array(encode(input.type, input.values).buffer),
  ]);
  const operands = { ...Object.fromEntries(stored), out: count * BYTES[type] };
  const which = { operation, type, isa: isas()[0]! };
  const blank = new Float64Array(count).fill(GAP);
  const { out } = compute(which, { inputs: { ...inputs, out: { type, values: blank } }, outputs: {}, scalars });
  return {
    title,
    spec,
    jobs: ORDERS.map((order) => ({ spec, launch, order, operands, scalars })),
    inputs: Object.values(inputs).map(({ values }) => values),
    expected: out!,
  };
}

/** Stands for what no kernel may write to; the host program's buffers hold bytes 0xFF there. */
export const GAP = -77;

/** Dense operands of every operation and element type, special numbers among them; the count is odd. */
export function denseCases(): OperationCase[] {
  return Object.entries(POINTWISE).flatMap(([name, { inputs }], turn) =>
    FLOAT_TYPES.map((type) => {
      const x = pointwiseOperands(inputs, type).map((values) => values.slice(0, values.length - 1200 + (turn % 16)));
      const operands = x.map((values, i) => [`x${i}`, { type, values }] as const);
      const steps = Object.fromEntries(['out', ...operands.map(([key]) => key)].map((key) => [key, [1]]));
      const count = x[0]!.length;
      return makeCase({
        title: `${name} of dense operands`,
        operation: name,
        type,
        inputs: Object.fromEntries(operands),
        count,
        scalars: { ...pointwiseScalars(name as PointwiseName), ...strided([count], steps) },
        ...(turn % 3 === 0 ? { blocks: 1 } : {}),
      });
    }),
  );
}

interface Layout {
  readonly strides: readonly number[];
  readonly count: number;
}

/** Shapes and strides of operands: out first. A stride of 0 broadcasts. */
const LAYOUTS: Readonly<Record<string, { shape: number[]; strides: number[][] }>> = {
  'a broadcast scalar': { shape: [1003], strides: [[1], [1], [0]] },
  'a channel of NCHW': {
    shape: [2, 5, 64],
    strides: [
      [320, 64, 1],
      [320, 64, 1],
      [0, 1, 0],
    ],
  },
  'a channel of NHWC': {
    shape: [33, 24],
    strides: [
      [24, 1],
      [24, 1],
      [0, 1],
    ],
  },
  'rows that are longer than used': {
    shape: [7, 40],
    strides: [
      [48, 1],
      [56, 1],
      [40, 1],
    ],
  },
  'rows at odd distances': {
    shape: [7, 41],
    strides: [
      [43, 1],
      [41, 1],
      [47, 1],
    ],
  },
  'a permuted operand': {
    shape: [2, 6, 35],
    strides: [
      [210, 35, 1],
      [210, 1, 6],
      [210, 35, 1],
    ],
  },
  'every second column': {
    shape: [9, 31],
    strides: [
      [31, 1],
      [62, 2],
      [31, 1],
    ],
  },
  'gaps in the output': {
    shape: [5, 16],
    strides: [
      [40, 2],
      [16, 1],
      [16, 1],
    ],
  },
  'six dimensions': {
    shape: [2, 3, 2, 3, 2, 4],
    strides: [
      [144, 48, 24, 8, 4, 1],
      [1, 2, 6, 12, 36, 72],
      [0, 4, 0, 12, 0, 1],
    ],
  },
  'dimensions of one element': {
    shape: [1, 6, 1, 8],
    strides: [
      [99, 8, 5, 1],
      [0, 8, 3, 1],
      [7, 0, 0, 1],
    ],
  },
  'a single element': { shape: [1], strides: [[0], [0], [0]] },
};

const countOf = (shape: readonly number[], strides: readonly number[]) =>
  shape.reduce((last, size, d) => last + (size - 1) * strides[d]!, 1);

/** Operands that do not lie alike: sub and where (three operands) in all types that they have. */
export function stridedCases(): OperationCase[] {
  return Object.entries(LAYOUTS).flatMap(([title, { shape, strides }], turn) =>
    FLOAT_TYPES.flatMap((type) => [
      stridedCase({ title, operation: 'sub', type, shape, strides, turn }),
      stridedCase({ title, operation: 'where', type, shape, strides: [...strides, strides[1]!], turn }),
    ]),
  );
}

function stridedCase(a: {
  title: string;
  operation: PointwiseName;
  type: StorageType;
  shape: readonly number[];
  strides: readonly (readonly number[])[];
  turn: number;
}): OperationCase {
  const layouts = a.strides.map((strides): Layout => ({ strides, count: countOf(a.shape, strides) }));
  const [out, ...operands] = layouts as [Layout, ...Layout[]];
  const whole = (values: Float64Array) => (a.operation === 'where' ? values.map(Math.round) : values);
  const inputs = operands.map(({ count }, i) => {
    const values = noise(count, 31 * a.turn + i, -4, 4);
    return [`x${i}`, { type: a.type, values: rounded(a.type, i === 0 ? whole(values) : values) }] as const;
  });
  const steps = Object.fromEntries(['out', ...inputs.map(([name]) => name)].map((name, i) => [name, a.strides[i]!]));
  return makeCase({
    title: `${a.operation} with ${a.title}`,
    operation: a.operation,
    type: a.type,
    inputs: Object.fromEntries(inputs),
    count: out.count,
    scalars: strided(a.shape, steps),
    ...(a.turn % 2 === 0 ? { blocks: 2 } : {}),
  });
}

/** Sizes [n, c, hw] of images whose layout changes. */
const IMAGES = [
  [2, 3, 1029],
  [1, 64, 49],
  [3, 17, 16],
  [2, 33, 100],
  [1, 2, 700],
  [1, 1, 5],
  [1, 40, 40],
] as const;

/** Copies of every element type: dense, strided, and between NCHW and NHWC both ways. */
export function copyCases(): OperationCase[] {
  const layouts = Object.entries(LAYOUTS).map(([title, { shape, strides }]) => ({
    title,
    shape,
    strides: strides.slice(0, 2),
  }));
  const images = IMAGES.flatMap(([n, c, hw]) => [
    { title: `${n}x${c}x${hw} to NHWC`, shape: [n, hw, c], strides: [dense([n, hw, c]), [c * hw, 1, hw]] },
    { title: `${n}x${c}x${hw} to NCHW`, shape: [n, c, hw], strides: [dense([n, c, hw]), [c * hw, 1, c]] },
  ]);
  const four = [
    {
      title: 'four dimensions, reversed',
      shape: [3, 4, 5, 37],
      strides: [dense([3, 4, 5, 37]), [1, 3, 12, 60]],
    },
    { title: 'a broadcast dimension', shape: [6, 9, 7], strides: [dense([6, 9, 7]), [0, 1, 9]] },
    { title: 'a dense run', shape: [4099], strides: [[1], [1]] },
  ];
  return [...layouts, ...images, ...four].flatMap(({ title, shape, strides }, turn) =>
    STORAGE_TYPES.map((type) => {
      const count = countOf(shape, strides[1]!);
      const values = rounded(type, noise(count, turn + 1, -1000, 1000));
      return makeCase({
        title: `copy of ${title}`,
        operation: 'copy',
        type,
        inputs: { x0: { type, values } },
        count: countOf(shape, strides[0]!),
        scalars: strided(shape, { out: strides[0]!, x0: strides[1]! }),
        ...(turn % 2 === 0 ? { blocks: 2 } : {}),
      });
    }),
  );
}

/** Numbers between the representable ones, at the ends of ranges, and what is no number. */
const HARD = [
  ...[0, -0, 1, 1 + 2 ** -11, 1 + 2 ** -11 + 2 ** -40, 1 + 2 ** -8 + 2 ** -30, 65519.9, 65520, 2 ** -25],
  ...[2 ** -25 * 1.0001, 1e-45, 1e300, -1e300, Infinity, -Infinity, Number.NaN, 2147483647, -2147483648, 2147483648],
  ...[-2147483649.5, 16777217, -0.9, 2.5, -3.999],
];

export function castCases(): OperationCase[] {
  return STORAGE_TYPES.flatMap((from) =>
    STORAGE_TYPES.filter((to) => to !== from).map((to, turn) => {
      const all = [...HARD, ...noise(1000, 7, -70_000, 70_000), ...noise(1000 + turn, 8, -1, 1)];
      const values = rounded(from, all);
      return makeCase({
        title: `cast_${from}`,
        operation: `cast_${from}`,
        type: to,
        inputs: { in: { type: from, values } },
        count: values.length,
        scalars: { count: values.length },
        ...(turn % 2 === 0 ? { blocks: 1 } : {}),
      });
    }),
  );
}

export function fillCases(): OperationCase[] {
  return STORAGE_TYPES.flatMap((type, turn) =>
    [1, 1000 + turn, 4096].flatMap((count) => [
      makeCase({ title: 'fill', operation: 'fill', type, inputs: {}, count, scalars: { count, value: -3.7 } }),
      makeCase({
        title: 'arange',
        operation: 'arange',
        type,
        inputs: {},
        count,
        scalars: { count, start: -20.125, step: 0.375 },
        blocks: 2,
      }),
    ]),
  );
}

/** Ranges [a, b) that need their upper limit kept, one that is empty, and counters beyond 32 bits. */
export function randomCases(): OperationCase[] {
  const seeds = [
    { seed: 67280421310721, offset: 0 },
    { seed: 2 ** 53 - 1, offset: 2 ** 32 - 50 },
  ];
  return FLOAT_TYPES.flatMap((type, turn) =>
    seeds.flatMap((stream) =>
      [
        { operation: 'uniform', a: 0, b: 1 },
        { operation: 'uniform', a: 1, b: 1 + 2 ** -6 },
        { operation: 'uniform', a: -8, b: 8 },
        { operation: 'uniform', a: 2, b: 2 },
        { operation: 'normal', a: 2, b: 3 },
      ].map(({ operation, a, b }) => {
        const count = 2001 + turn;
        return makeCase({
          title: operation,
          operation,
          type,
          inputs: {},
          count,
          scalars: { count, ...stream, a, b },
          ...(turn % 2 === 0 ? { blocks: 1 } : {}),
        });
      }),
    ),
  );
}
