/**
 * Small problems for every kernel of the catalogue, and what the oracle says of them. Operands are multiples of 1/8 up to
 * ±1/2, so that every sum is exact in every accumulator and results must agree to the last bit, in any order of summation.
 */

import { scalarArguments } from '../../codegen/passes.js';
import {
  ACTIVATIONS,
  type Activation,
  type Contraction,
  contraction,
  type Geometry,
  makeProblem,
  type Problem,
} from '../../codegen/problem.js';
import { parseProblem } from '../../codegen/problem_text.js';
import {
  candidates,
  type LaunchGeometry,
  launchGeometry,
  packingOf,
  partingOf,
  type Spec,
} from '../../codegen/spec.js';
import { DTYPE_TABLE, DTYPES, type Dtype, type Target } from '../../codegen/target.js';
import { sidesOf } from '../../codegen/tiles.js';
import { bgrad, contract, expand, wgrad } from '../../src/verify/oracle.js';
import { encode, rounded } from '../support/kernels.js';
import { type Job, ORDERS } from './host_program.js';

const layer = (text: string) => parseProblem(`convT2d ${text}`).geometry;

/** By what is particular about each. */
export const GEOMETRIES: Readonly<Record<string, Geometry>> = {
  'k4 s2 p1': layer('n=2 c=5 k=7 h=3 w=5 r=4 stride=2 padding=1'),
  'k3 s2 p1 with output padding': layer('n=1 c=4 k=9 h=4 w=3 r=3 stride=2 padding=1 outputPadding=1'),
  'k3 s2 p1': layer('n=2 c=3 k=4 h=3 w=6 r=3 stride=2 padding=1'),
  'k5 s2 p2': layer('n=1 c=6 k=3 h=5 w=4 r=5 stride=2 padding=2 outputPadding=1'),
  'k2 s2': layer('n=2 c=4 k=6 h=4 w=5 r=2 stride=2'),
  'k3 s1 p1': layer('n=1 c=3 k=33 h=5 w=7 r=3 padding=1'),
  'k9 s3': layer('n=1 c=2 k=3 h=3 w=4 r=9 stride=3 padding=3'),
  'k16 s8 p4': layer('n=1 c=2 k=3 h=2 w=3 r=16 stride=8 padding=4'),
  'k4 of one pixel': layer('n=3 c=6 k=10 h=1 w=1 r=4'),
  depthwise: layer('n=2 c=6 k=6 h=4 w=5 r=4 stride=2 padding=1 groups=6'),
  'depthwise of many channels, k3': layer('n=1 c=72 k=72 h=5 w=8 r=3 padding=1 groups=72'),
  'groups of several channels': layer('n=1 c=6 k=10 h=4 w=4 r=3 stride=2 padding=1 outputPadding=1 groups=2'),
  'dilation 2': layer('n=1 c=3 k=4 h=6 w=6 r=3 padding=2 dilation=2'),
  'phases without taps': layer('n=1 c=3 k=5 h=4 w=4 r=3 stride=2 padding=1 dilation=2 outputPadding=1'),
  'dilation and stride without a common factor': layer('n=2 c=2 k=3 h=4 w=5 r=3 stride=3 padding=2 dilation=2'),
  'everything in pairs': layer('n=1 c=4 k=5 h=5 w=6 r=3x5 stride=2x1 padding=4x2 dilation=3x1'),
  'an empty batch': layer('n=0 c=3 k=4 h=3 w=3 r=4 stride=2 padding=1'),
  'stride above kernel': layer('n=1 c=3 k=2 h=3 w=4 r=1 stride=3 outputPadding=2'),
  'k1 s1': layer('n=2 c=9 k=5 h=3 w=3 r=1'),
  'k7 s2 p3': layer('n=1 c=2 k=3 h=4 w=5 r=7 stride=2 padding=3'),
  'k9 s1 p4': layer('n=1 c=2 k=2 h=6 w=7 r=9 padding=4'),
  's5 k6': layer('n=1 c=3 k=2 h=2 w=3 r=6 stride=5 padding=1 outputPadding=4'),
  'a large side that is cropped': { ...layer('n=1 c=3 k=4 h=5 w=5 r=4 stride=2 padding=1'), hl: 7, wl: 6 },
  'a large side that is longer than its taps': { ...layer('n=1 c=3 k=4 h=3 w=3 r=3 stride=2'), hl: 11, wl: 10 },
  'channels of several tiles': layer('n=1 c=40 k=70 h=2 w=3 r=3 padding=1'),
  'positions of several tiles': layer('n=2 c=12 k=3 h=12 w=33 r=4 stride=2 padding=1'),
};

/** For bias gradients alone, whose blocks share the sums of few channels. */
export const PLANES: Readonly<Record<string, Geometry>> = {
  'few channels of many positions': layer('n=3 c=1 k=3 h=61 w=67 r=2 stride=2'),
  'few channels of many aligned positions': layer('n=2 c=1 k=8 h=64 w=64 r=1'),
  'many channels of few positions': layer('n=1 c=1 k=300 h=3 w=5 r=1'),
};

export const SLOPE = 0.25;

/** One kernel against one problem: the launches of both orders and what they must give. */
export interface KernelCase {
  readonly title: string;
  readonly problem: Problem;
  readonly spec: Spec;
  readonly jobs: readonly Job[];
  /** Parts in which float32 sums come; 0 where the output comes itself. */
  readonly parts: number;
  /** What becomes of the sum of all parts of an element. */
  readonly finish: (sum: number, at: number) => number;
  /** The output's elements, exact but for tanh and sigmoid. */
  readonly expected: Float64Array;
}

/** What fills the operands: exact numbers, or with infinities and NaN among them. */
export type Filling = 'exact' | 'special';

export function makeCase(a: {
  title: string;
  problem: Problem;
  spec: Spec;
  filling: Filling;
  seed: number;
}): KernelCase {
  const { problem, spec } = a;
  const tensors = operandsOf(problem, a.filling, a.seed);
  const expected = expectedOf(problem, spec.form, tensors);
  const output = OUTPUTS[spec.form];
  const { short, bytes } = DTYPE_TABLE[problem.dtype];
  const stored = Object.entries(tensors).map(([name, values]) => {
    const laid = name === 'weight' || name === 'bias' ? values : laidOut(problem, name, values);
    return [name, new Uint8Array(encode(short, laid).buffer)] as const;
  });
  const missing = problem.pass === 'fwd' && !problem.bias ? { bias: null } : {};
  const packed = packedWeight(problem, spec, tensors);
  // Sums in parts go there instead of to the output, and are added up when they are looked at.
  const parts = partingOf(spec, problem)?.parts ?? 0;
  const results =
    parts > 0
      ? { parts: parts * expected.length * 4, [output]: null }
      : { parts: null, [output]: expected.length * bytes };
  const operands = { ...Object.fromEntries(stored), ...missing, ...packed, ...results };
  const sizes = scalarArguments(problem, SLOPE, ACTIVATIONS.indexOf(problem.activation));
  const scalars = { ...sizes, packed_bytes: packed.packed?.length ?? 0, stamp: 1 };
  const launch = fewerBlocks(spec, launchGeometry(spec, problem), a.seed);
  const jobs = ORDERS.map((order) => ({ spec, launch, order, operands, scalars }));
  const laid = output === 'weight' || output === 'bias' ? expected : laidOut(problem, output, expected);
  const finish = finishOf(problem, spec.form, tensors.bias);
  return { title: a.title, problem, spec, jobs, parts, finish, expected: rounded(short, laid) };
}

/** A bias and an activation, by the place of an element in memory. */
function finishOf({ geometry, layout, activation }: Problem, form: Contraction, bias?: Float64Array) {
  if (form === 'wgrad') return (sum: number): number => sum;
  const { channels, height, width } = sidesOf(form, geometry).output;
  const plane = layout === 'nchw' ? height * width : 1;
  return (sum: number, at: number): number =>
    ACTIVATE[activation](sum + (bias?.[Math.floor(at / plane) % channels] ?? 0));
}

/** The weight as the launcher would pack it, NaN where nothing belongs. */
function packedWeight(problem: Problem, spec: Spec, { weight }: Tensors): { packed?: Uint8Array } {
  const packing = packingOf(spec, problem);
  if (packing?.copy === undefined) return {};
  const { short, bytes } = DTYPE_TABLE[problem.dtype];
  const packed = new Float64Array(packing.bytes / bytes).fill(packing.zeros ? 0 : Number.NaN);
  const walk = (d: number, to: number, from: number): void => {
    const dim = packing.copy![d];
    if (dim === undefined) packed[to] = weight![from]!;
    else for (let i = 0; i < dim.size; i++) walk(d + 1, to + i * dim.strides[0]!, from + i * dim.strides[1]!);
  };
  walk(0, 0, 0);
  return { packed: new Uint8Array(encode(short, packed).buffer) };
}

/** Kernels for any size stride over what a grid cannot hold: every other one gets a grid of three blocks. */
function fewerBlocks(spec: Spec, launch: LaunchGeometry, seed: number): LaunchGeometry {
  if (spec.baked !== null || seed % 2 === 0) return launch;
  return { ...launch, grid: [Math.min(3, launch.grid[0]), 1, 1] };
}

const OUTPUTS: Readonly<Record<Contraction, string>> = {
  expand: 'large',
  contract: 'small',
  wgrad: 'weight',
  bgrad: 'bias',
};

type Tensors = Readonly<Record<string, Float64Array>>;

function operandsOf(problem: Problem, filling: Filling, seed: number): Tensors {
  const g = problem.geometry;
  const draw = numbers(seed, filling);
  const small = () => draw(g.n * g.cs * g.hs * g.ws);
  const large = () => draw(g.n * g.cl * g.hl * g.wl);
  const weight = () => draw((g.cs * g.cl * g.r * g.s) / g.groups);
  const form = contraction(problem.op, problem.pass);
  const bias = problem.bias ? { bias: draw(form === 'expand' ? g.cl : g.cs) } : {};
  if (form === 'expand') return { small: small(), weight: weight(), ...bias };
  if (form === 'contract') return { large: large(), weight: weight(), ...bias };
  return form === 'wgrad' ? { small: small(), large: large() } : { grad: problem.op === 'convT2d' ? large() : small() };
}

/** Multiples of 1/8; with `special`, about one in twenty is an infinity or NaN. */
function numbers(seed: number, filling: Filling): (count: number) => Float64Array {
  let state = seed * 2654435761 + 12345;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 8;
  };
  const special = () => [Infinity, -Infinity, NaN, 0][next() % 4]!;
  const one = () => (filling === 'special' && next() % 20 === 0 ? special() : ((next() % 9) - 4) / 8);
  return (count) => Float64Array.from({ length: count }, one);
}

function expectedOf(problem: Problem, form: Contraction, t: Tensors): Float64Array {
  const g = problem.geometry;
  const finish = (sums: Float64Array) => sums.map((x) => ACTIVATE[problem.activation](x));
  if (form === 'expand') return finish(expand(g, t.small!, t.weight!, t.bias));
  if (form === 'contract') return finish(contract(g, t.large!, t.weight!, t.bias));
  if (form === 'wgrad') return wgrad(g, t.small!, t.large!);
  const [c, hw] = problem.op === 'convT2d' ? [g.cl, g.hl * g.wl] : [g.cs, g.hs * g.ws];
  return bgrad(g.n, c, hw, t.grad!);
}

const ACTIVATE: Readonly<Record<Activation, (x: number) => number>> = {
  none: (x) => x,
  relu: (x) => Math.max(x, 0),
  leaky_relu: (x) => (x < 0 ? SLOPE * x : x),
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};

/** NCHW values in the problem's layout. */
function laidOut(problem: Problem, operand: string, values: Float64Array): Float64Array {
  if (problem.layout === 'nchw') return values;
  const g = problem.geometry;
  const isLarge = operand === 'large' || (operand === 'grad' && problem.op === 'convT2d');
  const [c, hw] = isLarge ? [g.cl, g.hl * g.wl] : [g.cs, g.hs * g.ws];
  return values.map((_, at) => {
    const [channel, pixel] = [at % c, Math.floor(at / c)];
    return values[(Math.floor(pixel / hw) * c + channel) * hw + (pixel % hw)]!;
  });
}

const REQUESTS = {
  expand: 'convT2d fwd',
  contract: 'conv2d fwd',
  wgrad: 'convT2d wgrad',
  bgrad: 'convT2d bgrad',
} as const;

/** The problem of a contraction; every other one has a bias, activations take turns. */
export function problemFor(a: {
  form: Contraction;
  geometry: Geometry;
  dtype: Dtype;
  layout: Problem['layout'];
  turn: number;
}): Problem {
  const [op, pass] = REQUESTS[a.form].split(' ') as [Problem['op'], Problem['pass']];
  const forward = pass === 'fwd';
  const activation = forward ? ACTIVATIONS[a.turn % ACTIVATIONS.length]! : 'none';
  const { dtype, layout, geometry } = a;
  return makeProblem({ op, pass, dtype, layout, geometry, bias: forward && a.turn % 2 === 0, activation });
}

/** The legal specs of a problem that are of one variant. */
export function specsOf(problem: Problem, variant: string, target: Target = { kind: 'ptx' }): Spec[] {
  const legal = candidates(problem, target).flatMap(({ spec }) => (spec === null ? [] : [spec]));
  return legal.filter((spec) => spec.variant === variant);
}

export { DTYPES };
