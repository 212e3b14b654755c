/** The CPU row of kernels with output positions in the lanes and inputs read where they lie. */

import { withOverheads } from './cpu_overheads.js';
import { meanDepth } from './passes.js';
import type { Contraction, Geometry, Problem } from './problem.js';
import { ACCUMULATOR_BYTES, DTYPE_TABLE } from './target.js';
import { ONE_LAUNCH, PACKED_HEADER, type Packing, type Variant } from './variant.js';

export const DIRECT_VARIANT: Variant = {
  name: 'direct',
  device: 'cpu',
  forms: ['expand', 'contract'],
  template: 'direct.cpp.njk',
  kind: 'general',
  tunables: () => [{}],
  packs: directPacking,
  legal: () => null,
  cost: withOverheads('direct', directCost),
  launch: () => ONE_LAUNCH,
};

/** Every tap of every pair of channels once, as cpu/conv_direct.cc orders them. */
function directPacking({ geometry, dtype }: Problem): Packing {
  const { cs, cl, r, s, groups, stride, padding, dilation, hl, wl } = geometry;
  const bytes = ((cs * cl) / groups) * r * s * ACCUMULATOR_BYTES[DTYPE_TABLE[dtype].accumulator];
  // Which phases there are also depends on a large side that is smaller than the stride.
  const phases = [Math.min(hl, stride[0]), Math.min(wl, stride[1])];
  return { bytes: PACKED_HEADER + bytes, key: [cs, cl, r, s, groups, stride, padding, dilation, phases].join(' ') };
}

/** Outputs below which cpu/conv_direct.cc merges the phases of rows (FEW_OUTPUTS). */
const FEW_OUTPUTS = 5;

/**
 * By measurement: 1.1 for tiles of many rows; below four, loads that cross cache lines bound them; then what one vector of
 * the output and one of a copied input cost, in vector multiply-adds, shared by those that it takes part in.
 */
function directCost({ geometry: g, layout, dtype }: Problem, form: Contraction): number {
  const outputs = (form === 'expand' ? g.cl : g.cs) / g.groups;
  const merged = form === 'expand' && outputs < FEW_OUTPUTS ? g.stride[0] : 1;
  const taps = (g.r * g.s) / (form === 'expand' ? g.stride[0] * g.stride[1] : 1);
  const inPlace = form === 'expand' && layout === 'nchw' && (dtype === 'float32' || dtype === 'float64');
  const store = (layout === 'nchw' ? 25 : 40) / meanDepth(form, g);
  const reads = outputs * (form === 'expand' ? g.r * g.s : taps / (g.stride[0] * g.stride[1]));
  const copy = inPlace ? 0 : (layout === 'nhwc' || strideOf(g, form) > 2 ? 30 : 10) / reads;
  return (1.1 * Math.max(1, 4 / (outputs * merged)) + store + copy) / lanesUsed(g, form);
}

const strideOf = (g: Geometry, form: Contraction): number => (form === 'expand' ? 1 : g.stride[1]);

/** Share of the lanes that hold a position: tiles run through the rows of an image, and end with it. */
function lanesUsed(g: Geometry, form: Contraction): number {
  const [rows, columns] = form === 'expand' ? [g.hl / g.stride[0], g.wl / g.stride[1]] : [g.hs, g.ws];
  const pitch = Math.max(columns, form === 'expand' ? g.ws : g.wl / g.stride[1]);
  const tile = 64;
  const lanes = Math.max(1, Math.ceil((rows * pitch) / tile) * tile);
  return Math.max(0.01, (rows * columns) / lanes);
}
