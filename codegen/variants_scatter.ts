/** The CPU row of kernels that multiply every tap alone: products over the channels of the small side, then sums of taps. */

import { withOverheads } from './cpu_overheads.js';
import type { Contraction, Problem } from './problem.js';
import { cpuTileOf } from './target.js';
import { ONE_LAUNCH, type Place, type Tunables, type Variant } from './variant.js';

export const SCATTER_VARIANT: Variant = {
  name: 'scatter',
  device: 'cpu',
  forms: ['expand'],
  template: 'scatter.cpp.njk',
  kind: 'general',
  tunables: () => [{}],
  legal: scatterLegal,
  cost: withOverheads('scatter', scatterCost),
  launch: () => ONE_LAUNCH,
};

function scatterLegal({ geometry: g, layout }: Problem): string | null {
  if (layout === 'nhwc' && g.s > 1 && g.dilation[1] !== 1) return 'channels last, it takes kernels without dilation';
  return null;
}

/**
 * By measurement, in the unit of the others: lanes and rows that hold nothing; adding a product up, shared by the channels
 * that it is the sum of; in planes products that pass through a second-level cache, where `direct` has whole tiles; in
 * pixels blocks of fewer elements than a vector.
 */
function scatterCost({ geometry: g, layout }: Problem, _: Contraction, __: Tunables, { target }: Place): number {
  const [inputs, outputs] = [Math.max(1, g.cs / g.groups), Math.max(1, g.cl / g.groups)];
  const { lanes } = cpuTileOf(target.kind === 'cpu' ? target.isa : 'baseline', 'float');
  const positions = g.hs * g.ws;
  const filled = (count: number, step: number): number => Math.max(0.01, count / (Math.ceil(count / step) * step));
  if (layout === 'nchw') {
    return (1.04 + 8 / inputs + 0.25 * Math.min(1, outputs / 32)) / filled(positions, lanes);
  }
  const added = 4.8 / inputs + 2.5 / (g.stride[1] * outputs);
  return (1.04 + added) / (filled(g.r * g.s * outputs, lanes / 2) * filled(positions, 8));
}
