/**
 * Problem: what is asked of a convolution, with no word about how.
 *
 * ConvTranspose2d and Conv2d are one bilinear form over three tensors,
 *
 *   B(S, L, W) = Σ S[n, c, i, j] · L[n, k, i·sh − ph + a·dh, j·sw − pw + b·dw] · W[c, k mod (Cl/G), a, b]
 *
 * with the *small* side S[N, Cs, Hs, Ws] (the input of a transposed convolution, the output of a convolution), the
 * *large* side L[N, Cl, Hl, Wl] and the weight W[Cs, Cl/G, R, S], summed over channel pairs of one group and over
 * positions of L that exist. Fixing two of the three and differentiating by the third gives the contractions
 *
 *   expand    W, S → L     convT2d fwd     conv2d dgrad
 *   contract  W, L → S     convT2d dgrad   conv2d fwd
 *   wgrad     S, L → W     both
 *
 * Sizes of both sides are explicit, so output_padding, one-sided ('same') padding and cropped rows need no further term.
 */

import { FracstrideError, show } from './errors.js';
import { DTYPES, type Dtype } from './target.js';

export const OPS = ['convT2d', 'conv2d'] as const;
export type Op = (typeof OPS)[number];

export const PASSES = ['fwd', 'dgrad', 'wgrad', 'bgrad'] as const;
export type Pass = (typeof PASSES)[number];

export const LAYOUTS = ['nchw', 'nhwc'] as const;
export type Layout = (typeof LAYOUTS)[number];

export const ACTIVATIONS = ['none', 'relu', 'leaky_relu', 'tanh', 'sigmoid'] as const;
export type Activation = (typeof ACTIVATIONS)[number];

export type Pair = readonly [height: number, width: number];

/** The sizes and strides of the bilinear form, in its own terms. */
export interface Geometry {
  /** Batch. */
  readonly n: number;
  /** Channels, height and width of the small side. */
  readonly cs: number;
  readonly hs: number;
  readonly ws: number;
  /** Channels, height and width of the large side. */
  readonly cl: number;
  readonly hl: number;
  readonly wl: number;
  /** Kernel height and width. */
  readonly r: number;
  readonly s: number;
  readonly stride: Pair;
  /** Padding before the first row and column; what follows the last is implied by the sizes. */
  readonly padding: Pair;
  readonly dilation: Pair;
  readonly groups: number;
}

/** What is asked: frozen, validated, comparable by `problemKey`. */
export interface Problem {
  readonly op: Op;
  readonly pass: Pass;
  readonly dtype: Dtype;
  readonly layout: Layout;
  readonly geometry: Geometry;
  /** Only in `fwd`: a bias of one value an output channel, and what is applied to the sum. */
  readonly bias: boolean;
  readonly activation: Activation;
}

/** Output size of one axis of a transposed convolution (PyTorch, nn.ConvTranspose2d). May be ≤ 0: the caller refuses it. */
export function transposedOutputSize(a: {
  size: number;
  kernel: number;
  stride: number;
  padding: number;
  outputPadding: number;
  dilation: number;
}): number {
  return (a.size - 1) * a.stride - 2 * a.padding + a.dilation * (a.kernel - 1) + a.outputPadding + 1;
}

/** Output size of one axis of a convolution; `padding` is the sum of both sides. May be ≤ 0: the caller refuses it. */
export function convolvedOutputSize(a: {
  size: number;
  kernel: number;
  stride: number;
  padding: number;
  dilation: number;
}): number {
  return Math.floor((a.size + a.padding - a.dilation * (a.kernel - 1) - 1) / a.stride) + 1;
}

/** The contraction of the bilinear form that a pass of an operation is. */
export type Contraction = 'expand' | 'contract' | 'wgrad' | 'bgrad';

export function contraction(op: Op, pass: Pass): Contraction {
  if (pass === 'wgrad' || pass === 'bgrad') return pass;
  return (op === 'convT2d') === (pass === 'fwd') ? 'expand' : 'contract';
}

/** A string that is equal exactly when two problems are. */
export function problemKey(p: Problem): string {
  const g = p.geometry;
  return (
    `${p.op} ${p.pass} ${p.dtype} ${p.layout} ${p.bias ? 'b' : '-'} ${p.activation} ` +
    `${g.n},${g.cs},${g.hs},${g.ws},${g.cl},${g.hl},${g.wl},${g.r},${g.s},` +
    `${g.stride[0]},${g.stride[1]},${g.padding[0]},${g.padding[1]},${g.dilation[0]},${g.dilation[1]},${g.groups}`
  );
}

/** A map by value of problems. Looking one up makes nothing, so it is cheap enough for every call of a convolution. */
export class ProblemMap<V> {
  readonly #rows = new Map<number, { readonly problem: Problem; readonly value: V }[]>();

  get(problem: Problem): V | undefined {
    const rows = this.#rows.get(hash(problem.geometry));
    if (rows === undefined) return undefined;
    for (const row of rows) if (sameProblem(row.problem, problem)) return row.value;
    return undefined;
  }

  /** Adds a problem that is not in the map. */
  add(problem: Problem, value: V): void {
    const key = hash(problem.geometry);
    const rows = this.#rows.get(key);
    if (rows === undefined) this.#rows.set(key, [{ problem, value }]);
    else rows.push({ problem, value });
  }
}

function hash(g: Geometry): number {
  let h = mix(mix(mix(g.n, g.cs), g.hs), g.ws);
  h = mix(mix(mix(h, g.cl), g.hl), g.wl);
  return mix(mix(mix(h, g.r), g.s), g.stride[0]);
}

function mix(h: number, value: number): number {
  return Math.imul(h, 0x01000193) ^ value;
}

function sameProblem(a: Problem, b: Problem): boolean {
  return (
    a.op === b.op &&
    a.pass === b.pass &&
    a.dtype === b.dtype &&
    a.layout === b.layout &&
    a.bias === b.bias &&
    a.activation === b.activation &&
    sameGeometry(a.geometry, b.geometry)
  );
}

function sameGeometry(a: Geometry, b: Geometry): boolean {
  return (
    a.n === b.n &&
    a.cs === b.cs &&
    a.hs === b.hs &&
    a.ws === b.ws &&
    a.cl === b.cl &&
    a.hl === b.hl &&
    a.wl === b.wl &&
    a.r === b.r &&
    a.s === b.s &&
    a.groups === b.groups &&
    samePair(a.stride, b.stride) &&
    samePair(a.padding, b.padding) &&
    samePair(a.dilation, b.dilation)
  );
}

function samePair(a: Pair, b: Pair): boolean {
  return a[0] === b[0] && a[1] === b[1];
}

const COUNTS = ['n', 'cs', 'hs', 'ws', 'cl', 'hl', 'wl'] as const;
const POSITIVE = ['r', 's', 'groups'] as const;

/**
 * Checks and freezes a problem: every number a safe integer in the range of its role, channels divisible by groups,
 * words from their lists. Nothing else may enter a kernel's text.
 *
 * @throws FracstrideError ERR_ARGUMENT
 */
export function makeProblem(p: Problem): Problem {
  const g = p.geometry;
  for (const name of COUNTS) need(isInteger(g[name], 0), name, 'a non-negative integer', g[name]);
  for (const name of POSITIVE) need(isInteger(g[name], 1), name, 'a positive integer', g[name]);
  for (const [name, low] of [
    ['stride', 1],
    ['padding', 0],
    ['dilation', 1],
  ] as const) {
    const pair = g[name];
    const ok = Array.isArray(pair) && pair.length === 2 && pair.every((v) => isInteger(v, low));
    need(ok, name, `two integers ≥ ${low}`, pair);
  }
  need(g.cs % g.groups === 0 && g.cl % g.groups === 0, 'channels', `divisible by ${g.groups} groups`, [g.cs, g.cl]);
  need(OPS.includes(p.op), 'op', `one of ${OPS.join(', ')}`, p.op);
  need(PASSES.includes(p.pass), 'pass', `one of ${PASSES.join(', ')}`, p.pass);
  need(DTYPES.includes(p.dtype), 'dtype', `one of ${DTYPES.join(', ')}`, p.dtype);
  need(LAYOUTS.includes(p.layout), 'layout', `one of ${LAYOUTS.join(', ')}`, p.layout);
  need(ACTIVATIONS.includes(p.activation), 'activation', `one of ${ACTIVATIONS.join(', ')}`, p.activation);
  const plain = !p.bias && p.activation === 'none';
  need(p.pass === 'fwd' || plain, 'pass', 'fwd where a bias or an activation is asked for', p.pass);
  const geometry = Object.freeze({
    n: g.n,
    cs: g.cs,
    hs: g.hs,
    ws: g.ws,
    cl: g.cl,
    hl: g.hl,
    wl: g.wl,
    r: g.r,
    s: g.s,
    groups: g.groups,
    stride: Object.freeze([g.stride[0], g.stride[1]] as const),
    padding: Object.freeze([g.padding[0], g.padding[1]] as const),
    dilation: Object.freeze([g.dilation[0], g.dilation[1]] as const),
  });
  return Object.freeze({
    op: p.op,
    pass: p.pass,
    dtype: p.dtype,
    layout: p.layout,
    geometry,
    bias: Boolean(p.bias),
    activation: p.activation,
  });
}

function isInteger(value: unknown, low: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= low && (value as number) <= 0x7fffffff;
}

function need(ok: boolean, what: string, rule: string, got: unknown): void {
  if (!ok) throw new FracstrideError('ERR_ARGUMENT', `problem: ${what} must be ${rule}, got ${show(got)}`);
}
