/**
 * A problem as people write it, in a layer's own terms:
 *
 *     convT2d n=16 c=256 k=128 h=8 w=8 r=4 stride=2 padding=1 [s= outputPadding= dilation= groups= dtype= layout= pass= bias= activation=]
 *
 * or the same fields as a JSON object with an `op`. Pairs are written `3x5` (JSON: [3, 5]), height first; `r` alone is a
 * square kernel, `r=3x5` or `r=3 s=5` is not.
 */

import { FracstrideError, show } from './errors.js';
import {
  ACTIVATIONS,
  type Activation,
  convolvedOutputSize,
  LAYOUTS,
  type Layout,
  makeProblem,
  OPS,
  type Op,
  PASSES,
  type Pair,
  type Pass,
  type Problem,
  transposedOutputSize,
} from './problem.js';
import { DTYPES, type Dtype } from './target.js';

/** A layer as its user describes it: input sizes, output channels, kernel and how it moves. */
export interface Layer {
  readonly op: Op;
  readonly n: number;
  readonly c: number;
  readonly k: number;
  readonly h: number;
  readonly w: number;
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly padding: Pair;
  readonly outputPadding: Pair;
  readonly dilation: Pair;
  readonly groups: number;
}

/** How a layer is asked for: which pass, in which type and layout, with what after it. */
export interface Request {
  readonly pass: Pass;
  readonly dtype: Dtype;
  readonly layout: Layout;
  readonly bias: boolean;
  readonly activation: Activation;
}

const WHERE = 'problem';
/** A tensor of more elements than this cannot be addressed; numbers beyond it are slips of the keyboard. */
const LARGEST = 2 ** 31 - 1;

/**
 * Reads a problem from text or JSON.
 *
 * @throws FracstrideError ERR_ARGUMENT naming the field, ERR_SHAPE when no output is left
 */
export function parseProblem(text: string): Problem {
  const fields = text.trimStart().startsWith('{') ? jsonFields(text) : textFields(text);
  const known: readonly string[] = [
    ...COUNTS,
    ...PAIRS,
    'r',
    's',
    'kernel',
    'groups',
    ...Object.keys(WORDS),
    'bias',
    'op',
  ];
  for (const name of fields.keys()) {
    if (!known.includes(name)) refuse('the field', `one of ${known.join(', ')}`, name);
  }
  return problemOf(layerOf(fields), requestOf(fields));
}

/** The problem of one pass of a layer. @throws FracstrideError ERR_SHAPE when no output is left */
export function problemOf(layer: Layer, request: Request): Problem {
  const [p, q] = [outputSize(layer, 0), outputSize(layer, 1)];
  if (p < 1 || q < 1) {
    throw new FracstrideError('ERR_SHAPE', `${WHERE}: the output size must be at least 1 x 1, got ${p} x ${q}`);
  }
  const input = { channels: layer.c, height: layer.h, width: layer.w };
  const output = { channels: layer.k, height: p, width: q };
  const [small, large] = layer.op === 'convT2d' ? [input, output] : [output, input];
  return makeProblem({
    op: layer.op,
    ...request,
    geometry: {
      n: layer.n,
      cs: small.channels,
      hs: small.height,
      ws: small.width,
      cl: large.channels,
      hl: large.height,
      wl: large.width,
      r: layer.kernel[0],
      s: layer.kernel[1],
      stride: layer.stride,
      padding: layer.padding,
      dilation: layer.dilation,
      groups: layer.groups,
    },
  });
}

function outputSize(layer: Layer, axis: 0 | 1): number {
  const size = axis === 0 ? layer.h : layer.w;
  const [kernel, stride, dilation] = [layer.kernel[axis], layer.stride[axis], layer.dilation[axis]];
  if (layer.op === 'conv2d')
    return convolvedOutputSize({ size, kernel, stride, padding: 2 * layer.padding[axis], dilation });
  const [padding, outputPadding] = [layer.padding[axis], layer.outputPadding[axis]];
  return transposedOutputSize({ size, kernel, stride, padding, outputPadding, dilation });
}

/** The text that `parseProblem` reads back to an equal problem; defaults are left out. */
export function formatProblem(problem: Problem): string {
  const g = problem.geometry;
  const transposed = problem.op === 'convT2d';
  const [c, h, w, k] = transposed ? [g.cs, g.hs, g.ws, g.cl] : [g.cl, g.hl, g.wl, g.cs];
  const parts = [problem.op, `n=${g.n}`, `c=${c}`, `k=${k}`, `h=${h}`, `w=${w}`, `r=${pairText([g.r, g.s])}`];
  const optional: [string, string, string][] = [
    ['stride', pairText(g.stride), '1'],
    ['padding', pairText(g.padding), '0'],
    ['outputPadding', transposed ? pairText(outputPaddingOf(g)) : '0', '0'],
    ['dilation', pairText(g.dilation), '1'],
    ['groups', String(g.groups), '1'],
    ['dtype', problem.dtype, 'float32'],
    ['layout', problem.layout, 'nchw'],
    ['pass', problem.pass, 'fwd'],
    ['bias', String(problem.bias), 'false'],
    ['activation', problem.activation, 'none'],
  ];
  for (const [name, value, fallback] of optional) if (value !== fallback) parts.push(`${name}=${value}`);
  return parts.join(' ');
}

function outputPaddingOf(g: Problem['geometry']): Pair {
  const least = (size: number, kernel: number, axis: 0 | 1) =>
    transposedOutputSize({
      size,
      kernel,
      stride: g.stride[axis],
      padding: g.padding[axis],
      outputPadding: 0,
      dilation: g.dilation[axis],
    });
  return [g.hl - least(g.hs, g.r, 0), g.wl - least(g.ws, g.s, 1)];
}

function pairText(pair: Pair): string {
  return pair[0] === pair[1] ? String(pair[0]) : `${pair[0]}x${pair[1]}`;
}

type Fields = ReadonlyMap<string, unknown>;

const COUNTS = ['n', 'c', 'k', 'h', 'w'] as const;
const PAIRS = ['stride', 'padding', 'outputPadding', 'dilation'] as const;
const WORDS = { dtype: DTYPES, layout: LAYOUTS, pass: PASSES, activation: ACTIVATIONS } as const;

function textFields(text: string): Fields {
  const [op = '', ...rest] = text.trim().split(/\s+/);
  const fields = new Map<string, unknown>([['op', op]]);
  for (const word of rest) {
    const match = /^([A-Za-z]+)=(.*)$/.exec(word);
    if (match === null) refuse('each word after the operation', 'name=value', word);
    const [, name = '', value = ''] = match ?? [];
    if (fields.has(name)) refuse('each field', 'given once', name);
    fields.set(name, value);
  }
  return fields;
}

function jsonFields(text: string): Fields {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    refuse('JSON', 'one object', text);
  }
  return new Map(Object.entries(parsed as Record<string, unknown>));
}

function layerOf(fields: Fields): Layer {
  const op = wordOf('op', fields.get('op'), OPS);
  const count = (name: string, low: number): number => whole(name, fields.get(name), low);
  const pair = (name: string, low: number, fallback: number): Pair => pairOf(name, fields.get(name) ?? fallback, low);
  const first = fields.get('kernel') ?? fields.get('r');
  if (first === undefined) refuse('r', 'given', undefined);
  const kernel = pairOf('r', first, 1);
  return {
    op,
    n: count('n', 0),
    c: count('c', 1),
    k: count('k', 1),
    h: count('h', 1),
    w: count('w', 1),
    kernel: fields.has('s') ? [kernel[0], count('s', 1)] : kernel,
    stride: pair('stride', 1, 1),
    padding: pair('padding', 0, 0),
    outputPadding: pair('outputPadding', 0, 0),
    dilation: pair('dilation', 1, 1),
    groups: whole('groups', fields.get('groups') ?? 1, 1),
  };
}

function requestOf(fields: Fields): Request {
  const bias = fields.get('bias') ?? false;
  if (![true, false, 'true', 'false'].includes(bias as string)) refuse('bias', 'true or false', bias);
  return {
    pass: wordOf('pass', fields.get('pass') ?? 'fwd', PASSES),
    dtype: wordOf('dtype', fields.get('dtype') ?? 'float32', DTYPES),
    layout: wordOf('layout', fields.get('layout') ?? 'nchw', LAYOUTS),
    bias: bias === true || bias === 'true',
    activation: wordOf('activation', fields.get('activation') ?? 'none', ACTIVATIONS),
  };
}

function wordOf<W extends string>(name: string, value: unknown, words: readonly W[]): W {
  const found = words.find((word) => word === value);
  if (found === undefined) refuse(name, `one of ${words.join(', ')}`, value);
  return found as W;
}

function pairOf(name: string, value: unknown, low: number): Pair {
  const parts = typeof value === 'string' ? value.split('x') : Array.isArray(value) ? value : [value];
  if (parts.length < 1 || parts.length > 2) refuse(name, 'one integer or two', value);
  const numbers = parts.map((part) => whole(name, part, low));
  return [numbers[0]!, numbers.at(-1)!];
}

function whole(name: string, value: unknown, low: number): number {
  const number = typeof value === 'string' && /^\d{1,10}$/.test(value) ? Number(value) : value;
  const fits = typeof number === 'number' && Number.isInteger(number) && number >= low && number <= LARGEST;
  if (!fits) refuse(name, `an integer from ${low} to ${LARGEST}`, value);
  return number as number;
}

function refuse(what: string, rule: string, got: unknown): never {
  throw new FracstrideError('ERR_ARGUMENT', `${WHERE}: ${what} must be ${rule}, got ${show(got)}`);
}
