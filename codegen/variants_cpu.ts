/** The CPU rows of the catalogue: an implicit matrix product around register-blocked micro-kernels, and sums of rows. */

import type { Contraction, Geometry, Problem } from './problem.js';
import { CPU_TILES, DTYPE_TABLE, type Target } from './target.js';
import type { LaunchGeometry, Tunables, Variant } from './variant.js';

const always = (): null => null;

/** CPU kernels split their work themselves. */
const once = (): LaunchGeometry => ({ grid: [1, 1, 1], block: [1, 1, 1], sharedBytes: 0 });

export const CPU_VARIANTS: readonly Variant[] = [
  {
    name: 'igemm',
    device: 'cpu',
    forms: ['expand', 'contract'],
    template: 'igemm.cpp.njk',
    kind: 'general',
    tunables: ({ dtype }, _, target) => ['px', 'ch'].map((lanes) => ({ lanes, tile: cpuTile(target, dtype) })),
    legal: always,
    cost: igemmCost,
    launch: once,
  },
  {
    name: 'igemm',
    device: 'cpu',
    forms: ['wgrad'],
    template: 'igemm.cpp.njk',
    kind: 'general',
    tunables: ({ dtype }, _, target) => [{ tile: cpuTile(target, dtype) }],
    legal: always,
    cost: () => 1,
    launch: once,
  },
  {
    name: 'rowsum',
    device: 'cpu',
    forms: ['bgrad'],
    template: 'igemm.cpp.njk',
    kind: 'general',
    tunables: () => [{}],
    legal: always,
    cost: () => 1,
    launch: once,
  },
];

function cpuTile(target: Target, dtype: Problem['dtype']): string {
  const isa = target.kind === 'cpu' ? target.isa : 'baseline';
  return `t${CPU_TILES[isa][DTYPE_TABLE[dtype].accumulator].join('x')}`;
}

/**
 * Time for each multiply-add that is asked for, by what was measured on 32 layers: lanes and rows that hold nothing, and
 * what it costs when panels or stores do not follow the layout, or rows of positions are short.
 */
function igemmCost(problem: Problem, form: Contraction, tunables: Tunables): number {
  const g: Geometry = problem.geometry;
  const outputs = (form === 'expand' ? g.cl : g.cs) / g.groups;
  const [height, width] = form === 'expand' ? [g.hl / g.stride[0], g.wl / g.stride[1]] : [g.hs, g.ws];
  const positions = g.n * height * width;
  const lanes = Number(String(tunables.tile).split('x')[1]);
  if (tunables.lanes === 'ch') return (problem.layout === 'nhwc' ? 1 : 1.35) / filled(outputs, positions, lanes);
  const layout = problem.layout === 'nchw' ? 1 + 2.2 / Math.max(1, width) : 1.2;
  return layout / filled(positions, outputs, lanes);
}

/** Share of the lanes that hold something, half tiles being possible; tiles of fewer than eight rows wait for loads. */
function filled(lanes: number, rows: number, tile: number): number {
  const [used, half] = [Math.max(1, lanes), tile / 2];
  return (used / (Math.ceil(used / half) * half)) * Math.sqrt(Math.min(1, Math.max(1, rows) / 8));
}
