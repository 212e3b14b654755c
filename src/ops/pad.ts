/** Padding of the last two dimensions by what lies inside, or by zeros; made of slices, whose gradients are known. */

import { fail } from '../checks.js';
import { alias, type Tensor, tidy } from '../tensor.js';
import { cat } from './join.js';
import { embed, narrow } from './views.js';

export const PAD_MODES = ['constant', 'reflect', 'replicate', 'circular'] as const;
export type PadMode = (typeof PAD_MODES)[number];

/** Rows or columns added on each side. */
export interface Sides {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/**
 * x (…, H, W) with more rows and columns: `constant` zeros, the inside mirrored at the edge without repeating it
 * (`reflect`), the edge repeated (`replicate`), or the opposite side (`circular`).
 *
 * @throws FracstrideError ERR_SHAPE when the inside is too small to be mirrored or wrapped around
 */
export function pad(x: Tensor, sides: Sides, mode: PadMode): Tensor {
  return tidy(() => {
    const wide = padDim(x, { dim: x.ndim - 1, before: sides.left, after: sides.right, mode });
    return padDim(wide, { dim: x.ndim - 2, before: sides.top, after: sides.bottom, mode });
  });
}

interface Edge {
  readonly dim: number;
  readonly before: number;
  readonly after: number;
  readonly mode: PadMode;
}

function padDim(x: Tensor, edge: Edge): Tensor {
  const { dim, before, after, mode } = edge;
  if (before === 0 && after === 0) return alias(x);
  const size = x.shape[dim]!;
  if (mode === 'constant') return embed(x, { dim, start: before, size: before + size + after });
  const most = mode === 'reflect' ? size - 1 : mode === 'circular' ? size : size > 0 ? Number.POSITIVE_INFINITY : 0;
  if (Math.max(before, after) > most)
    fail('ERR_SHAPE', 'pad', `padding (${mode})`, `at most ${most} for this input`, [before, after]);
  const entries = (from: number, length: number): Tensor[] => (length > 0 ? [narrow(x, dim, from, length)] : []);
  const single = (index: number): Tensor => narrow(x, dim, index, 1);
  const each = (count: number, index: (i: number) => number): Tensor[] =>
    Array.from({ length: count }, (_, i) => single(index(i)));
  if (mode === 'circular') return cat([...entries(size - before, before), x, ...entries(0, after)], dim);
  const first = each(before, (i) => (mode === 'reflect' ? before - i : 0));
  const last = each(after, (i) => (mode === 'reflect' ? size - 2 - i : size - 1));
  return cat([...first, x, ...last], dim);
}
