/**
 * The argument list of every kernel that computes a contraction: written once, here. Templates print their parameters
 * from it, launchers pack from it, the addon unpacks by its kinds.
 */

import type { Contraction, Geometry, Problem } from './problem.js';
import { contraction } from './problem.js';
import { DTYPE_TABLE } from './target.js';

/**
 * `p` device pointer (0 allowed where optional), `i` int32, `l` int64, `f` float32, `d` float64; `P` and `L` tables by
 * value of pointers (0 allowed) and of int64, whose unused entries are zero.
 */
export type ArgKind = 'p' | 'i' | 'l' | 'f' | 'd' | 'P' | 'L';

export interface Arg {
  readonly name: string;
  readonly kind: ArgKind;
  /** Only for pointers. */
  readonly role?: 'in' | 'out';
  readonly optional?: boolean;
  /** Of a pointer whose elements are of the accumulator's type. */
  readonly accumulated?: true;
  /** Entries of a table, only for `P` and `L`. */
  readonly capacity?: number;
}

/** An argument in a kinds string: its kind, and behind that of a table its capacity (`P384`). */
export function kindText({ kind, capacity }: Arg): string {
  return `${kind}${capacity ?? ''}`;
}

const input = (name: string, optional = false): Arg => ({ name, kind: 'p', role: 'in', optional });
const output = (name: string): Arg => ({ name, kind: 'p', role: 'out' });
const ints = (...names: string[]): Arg[] => names.map((name) => ({ name, kind: 'i' }));

/** Tensors of each contraction, in launch order. Weight is always [Cs, Cl/G, R, S], whatever the layout. */
export const OPERANDS: Readonly<Record<Contraction, readonly Arg[]>> = {
  expand: [input('small'), input('weight'), input('bias', true), output('large')],
  contract: [input('large'), input('weight'), input('bias', true), output('small')],
  wgrad: [input('small'), input('large'), output('weight')],
  bgrad: [input('grad'), output('bias')],
};

/** Sizes that every kernel takes at run time. */
export const SIZE_ARGS: readonly Arg[] = ints('n', 'cs', 'hs', 'ws', 'cl', 'hl', 'wl');
/** Taken at run time by kernels for any argument, baked into the text of specialised ones. */
export const SHAPE_ARGS: readonly Arg[] = ints('r', 's', 'sh', 'sw', 'ph', 'pw', 'dh', 'dw', 'groups');
/** Index of the activation in ACTIVATIONS (run-time kernels only), and the slope of leaky_relu. */
export const EPILOGUE_ARGS: readonly Arg[] = [...ints('activation'), { name: 'slope', kind: 'd' }];
/**
 * Of kernels that keep a weight as they re-order it: how large the buffer `packed` is, and the name of its contents. A
 * kernel that finds another stamp in the buffer packs the weight, and writes the stamp.
 */
export const PACKING_ARGS: readonly Arg[] = ['packed_bytes', 'stamp'].map((name) => ({ name, kind: 'l' }));
/** What kernels whose sums are cut into parts leave them in, one part behind the other; null where there is one part. */
export const PARTS_ARG: Arg = { ...output('parts'), optional: true, accumulated: true };
/** Sizes of the gradient that bgrad sums: batch, channels, positions a channel. */
export const BGRAD_ARGS: readonly Arg[] = ints('n', 'c', 'hw');

/**
 * The full argument list. `general` kernels take the shape and the activation at run time, `packing` ones a buffer for
 * the re-ordered weight besides; specialised ones have them in their text and take operands, sizes and the slope,
 * `packed` ones the re-ordered weight besides, which was made before they are launched, `parted` ones a buffer for sums
 * of parts, `packed parted` ones both.
 */
export function argumentTable(
  form: Contraction,
  kind: 'general' | 'packing' | 'specialised' | 'packed' | 'parted' | 'packed parted',
): readonly Arg[] {
  if (form === 'bgrad') return [...OPERANDS.bgrad, ...BGRAD_ARGS];
  const baked = kind !== 'general' && kind !== 'packing';
  const epilogue = form === 'wgrad' ? [] : baked ? EPILOGUE_ARGS.slice(1) : EPILOGUE_ARGS;
  const scalars = [...SIZE_ARGS, ...(baked ? [] : SHAPE_ARGS), ...epilogue];
  const parts = kind.endsWith('parted') ? [PARTS_ARG] : [];
  if (kind !== 'packing' && !kind.startsWith('packed')) return [...OPERANDS[form], ...parts, ...scalars];
  const packed = kind === 'packing' ? output('packed') : input('packed');
  return [...OPERANDS[form], packed, ...parts, ...scalars, ...PACKING_ARGS];
}

/** The scalar arguments of a problem by name, for packing. `slope` is the negative slope of leaky_relu. */
export function scalarArguments(problem: Problem, slope: number, activationIndex: number): Record<string, number> {
  const g = problem.geometry;
  const side = gradSide(problem);
  return {
    n: g.n,
    cs: g.cs,
    hs: g.hs,
    ws: g.ws,
    cl: g.cl,
    hl: g.hl,
    wl: g.wl,
    r: g.r,
    s: g.s,
    sh: g.stride[0],
    sw: g.stride[1],
    ph: g.padding[0],
    pw: g.padding[1],
    dh: g.dilation[0],
    dw: g.dilation[1],
    groups: g.groups,
    activation: activationIndex,
    slope,
    c: side.c,
    hw: side.hw,
  };
}

/** The side whose gradient bgrad sums: its channels, and positions a channel. */
export function gradSide(problem: Problem): { c: number; hw: number } {
  const g = problem.geometry;
  return problem.op === 'convT2d' ? { c: g.cl, hw: g.hl * g.wl } : { c: g.cs, hw: g.hs * g.ws };
}

/** Elements of each operand of a contraction. */
export function operandElements(form: Contraction, g: Geometry): Record<string, number> {
  const small = g.n * g.cs * g.hs * g.ws;
  const large = g.n * g.cl * g.hl * g.wl;
  const weight = (g.cs * g.cl * g.r * g.s) / g.groups;
  const bias = form === 'expand' ? g.cl : g.cs;
  return { small, large, weight, bias };
}

/** Multiply-adds times two, taps that fall outside the large side included (the usual nominal count). */
export function flops(problem: Problem): number {
  const g = problem.geometry;
  if (problem.pass === 'bgrad') return operandElements('bgrad', g)[problem.op === 'convT2d' ? 'large' : 'small'] ?? 0;
  return 2 * g.n * g.hs * g.ws * g.cs * (g.cl / g.groups) * g.r * g.s;
}

/** The multiply-adds times two that a result depends on: taps whose element of the large side exists. */
export function usefulFlops(problem: Problem): number {
  if (problem.pass === 'bgrad') return flops(problem);
  const g = problem.geometry;
  return 2 * g.n * g.cs * (g.cl / g.groups) * existingTaps(g);
}

/** Products that an element of the result is the sum of, on average and at least one. */
export function meanDepth(form: Contraction, g: Geometry): number {
  const [inputs, results] = form === 'expand' ? [g.cs, g.hl * g.wl] : [g.cl, g.hs * g.ws];
  return Math.max(1, ((inputs / g.groups) * existingTaps(g)) / Math.max(1, results));
}

/**
 * Pairs of a position of the small side and a tap whose element of the large side exists, in one image. Rows and columns
 * are independent, so they are those of the rows times those of the columns.
 */
export function existingTaps(g: Geometry): number {
  return existingOnAxis(g, 0) * existingOnAxis(g, 1);
}

/** Pairs of a position i and a tap a with 0 ≤ i · stride − padding + a · dilation < large: of each tap a run of positions. */
function existingOnAxis(g: Geometry, axis: 0 | 1): number {
  const [small, large, taps] = axis === 0 ? [g.hs, g.hl, g.r] : [g.ws, g.wl, g.s];
  const stride = g.stride[axis];
  let pairs = 0;
  for (let a = 0; a < taps; a++) {
    const start = g.padding[axis] - a * g.dilation[axis];
    const [first, last] = [Math.ceil(start / stride), Math.floor((start + large - 1) / stride)];
    pairs += Math.max(0, Math.min(small - 1, last) - Math.max(0, first) + 1);
  }
  return pairs;
}

/** Bytes when each tensor is touched once: the floor of memory traffic. */
export function bytes(problem: Problem): number {
  const form = contraction(problem.op, problem.pass);
  const e = operandElements(form, problem.geometry);
  const size = DTYPE_TABLE[problem.dtype].bytes;
  if (form === 'bgrad') return size * (flops(problem) + gradSide(problem).c);
  return size * (e.small! + e.large! + e.weight! + (problem.bias ? e.bias! : 0));
}
