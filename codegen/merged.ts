/**
 * Expand with the residues of its outputs as columns of one product. With y + p = s·q + r and 0 ≤ r < s, tap s·t + r of the
 * kernel carries row q − t to y, the same one for every r: where kernels are multiples of strides this is an expansion of
 * stride 1 with k/s taps an axis and s times the channels, whose outputs (q, r) lie s·q + r − p apart from the corner. None of
 * its products is with a zero, and each tap's slab of the source is read once for all residues.
 */

import type { Geometry, Pair, Problem } from './problem.js';
import type { BakedShape } from './tiles.js';

/** Why residues cannot be columns of one product; null where they can. */
export function mergedReason({ r, s, stride, dilation, groups }: BakedShape): string | null {
  if (stride[0] * stride[1] === 1) return 'it computes residues of a stride together, and here is one';
  if (r % stride[0] !== 0 || s % stride[1] !== 0) return 'it takes kernels that are multiples of their strides';
  if (dilation[0] !== 1 || dilation[1] !== 1) return 'it takes kernels without dilation';
  return groups === 1 ? null : 'it takes one group';
}

/** The shape of the expansion of stride 1. */
export function mergedShape<Shape extends BakedShape>(shape: Shape): Shape {
  const { r, s, stride } = shape;
  return { ...shape, r: r / stride[0], s: s / stride[1], stride: ONE, padding: NONE };
}

const ONE: Pair = [1, 1];
const NONE: Pair = [0, 0];

/** The expansion of stride 1, with (residue of rows, residue of columns, channel) for a channel. */
export function mergedProblem(problem: Problem): Problem {
  const { geometry: g } = problem;
  const positions = (large: number, d: 0 | 1) => Math.ceil((large + g.padding[d]) / g.stride[d]);
  const merged: Geometry = {
    ...mergedShape(g),
    cl: g.cl * g.stride[0] * g.stride[1],
    hl: positions(g.hl, 0),
    wl: positions(g.wl, 1),
  };
  return { ...problem, geometry: merged };
}
