/**
 * The CUDA rows of `igemm`: expand and contract in float32 as a matrix product for each residue class, all in one launch.
 * The weight is packed by a copy, once for every change of it. Costs are in the units of codegen/variants_cuda.ts.
 */

import {
  type GemmTile,
  gemmMemory,
  gemmPlan,
  MOST_AXIS_TAPS,
  mostTaps,
  PITCH_MULTIPLE,
  parseGemmTile,
} from './igemm_tiles.js';
import type { Contraction, Problem } from './problem.js';
import type { Target } from './target.js';
import { sidesOf, tiledPositions } from './tiles.js';
import type { LaunchGeometry, Packing, Tunables, Variant } from './variant.js';
import { concurrent, GRID_X, GRID_Y, LOAD, shapeReason, THREAD, type Volume } from './variants_cuda.js';

const TILES: readonly Tunables[] = [
  { tile: 'm128n128k16', thread: 't8x8' },
  { tile: 'm128n64k16', thread: 't8x8' },
  { tile: 'm64n64k16', thread: 't8x4' },
  { tile: 'm128n32k16', thread: 't8x4' },
];

export const IGEMM_VARIANTS: readonly Variant[] = [
  {
    name: 'igemm',
    device: 'cuda',
    forms: ['expand', 'contract'],
    template: 'igemm.cu.njk',
    kind: 'specialised',
    tunables: ({ dtype }) => (dtype === 'float32' ? TILES : []),
    packs: packing,
    legal: (problem, form, tunables) => reason(problem, form as Volume, tunables),
    cost: (problem, form, tunables) => cost(problem, form as Volume, tunables),
    launch: (problem, form, tunables, target) => launch(problem, form as Volume, tunables, target),
  },
];

/** [group][tap][input][output], padded to whole fours: what a copy makes of [Cs, Cl/G, R, S]. */
function packing({ geometry: g }: Problem, form: Contraction): Packing {
  const taps = g.r * g.s;
  const [small, large] = [g.cs / g.groups, g.cl / g.groups];
  const [inputs, outputs] = form === 'expand' ? [small, large] : [large, small];
  const [ofInput, ofOutput] = form === 'expand' ? [large * taps, taps] : [taps, large * taps];
  const pitch = Math.ceil(outputs / PITCH_MULTIPLE) * PITCH_MULTIPLE;
  const copy = [
    { size: g.groups, strides: [taps * inputs * pitch, inputs * outputs * taps] },
    { size: taps, strides: [inputs * pitch, 1] },
    { size: inputs, strides: [pitch, ofInput] },
    { size: outputs, strides: [1, ofOutput] },
  ];
  const bytes = g.groups * taps * inputs * pitch * 4;
  return { bytes, key: [g.groups, taps, inputs, outputs].join(' '), copy };
}

/** A thread's products do not wait for one another: one warp keeps a scheduler busy that otherwise needs this many. */
const INDEPENDENT = 4;

interface Blocks {
  readonly m: number;
  readonly n: number;
}

/** Tiles of positions of all residues, and tiles of channels of all groups. */
function blocksOf({ geometry: g }: Problem, form: Volume, tile: GemmTile): Blocks {
  const outputs = sidesOf(form, g).output.channels / g.groups;
  const m = Math.ceil(tiledPositions(form, g) / tile.m) * gemmPlan(form, g).phases;
  return { m: Math.max(1, m), n: Math.max(1, Math.ceil(outputs / tile.n) * g.groups) };
}

function launch(problem: Problem, form: Volume, tunables: Tunables, target: Target): LaunchGeometry {
  const tile = parseGemmTile(tunables);
  const { m, n } = blocksOf(problem, form, tile);
  const { bytes } = gemmMemory(tile, problem.layout, target, gemmPlan(form, problem.geometry).mostTaps);
  return { grid: [m, n, 1], block: [tile.threads, 1, 1], sharedBytes: bytes };
}

function reason(problem: Problem, form: Volume, tunables: Tunables): string | null {
  const g = problem.geometry;
  const early = shapeReason(g);
  if (early !== null) return early;
  const plan = gemmPlan(form, g);
  if (Math.max(mostTaps(plan.rows), mostTaps(plan.columns)) > MOST_AXIS_TAPS)
    return `it takes at most ${MOST_AXIS_TAPS} taps of one residue on an axis`;
  if (packing(problem, form).bytes === 0) return 'it packs weights, and here are none';
  if (packing(problem, form).bytes > 4 * (2 ** 31 - 1)) return 'it indexes packed weights with 32 bits';
  const { m, n } = blocksOf(problem, form, parseGemmTile(tunables));
  if (n > GRID_Y) return `its grid has at most ${GRID_Y} tiles of channels, and these are more`;
  return m > GRID_X ? 'its grid is too small for this many positions' : null;
}

/** What a thread issues for one element of the tile's k: its products, loads of both operands, its share of the copies. */
function perDepth({ m, n, threadN, threads }: GemmTile): number {
  return 8 * threadN + (8 + threadN) / 4 + (m + n / 4) / threads + 1;
}

function cost(problem: Problem, form: Volume, tunables: Tunables): number {
  const { geometry: g } = problem;
  const tile = parseGemmTile(tunables);
  const { m, n } = blocksOf(problem, form, tile);
  const inputs = Math.ceil(sidesOf(form, g).source.channels / g.groups / tile.k) * tile.k;
  const depth = (inputs * g.r * g.s) / (form === 'expand' ? g.stride[0] * g.stride[1] : 1);
  const stores = 8 * tile.threadN * LOAD;
  const issued = 4 * THREAD + depth * perDepth(tile) + stores;
  return concurrent(m * n * tile.threads * INDEPENDENT, issued / INDEPENDENT);
}
