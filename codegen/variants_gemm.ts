/** The CPU row of kernels for one position an image whose taps are the large side: plain matrix products. */

import { withOverheads } from './cpu_overheads.js';
import { existingTaps } from './passes.js';
import type { Contraction, Geometry, Problem } from './problem.js';
import { ACCUMULATOR_BYTES, CPU_TILES, type CpuTile, cpuTileOf, DTYPE_TABLE, type Target } from './target.js';
import { ONE_LAUNCH, PACKED_HEADER, type Packing, type Tunables, type Variant } from './variant.js';

export const GEMM_VARIANT: Variant = {
  name: 'gemm',
  device: 'cpu',
  forms: ['expand', 'contract'],
  template: 'igemm.cpp.njk',
  kind: 'general',
  tunables: ({ dtype }, form, target) => {
    const { accumulator } = DTYPE_TABLE[dtype];
    const tile = `t${CPU_TILES[target.kind === 'cpu' ? target.isa : 'baseline'][accumulator].join('x')}`;
    return (form === 'expand' ? ['ch'] : ['px', 'ch']).map((lanes) => ({ lanes, tile }));
  },
  packs: gemmPacking,
  legal: gemmLegal,
  cost: withOverheads('gemm', (problem, form, tunables, { target }) =>
    gemmCost(problem, form, tunables, tileOf(problem, target)),
  ),
  launch: () => ONE_LAUNCH,
};

function tileOf({ dtype }: Problem, target: Target): CpuTile {
  return cpuTileOf(target.kind === 'cpu' ? target.isa : 'baseline', DTYPE_TABLE[dtype].accumulator);
}

/** Whether an image of the large side is a row of a matrix: all of it is the taps of the only position. */
export function isMatrix(g: Geometry): boolean {
  return g.hs * g.ws === 1 && existingTaps(g) === g.r * g.s && g.hl * g.wl === g.r * g.s;
}

/** Images, which are packed as a whole. */
const MOST_IMAGES = 1024;

function gemmLegal({ geometry: g }: Problem): string | null {
  if (g.groups !== 1) return `it takes one group, got ${g.groups}`;
  if (g.n * g.cs * g.cl === 0) return 'it takes tensors that hold something';
  if (g.n > MOST_IMAGES) return `it takes at most ${MOST_IMAGES} images, got ${g.n}`;
  return isMatrix(g) ? null : 'it takes one position an image, whose taps are the large side';
}

/** Inputs of a sum, and outputs an image in runs that tiles do not cross: the taps of NHWC. */
function sizes({ geometry: g, layout }: Problem, form: Contraction) {
  const taps = g.r * g.s;
  if (form === 'contract') return { inputs: g.cl * taps, runs: 1, run: g.cs };
  return layout === 'nhwc' && g.cl > 1
    ? { inputs: g.cs, runs: taps, run: g.cl }
    : { inputs: g.cs, runs: 1, run: g.cl * taps };
}

/** Tiles of outputs, in each the inputs, as cpu/conv_gemm.cc lays them out. */
function gemmPacking(problem: Problem, form: Contraction, { lanes }: Tunables, target: Target): Packing {
  const { cs, cl, r, s } = problem.geometry;
  const tile = tileOf(problem, target);
  const { inputs, runs, run } = sizes(problem, form);
  const across = lanes === 'px' ? Math.ceil(run / tile.rows) * tile.a_pitch : Math.ceil(run / tile.lanes) * tile.lanes;
  const bytes = runs * across * inputs * ACCUMULATOR_BYTES[DTYPE_TABLE[problem.dtype].accumulator];
  return { bytes: PACKED_HEADER + bytes, key: [cs, cl, r, s].join(' ') };
}

/**
 * Time for each multiply-add, by measurement: lanes and rows that hold nothing; the weight's way from memory; inputs that
 * are copied or turned for the outputs that share them; outputs, which are stored one by one where lanes are images.
 */
function gemmCost(problem: Problem, form: Contraction, { lanes }: Tunables, tile: CpuTile): number {
  const { n } = problem.geometry;
  const { inputs, run } = sizes(problem, form);
  const [across, rows] = lanes === 'px' ? [n, run] : [run, n];
  // Images in the lanes are turned, an element at a time, which takes the longer the more products go at once.
  const copying = lanes === 'px' ? tile.lanes / 4 : 5;
  const copied = form === 'expand' ? 0 : copying / Math.min(run, GROUP_TILES * tile.rows);
  const stored = (lanes === 'px' ? 250 : 4) / inputs;
  return 0.9 / filled(across, rows, tile) + 1 / n + copied + stored;
}

/** Tiles that share what one task has packed, as in cpu/conv_gemm.cc. */
const GROUP_TILES = 16;

/** Share of the lanes that hold something, half tiles being possible; half tiles and those of few rows wait for loads. */
function filled(lanes: number, rows: number, tile: CpuTile): number {
  const half = tile.lanes / 2;
  const waiting = (lanes <= half ? 0.96 : 1) * Math.min(1, rows / 8);
  return (waiting * lanes) / (Math.ceil(lanes / half) * half);
}
