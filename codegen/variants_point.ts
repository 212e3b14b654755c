/** The CPU row of kernels for small sides with few positions: one matrix product with the weight where it lies. */

import { withOverheads } from './cpu_overheads.js';
import type { Contraction, Problem } from './problem.js';
import { ONE_LAUNCH, type Variant } from './variant.js';
import { isMatrix } from './variants_gemm.js';

export const POINT_VARIANT: Variant = {
  name: 'point',
  device: 'cpu',
  forms: ['contract', 'wgrad'],
  template: 'point.cpp.njk',
  kind: 'general',
  tunables: () => [{}],
  legal: pointLegal,
  cost: withOverheads('point', pointCost),
  launch: () => ONE_LAUNCH,
};

/** Positions of all images, and elements of the large side as a matrix: both are kept as a whole. */
const MOST_ROWS = 1024;
const MOST_ELEMENTS = 2 ** 24;

function pointLegal({ geometry: g }: Problem): string | null {
  if (g.groups !== 1) return `it takes one group, got ${g.groups}`;
  const rows = g.n * g.hs * g.ws;
  if (rows * g.cs * g.cl * g.hl * g.wl === 0) return 'it takes tensors that hold something';
  const elements = rows * g.cl * g.r * g.s;
  if (rows > MOST_ROWS) return `it takes at most ${MOST_ROWS} positions of the small side, got ${rows}`;
  return elements <= MOST_ELEMENTS
    ? null
    : `the large side as a matrix must have at most 2^24 elements, got ${elements}`;
}

/** Rows up to which the weight's way through memory is most of the time. */
const FEW_ROWS = 64;

/** By what was measured: the large side is gathered once, which pays for few rows; taps that read nothing are multiplied. */
function pointCost({ geometry: g, layout }: Problem, form: Contraction): number {
  const rows = g.n * g.hs * g.ws;
  // The large side is gathered by element, whatever the channels of the small side, or copied where it is the matrix.
  const gathered = (layout === 'nchw' && isMatrix(g) ? 10 : 30) / Math.max(1, g.cs);
  if (form === 'contract') return gathered + (g.hs * g.ws > 1 || rows > FEW_ROWS ? 3 : 1.6);
  return gathered + (rows <= FEW_ROWS ? 0.8 : 1.75) + 19 / Math.max(1, rows);
}
