/** The CPU row of kernels for large sides of few channels: products over columns of channels and taps. */

import type { Contraction, Problem } from './problem.js';
import { ONE_LAUNCH, type Variant } from './variant.js';

export const CPU_HEAD_VARIANT: Variant = {
  name: 'head',
  device: 'cpu',
  forms: ['contract'],
  template: 'head.cpp.njk',
  kind: 'general',
  tunables: () => [{}],
  legal: headLegal,
  cost: headCost,
  launch: () => ONE_LAUNCH,
};

/** Columns that one product sums over: channels of the large side in a group, times taps. */
const MOST_COLUMNS = 128;
/** Elements that a tap's reach and the stride may take of a plane (MOST_PLANE of cpu/columns.cc, with room). */
const MOST_REACH = 2 ** 12;

function headLegal({ geometry: g }: Problem): string | null {
  const columns = (g.cl / g.groups) * g.r * g.s;
  if (columns > MOST_COLUMNS) return `it takes at most ${MOST_COLUMNS} taps of all channels of a group, got ${columns}`;
  const [height, width] = [(g.r - 1) * g.dilation[0] + g.stride[0], (g.s - 1) * g.dilation[1] + g.stride[1]];
  const reach = height * width;
  return reach <= MOST_REACH ? null : `it takes kernels that reach over at most 2^12 elements, got ${reach}`;
}

/**
 * By measurement, in the unit of the others: lanes that hold nothing, what gathering the columns costs, shared by the
 * channels of the small side, and turning the weight at every call.
 */
function headCost({ geometry: g, layout }: Problem, _: Contraction): number {
  const [outputs, rows] = [g.cs / g.groups, g.n * g.hs * g.ws];
  const [lanes, count] = layout === 'nchw' ? [g.hs * g.ws, outputs] : [outputs, g.hs * g.ws];
  const filled = lanes / (Math.ceil(lanes / 32) * 32);
  return 1.1 / Math.max(0.01, filled * Math.min(1, count / 8)) + 20 / outputs + 30 / Math.max(1, rows);
}
