/**
 * What the phase kernels derive from a shape and a tile: how work is cut into blocks, and the sizes of the tables in
 * their text. Costs, contexts and launches read the same numbers from here.
 */

import { type Axis, axisPhases, positionsOf } from './phases.js';
import type { Contraction, Geometry, Pair, Problem } from './problem.js';
import { DTYPE_TABLE, type Dtype } from './target.js';

/** A phase kernel's tile: work of one thread, and threads of one block. */
export interface Tile {
  /** expand, contract: positions a thread; wgrad: channels of the small side a thread. */
  readonly first: number;
  /** Output channels a thread; wgrad: channels of the large side a thread. */
  readonly channels: number;
  /** Threads of a block along positions, and along channels. */
  readonly blockPositions: number;
  readonly blockChannels: number;
}

/** What is baked into a phase kernel, as far as its shape goes. */
export interface BakedShape {
  readonly r: number;
  readonly s: number;
  readonly stride: Pair;
  readonly padding: Pair;
  readonly dilation: Pair;
  readonly groups: number;
}

/** Equal for equal shapes. */
export function shapeKey({ r, s, stride, padding, dilation, groups }: BakedShape): string {
  return `${r} ${s} ${stride} ${padding} ${dilation} ${groups}`;
}

/** `{ tile: 't4x8', block: 'b32x4' }` → numbers. */
export function parseTile(tunables: Readonly<Record<string, number | string>>): Tile {
  const [first, channels] = pairOf(tunables.tile);
  const [blockPositions, blockChannels] = pairOf(tunables.block);
  return { first, channels, blockPositions, blockChannels };
}

function pairOf(text: number | string | undefined): [number, number] {
  const [first, second] = String(text).slice(1).split('x').map(Number);
  return [first!, second!];
}

/** Accumulators a thread may hold: more would leave too few registers for addresses and operands. */
const ACCUMULATORS = { float: 64, double: 32 } as const;

export function accumulatorLimit(dtype: Dtype): number {
  return ACCUMULATORS[DTYPE_TABLE[dtype].accumulator];
}

/** How an expand or contract kernel is laid out. */
export interface PhasePlan {
  readonly rows: Axis;
  readonly columns: Axis;
  /** Column phases that one thread computes together: their outputs are neighbours and share what is read. */
  readonly together: number;
  /** Row phases times groups of column phases: blocks of one tile of positions. */
  readonly blocks: number;
}

/** The phases of both axes. */
export function axesOf(form: 'expand' | 'contract', shape: BakedShape): { rows: Axis; columns: Axis } {
  const axis = (d: 0 | 1) =>
    axisPhases(form, {
      kernel: d === 0 ? shape.r : shape.s,
      stride: shape.stride[d],
      padding: shape.padding[d],
      dilation: shape.dilation[d],
    });
  return { rows: axis(0), columns: axis(1) };
}

export function phasePlan(form: 'expand' | 'contract', shape: BakedShape, tile: Tile, dtype: Dtype): PhasePlan {
  const { rows, columns } = axesOf(form, shape);
  const most = Math.max(1, Math.min(4, Math.floor(accumulatorLimit(dtype) / (tile.first * tile.channels))));
  const count = columns.phases.length;
  const together = [4, 3, 2, 1].find((width) => width <= most && count % width === 0)!;
  return { rows, columns, together, blocks: (rows.phases.length * count) / together };
}

/** Sides of expand and contract: what is read, what is written. */
export interface Sides {
  readonly source: { readonly channels: number; readonly height: number; readonly width: number };
  readonly output: { readonly channels: number; readonly height: number; readonly width: number };
}

export function sidesOf(form: Contraction, g: Geometry): Sides {
  const small = { channels: g.cs, height: g.hs, width: g.ws };
  const large = { channels: g.cl, height: g.hl, width: g.wl };
  return form === 'expand' ? { source: small, output: large } : { source: large, output: small };
}

/** Residues of an axis in one text at most where a problem is restated for them. */
const MOST_RESIDUES = 64;

/**
 * The same sums with a tap or none for every residue, where the small side has one row or column: tap k then reaches output
 * k·d − p and no other, whatever the stride. With a stride of all outputs each is a residue of its own, which nothing but
 * that tap reaches; with a smaller one each would read taps that lie outside the small side.
 */
export function oneTapEach(problem: Problem, form: Contraction): Problem {
  const { geometry: g } = problem;
  if (form !== 'expand' || (g.hs !== 1 && g.ws !== 1)) return problem;
  const along = (small: number, large: number, stride: number) =>
    small === 1 && large > stride && large <= MOST_RESIDUES ? large : stride;
  const stride = [along(g.hs, g.hl, g.stride[0]), along(g.ws, g.wl, g.stride[1])] as const;
  return { ...problem, geometry: { ...g, stride } };
}

/** Positions (n, q, q') of the output, over which expand and contract are tiled. */
export function tiledPositions(form: 'expand' | 'contract', g: Geometry): number {
  const { output } = sidesOf(form, g);
  const step = form === 'expand' ? g.stride : [1, 1];
  return g.n * positionsOf(output.height, step[0]!) * positionsOf(output.width, step[1]!);
}

/** Kernel columns that one wgrad thread sums together, and how many such segments a kernel row has. */
export function wgradSegments(s: number, tile: Tile, dtype: Dtype): { width: number; count: number } {
  const most = Math.max(1, Math.floor(accumulatorLimit(dtype) / 2 / (tile.first * tile.channels)));
  const count = Math.ceil(s / most);
  return { width: Math.ceil(s / count), count };
}
