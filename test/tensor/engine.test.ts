/**
 * The CPU convolution engine, kernel by kernel: every name of every instruction set that this machine runs, launched
 * directly and compared with the oracle. Operands are small integers unless said otherwise, so that every sum is exact in
 * the accumulator and a result has one right value in its element type.
 */

import { expect } from 'chai';
import { OPERANDS } from '../../codegen/passes.js';
import {
  ACTIVATIONS,
  type Contraction,
  type Geometry,
  LAYOUTS,
  type Layout,
  type Pass,
  type Problem,
} from '../../codegen/problem.js';
import { packingOf, parseKernelName, specArguments, variantOf } from '../../codegen/spec.js';
import { NO_LIBRARY } from '../../codegen/variant.js';
import { native } from '../../src/native.js';
import { nextStamp } from '../../src/packings.js';
import { bgrad, contract, expand, wgrad } from '../../src/verify/oracle.js';
import { guarded } from '../support/guards.js';
import { type FLOAT_TYPES, isas, Memory, noise, rounded } from '../support/kernels.js';

type FloatType = (typeof FLOAT_TYPES)[number];

interface Tensors {
  readonly small: Float64Array;
  readonly large: Float64Array;
  readonly weight: Float64Array;
  readonly bias: Float64Array | null;
}

interface Run {
  readonly kernel: string;
  readonly geometry: Geometry;
  readonly tensors: Tensors;
  readonly activation?: (typeof ACTIVATIONS)[number];
}

const SLOPE = 0.25;
const PASSES: Readonly<Record<Contraction, Pass>> = {
  expand: 'fwd',
  contract: 'dgrad',
  wgrad: 'wgrad',
  bgrad: 'bgrad',
};
const FORMS = { ct2d_fwd: 'expand', ct2d_dgrad: 'contract', ct2d_wgrad: 'wgrad', ct2d_bgrad: 'bgrad' } as const;

const plain = { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 } as const;
const GEOMETRIES: Readonly<Record<string, Geometry>> = {
  'k4 s2 p1': { ...plain, ...size(2, 5, [7, 6], 3, [14, 12], [4, 4]), stride: [2, 2], padding: [1, 1] },
  'wide: several blocks and tiles': { ...plain, ...size(2, 150, [5, 5], 70, [5, 5], [3, 1]), padding: [1, 0] },
  'k3 s2 p1 d2: phases without taps': {
    ...plain,
    ...size(1, 4, [5, 4], 5, [11, 9], [3, 3]),
    stride: [2, 2],
    padding: [1, 1],
    dilation: [2, 2],
  },
  'stride over kernel, sizes to spare': { ...plain, ...size(2, 3, [4, 4], 4, [18, 15], [2, 1]), stride: [5, 4] },
  'groups, pairs, cropped': {
    ...plain,
    ...size(3, 6, [6, 5], 9, [8, 12], [3, 5]),
    stride: [2, 3],
    padding: [4, 2],
    dilation: [1, 2],
    groups: 3,
  },
  depthwise: { ...plain, ...size(1, 12, [9, 9], 12, [18, 18], [4, 4]), stride: [2, 2], padding: [1, 1], groups: 12 },
  'depthwise, rows of many vectors': {
    ...plain,
    ...size(2, 5, [6, 40], 5, [12, 80], [4, 4]),
    stride: [2, 2],
    padding: [1, 1],
    groups: 5,
  },
  'depthwise, one channel': { ...plain, ...size(2, 1, [6, 9], 1, [12, 18], [4, 4]), stride: [2, 2], padding: [1, 1] },
  'depthwise, more padding than kernel': {
    ...plain,
    ...size(1, 3, [20, 52], 3, [12, 44], [3, 3]),
    padding: [5, 5],
    groups: 3,
  },
  'depthwise, more channels and positions than whole vectors and blocks': {
    ...plain,
    ...size(2, 19, [8, 9], 19, [16, 18], [4, 4]),
    stride: [2, 2],
    padding: [1, 1],
    groups: 19,
  },
  'depthwise, unit stride': { ...plain, ...size(1, 17, [7, 19], 17, [7, 19], [3, 3]), padding: [1, 1], groups: 17 },
  'dilated, residues alike': {
    ...plain,
    ...size(2, 9, [4, 6], 5, [4, 6], [3, 3]),
    padding: [2, 3],
    dilation: [2, 3],
  },
  'dilated along w, wide, in groups': {
    ...plain,
    ...size(1, 6, [5, 72], 4, [7, 76], [3, 3]),
    dilation: [1, 2],
    groups: 2,
  },
  'one input position': { ...plain, ...size(20, 37, [1, 1], 33, [4, 4], [4, 4]) },
  'one input position, several blocks of channels': { ...plain, ...size(3, 300, [1, 1], 16, [2, 2], [2, 2]) },
  'many channels of few positions': { ...plain, ...size(3, 2, [2, 2], 130, [2, 3], [1, 2]) },
  'more taps than a block is deep': { ...plain, ...size(1, 2, [20, 20], 2, [20, 20], [19, 19]), padding: [9, 9] },
  'few channels, whole vectors of positions': {
    ...plain,
    ...size(1, 18, [4, 32], 3, [8, 64], [4, 4]),
    stride: [2, 2],
    padding: [1, 1],
  },
  'few channels, taps far apart: a cache holds the planes of some': {
    ...plain,
    ...size(1, 9, [8, 64], 8, [71, 127], [2, 2]),
    dilation: [63, 63],
  },
  'few rows of many channels, pieces of whole vectors': {
    ...plain,
    ...size(1, 9, [4, 40], 7, [8, 328], [2, 16]),
    stride: [2, 8],
  },
  'few channels in groups, taps apart': {
    ...plain,
    ...size(2, 16, [5, 9], 4, [5, 12], [2, 4]),
    padding: [0, 1],
    dilation: [1, 2],
    groups: 2,
  },
  'five channels': { ...plain, ...size(1, 8, [6, 7], 5, [7, 8], [4, 4]), padding: [1, 1] },
  'one channel': { ...plain, ...size(2, 40, [6, 33], 1, [18, 99], [9, 9]), stride: [3, 3], padding: [4, 4] },
};

const NOTHING: Tensors = {
  small: new Float64Array(),
  large: new Float64Array(),
  weight: new Float64Array(),
  bias: null,
};
const ONE_POSITION = 'one input position, several blocks of channels';

/** Those in which infinities and NaN are tried, by kernels that compute none of them in that of one position. */
const INFINITE = [
  'k4 s2 p1',
  'groups, pairs, cropped',
  'few channels, whole vectors of positions',
  'depthwise',
  'dilated, residues alike',
];

const ACTIVATE: Readonly<Record<(typeof ACTIVATIONS)[number], (x: number) => number>> = {
  none: (x) => x,
  relu: (x) => (x < 0 ? 0 : x),
  leaky_relu: (x) => (x > 0 ? x : x * SLOPE),
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};

/** Tensors by what they hold; see `once`. */
const made = new Map<string, Tensors>();

describe('CPU convolution engine', function () {
  this.timeout(120_000);
  afterEach(() => native().setThreads(2));
  const cases = Object.entries(GEOMETRIES).map(([name, geometry]) => ({
    name,
    geometry,
    tensors: integers(geometry, 7),
  }));

  for (const kernel of kernels()) {
    it(`${kernel}: exact, inside its buffers, the same bits for any number of threads`, () => {
      for (const { name, geometry, tensors } of cases) {
        const run = { kernel, geometry, tensors };
        if (!isLegal(run)) continue;
        const want = wanted(run);
        const results = threadCounts(kernel).map((threads) => {
          native().setThreads(threads);
          return guarded(() => launch(run));
        });
        expectSame(results[0]!, want, name);
        for (const other of results.slice(1)) expect(sameBits(other, results[0]!), `${name}: threads`).to.equal(true);
      }
    });
  }

  for (const kernel of kernels().filter((name) => formOf(name) === 'expand' || formOf(name) === 'contract')) {
    it(`${kernel}: bias and every activation`, () => {
      const [geometry] = legalOf(kernel, ['k4 s2 p1', ONE_POSITION]);
      if (geometry === undefined) return;
      for (const activation of ACTIVATIONS) {
        const run = { kernel, geometry, tensors: integers(geometry, 11), activation };
        const exact = activation !== 'tanh' && activation !== 'sigmoid';
        expectClose(
          launch(run),
          wanted(run),
          exact ? 0 : { f64: 1e-14, f32: 1e-6, f16: 1e-3, bf16: 8e-3 }[typeOf(kernel)],
        );
      }
    });
  }

  for (const kernel of kernels().filter((name) => formOf(name) !== 'bgrad')) {
    it(`${kernel}: infinities and NaN reach what the definition says, and nothing else`, () => {
      const legal = legalOf(kernel, INFINITE);
      for (const geometry of legal.length > 0 ? legal : legalOf(kernel, [ONE_POSITION])) {
        for (const operand of ['small', 'large', 'weight'] as const) {
          for (const value of [Infinity, -Infinity, Number.NaN]) {
            const run = { kernel, geometry, tensors: holding(geometry, operand, value) };
            expectSame(launch(run), wanted(run), `${operand} holds ${value}`);
          }
        }
      }
    });
  }

  for (const kernel of kernels().filter((name) => typeOf(name) === 'f32' || typeOf(name) === 'f64')) {
    it(`${kernel}: rounding stays far below the tolerance`, () => {
      const geometry = GEOMETRIES['wide: several blocks and tiles']!;
      const run = { kernel, geometry, tensors: reals(geometry, typeOf(kernel)) };
      if (!isLegal(run)) return;
      const want = wanted(run, 'unrounded');
      const most = want.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      expectClose(launch(run), want, most * (typeOf(kernel) === 'f32' ? 2e-6 : 1e-14));
    });
  }

  for (const kernel of kernels().filter((name) => formOf(name) === 'wgrad' && typeOf(name) === 'f32')) {
    it(`${kernel}: the same bits whatever was computed before`, () => {
      const padding = { stride: [2, 2], padding: [2, 2] } as const;
      const larger: Geometry = { ...plain, ...size(2, 40, [6, 16], 1, [12, 32], [5, 5]), ...padding };
      const geometry: Geometry = { ...larger, cs: 9 };
      const run = { kernel, geometry, tensors: reals(geometry, 'f32') };
      if (!isLegal(run)) return;
      const bitsAfter = (value: number): Float64Array => {
        const tensors = integers(larger, 3);
        launch({ kernel, geometry: larger, tensors: { ...tensors, small: tensors.small.map(() => value) } });
        return launch(run);
      };
      expect(sameBits(bitsAfter(0), bitsAfter(Number.NaN))).to.equal(true);
    });
  }

  it('no images, no positions: nothing is written, a weight gradient is zero', () => {
    for (const kernel of kernels()) {
      const geometry = { ...GEOMETRIES['k4 s2 p1']!, n: 0 };
      const run = { kernel, geometry, tensors: integers(geometry, 5) };
      if (!isLegal(run)) continue;
      expectSame(
        guarded(() => launch(run)),
        wanted(run),
        kernel,
      );
    }
  });
});

function size(
  n: number,
  cs: number,
  [hs, ws]: readonly [number, number],
  cl: number,
  [hl, wl]: readonly [number, number],
  [r, s]: readonly [number, number],
) {
  return { n, cs, hs, ws, cl, hl, wl, r, s };
}

/** Every engine kernel of the instruction sets that this machine runs. */
function kernels(): string[] {
  const levels = new Set<string>(isas());
  return native()
    .kernelNames(0)
    .filter((name) => name.startsWith('ct2d_') && levels.has(name.split('__').at(-1)!));
}

/** Kernels of 16-bit types split their work as those of float32 do. */
function threadCounts(kernel: string): readonly number[] {
  const type = typeOf(kernel);
  return type === 'f16' || type === 'bf16' ? [1, 3] : [1, 2, 3, 5];
}

function formOf(kernel: string): Contraction {
  return FORMS[kernel.match(/^ct2d_[a-z]+/)![0] as keyof typeof FORMS];
}
function typeOf(kernel: string): FloatType {
  return kernel.split('_')[2] as FloatType;
}
function layoutOf(kernel: string): Layout {
  return LAYOUTS.find((layout) => kernel.includes(`_${layout}__`))!;
}

function integers(g: Geometry, seed: number): Tensors {
  const draw = (count: number, salt: number) => noise(count, seed + salt, -3, 4).map(Math.floor);
  return once(`${JSON.stringify(g)} integers ${seed}`, () => ({
    small: draw(g.n * g.cs * g.hs * g.ws, 0),
    large: draw(g.n * g.cl * g.hl * g.wl, 1),
    weight: draw((g.cs * g.cl * g.r * g.s) / g.groups, 2),
    bias: draw(Math.max(g.cs, g.cl), 3),
  }));
}

/** Integers, and one infinity or NaN in one of the operands. */
function holding(g: Geometry, operand: 'small' | 'large' | 'weight', value: number): Tensors {
  const plain = integers(g, 13);
  const at = Math.floor(plain[operand].length / 3);
  return once(`${JSON.stringify(g)} ${operand} ${value}`, () => ({
    ...plain,
    [operand]: plain[operand].map((old, i) => (i === at ? value : old)),
  }));
}

function reals(g: Geometry, type: FloatType): Tensors {
  const { small, large, weight } = integers(g, 17);
  const real = (old: Float64Array, seed: number) => rounded(type, noise(old.length, seed));
  return once(`${JSON.stringify(g)} reals ${type}`, () => ({
    small: real(small, 1),
    large: real(large, 2),
    weight: real(weight, 3),
    bias: null,
  }));
}

/** The same tensors for every kernel, so that the oracle computes once what all of them are compared with. */
function once(key: string, make: () => Tensors): Tensors {
  const tensors = made.get(key) ?? make();
  made.set(key, tensors);
  return tensors;
}

/** What is asked of a kernel in a run. */
function problemOf({ kernel, geometry, tensors, activation = 'none' }: Run): Problem {
  const { form, dtype, layout } = parseKernelName(kernel);
  const bias = tensors.bias !== null && (form === 'expand' || form === 'contract');
  return { op: 'convT2d', pass: PASSES[form], dtype, layout, geometry, bias, activation };
}

function isLegal(run: Run): boolean {
  const spec = parseKernelName(run.kernel);
  const place = { target: spec.target, library: NO_LIBRARY };
  return variantOf(spec).legal(problemOf(run), spec.form, spec.tunables, place) === null;
}

/** Those of the named geometries that a kernel computes. */
function legalOf(kernel: string, names: readonly string[]): Geometry[] {
  const geometries = names.map((name) => GEOMETRIES[name]!);
  return geometries.filter((geometry) => isLegal({ kernel, geometry, tensors: NOTHING }));
}

function launch(run: Run): Float64Array {
  const { kernel, geometry: g, tensors, activation = 'none' } = run;
  const [form, type, layout] = [formOf(kernel), typeOf(kernel), layoutOf(kernel)];
  const [small, large] = [
    placed(tensors.small, g.cs, g.hs * g.ws, layout),
    placed(tensors.large, g.cl, g.hl * g.wl, layout),
  ];
  const bias = tensors.bias?.slice(0, form === 'expand' ? g.cl : g.cs) ?? null;
  const values: Record<string, Float64Array | null> = { small, large, weight: tensors.weight, bias, grad: large };
  if (form === 'bgrad') values.bias = new Float64Array(g.cl);
  const operands = OPERANDS[form];
  const memories = operands.map(({ name, role }) => {
    const data = values[name];
    if (data == null) return null;
    return role === 'out' ? new Memory(type, data.length) : Memory.of(type, data);
  });
  const out = memories.at(-1)!;
  const packing = packingOf(parseKernelName(kernel), problemOf(run));
  if (packing !== null) memories.push(new Memory('i32', packing.bytes / 4));
  start(kernel, memories, { ...scalarsOf(g, activation), packed_bytes: packing?.bytes ?? 0, stamp: nextStamp() });
  const result = out.read();
  for (const memory of memories) memory?.free();
  const [channels, area] = form === 'expand' ? [g.cl, g.hl * g.wl] : [g.cs, g.hs * g.ws];
  return form === 'wgrad' || form === 'bgrad' ? result : unplaced(result, channels, area, layout);
}

function start(kernel: string, memories: readonly (Memory | null)[], scalars: Readonly<Record<string, number>>): void {
  const addon = native();
  const args = specArguments(parseKernelName(kernel));
  const handle = addon.load(0, kernel, args.map((arg) => arg.kind).join(''), null);
  memories.forEach((memory, i) => {
    addon.args.set([memory?.handle ?? 0, 0, memory?.bytes ?? 0], 3 * i);
  });
  args.slice(memories.length).forEach((arg, i) => {
    addon.args[3 * memories.length + i] = scalars[arg.name]!;
  });
  addon.launch(0, handle);
}

function scalarsOf(g: Geometry, activation: (typeof ACTIVATIONS)[number]): Record<string, number> {
  const [[sh, sw], [ph, pw], [dh, dw]] = [g.stride, g.padding, g.dilation];
  const { n, cs, hs, ws, cl, hl, wl, r, s, groups } = g;
  const epilogue = { activation: ACTIVATIONS.indexOf(activation), slope: SLOPE };
  return { n, cs, hs, ws, cl, hl, wl, r, s, sh, sw, ph, pw, dh, dw, groups, ...epilogue, c: cl, hw: hl * wl };
}

/** What the definition gives, rounded to the kernel's element type unless said otherwise. */
function wanted({ kernel, geometry: g, tensors, activation = 'none' }: Run, how = 'rounded'): Float64Array {
  const form = formOf(kernel);
  const sums = sumsOf(form, g, tensors);
  const result = form === 'expand' || form === 'contract' ? sums.map((x) => ACTIVATE[activation](x)) : sums;
  return how === 'rounded' ? rounded(typeOf(kernel), result) : result;
}

const known = new WeakMap<Tensors, Partial<Record<Contraction, Float64Array>>>();

/** The oracle's answer, kept with the tensors: many kernels are compared with it. */
function sumsOf(form: Contraction, g: Geometry, tensors: Tensors): Float64Array {
  const { small, large, weight } = tensors;
  const bias = tensors.bias ?? undefined;
  const answers = known.get(tensors) ?? {};
  known.set(tensors, answers);
  answers[form] ??= {
    expand: () => expand(g, small, weight, bias),
    contract: () => contract(g, large, weight, bias),
    wgrad: () => wgrad(g, small, large),
    bgrad: () => bgrad(g.n, g.cl, g.hl * g.wl, large),
  }[form]();
  return answers[form];
}

/** [n, c, area] in the layout of a kernel, and back. */
function placed(x: Float64Array, c: number, area: number, layout: Layout): Float64Array {
  return layout === 'nchw' ? x : transposed(x, c, area);
}

function unplaced(x: Float64Array, c: number, area: number, layout: Layout): Float64Array {
  return layout === 'nchw' ? x : transposed(x, area, c);
}

/** [n, rows, columns] → [n, columns, rows]. */
function transposed(x: Float64Array, rows: number, columns: number): Float64Array {
  const image = rows * columns;
  return x.map((_, i) => {
    const inside = i % image;
    return x[i - inside + (inside % rows) * columns + Math.floor(inside / rows)]!;
  });
}

function sameBits(a: Float64Array, b: Float64Array): boolean {
  return Buffer.from(a.buffer).equals(Buffer.from(b.buffer));
}

/** As `deep.equal`, which takes far longer than the kernels where nothing differs. */
function expectSame(got: Float64Array, want: Float64Array, where: string): void {
  const same = got.length === want.length && got.every((value, i) => Object.is(value, want[i]));
  if (!same) expect(Array.from(got), where).to.deep.equal(Array.from(want));
}

function expectClose(got: Float64Array, want: Float64Array, tolerance: number): void {
  expect(got.length).to.equal(want.length);
  got.forEach((value, i) => {
    if (!(Math.abs(value - want[i]!) <= tolerance)) expect.fail(`element ${i}: ${value}, expected ${want[i]}`);
  });
}
