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

/** Multiply-adds that are issued for each one that is asked for, and more where stores do not follow the layout. */
function igemmCost(problem: Problem, form: Contraction, tunables: Tunables): number {
  const g: Geometry = problem.geometry;
  const outputs = (form === 'expand' ? g.cl : g.cs) / g.groups;
  const positions = form === 'expand' ? (g.n * g.hl * g.wl) / (g.stride[0] * g.stride[1]) : g.n * g.hs * g.ws;
  const [m, n] = String(tunables.tile).slice(1).split('x').map(Number) as [number, number];
  const tile = { lanes: n, rows: m };
  const natural = (tunables.lanes === 'px') === (problem.layout === 'nchw');
  const use = tunables.lanes === 'px' ? filled(positions, outputs, tile) : filled(outputs, positions, tile);
  return (natural ? 1 : 1.3) / use;
}

/** Share of vector lanes, times share of rows, that hold something to compute. */
function filled(lanes: number, rows: number, tile: { lanes: number; rows: number }): number {
  const share = (count: number, size: number) => count / (Math.ceil(count / size) * size || 1);
  return share(Math.max(1, lanes), tile.lanes) * Math.sqrt(share(Math.max(1, rows), tile.rows));
}
