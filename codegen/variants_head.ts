/** The CPU row of kernels for large sides of few channels: products over columns of channels and taps. */

import { withOverheads } from './cpu_overheads.js';
import type { Contraction, Geometry, Problem } from './problem.js';
import { ONE_LAUNCH, type Variant } from './variant.js';

export const CPU_HEAD_VARIANT: Variant = {
  name: 'head',
  device: 'cpu',
  forms: ['contract'],
  template: 'head.cpp.njk',
  kind: 'general',
  tunables: () => [{}],
  legal: headLegal,
  cost: withOverheads('head', headCost),
  launch: () => ONE_LAUNCH,
};

/**
 * Columns that one product sums over: channels of the large side in a group, times taps. More of them, some channels at a
 * time, where planes need not be turned and the sums of all outputs stay beside them.
 */
const FEW_COLUMNS = 128;
const MOST_COLUMNS = 2 ** 14;
const MOST_OUTPUTS = 32;
/** Elements that a tap's reach and the stride may take of a plane (MOST_PLANE of cpu/columns.cc, with room). */
const MOST_REACH = 2 ** 12;

const columnsOf = (g: Geometry): number => (g.cl / g.groups) * g.r * g.s;

function headLegal({ geometry: g, layout }: Problem): string | null {
  const most = layout === 'nchw' && g.cs / g.groups <= MOST_OUTPUTS ? MOST_COLUMNS : FEW_COLUMNS;
  if (columnsOf(g) > most) return `it takes at most ${most} taps of all channels of a group, got ${columnsOf(g)}`;
  const [height, width] = [(g.r - 1) * g.dilation[0] + g.stride[0], (g.s - 1) * g.dilation[1] + g.stride[1]];
  const reach = height * width;
  return reach <= MOST_REACH ? null : `it takes kernels that reach over at most 2^12 elements, got ${reach}`;
}

/**
 * By measurement, in the unit of the others: lanes that hold nothing, what copying the planes costs, shared by what they
 * are multiplied with, and turning the weight at every call.
 */
function headCost({ geometry: g, layout }: Problem, _: Contraction): number {
  const [outputs, rows] = [g.cs / g.groups, g.n * g.hs * g.ws];
  const [lanes, count] = layout === 'nchw' ? [g.hs * g.ws, outputs] : [outputs, g.hs * g.ws];
  // Where rows are not whole vectors, what lies between them is computed with them.
  const between = layout === 'nchw' && g.ws % 16 !== 0 ? Math.floor(((g.s - 1) * g.dilation[1]) / g.stride[1]) : 0;
  const filled = ((lanes / (Math.ceil(lanes / 32) * 32)) * g.ws) / Math.max(1, g.ws + between);
  const shared = columnsOf(g) > FEW_COLUMNS ? (16 * g.stride[0] * g.stride[1]) / (outputs * g.r * g.s) : 20 / outputs;
  return 1.1 / Math.max(0.01, filled * Math.min(1, count / 8)) + shared + 30 / Math.max(1, rows);
}
