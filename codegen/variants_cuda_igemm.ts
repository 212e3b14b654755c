/**
 * The CUDA rows of `igemm`: expand and contract in float32 as a matrix product for each residue class, all in one launch.
 * The weight is packed by a copy, once for every change of it.
 */

import { WARP } from './gpu_work.js';
import {
  apartMargin,
  gemmMemory,
  gemmPlan,
  gemmResident,
  MOST_AXIS_TAPS,
  mostTaps,
  PITCH_MULTIPLE,
  parseGemmTile,
  pixelsRead,
  sectorsStored,
  THREAD_M,
} from './igemm_tiles.js';
import { bytes } from './passes.js';
import type { Contraction, Problem } from './problem.js';
import { DTYPE_TABLE, type Target } from './target.js';
import { oneTapEach, sidesOf, tiledPositions } from './tiles.js';
import {
  type LaunchGeometry,
  modelled,
  type Packing,
  type Tunables,
  type Variant,
  type WorkInParts,
} from './variant.js';
import { GRID_X, GRID_Y, shapeReason, type Volume } from './variants_cuda.js';

const TILES: readonly Tunables[] = [
  { tile: 'm128n128k16', thread: 't8x8' },
  { tile: 'm128n64k16', thread: 't8x8' },
  { tile: 'm64n64k16', thread: 't8x4' },
  { tile: 'm128n32k16', thread: 't8x4' },
  { tile: 'm32n64k16', thread: 't8x4' },
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
    restated: oneTapEach,
    legal: (problem, form, tunables) => reason(problem, form as Volume, tunables),
    ...modelled(
      (problem, form, tunables, target) => [igemmWork(problem, form as Volume, tunables, target)(1)],
      (problem, form) => apartMargin(problem, form as Volume),
    ),
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

interface Blocks {
  readonly m: number;
  readonly n: number;
}

/** Of a tile of positions by output channels: how many there are for all residues, and for all groups. */
export function blocksOf({ geometry: g }: Problem, form: Volume, tile: Blocks): Blocks {
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
  return productReason(problem, form, packing(problem, form), parseGemmTile(tunables));
}

/** Why a kernel whose blocks are tiles of matrix products of each residue does not take a problem. */
export function productReason(problem: Problem, form: Volume, { bytes }: Packing, tile: Blocks): string | null {
  const g = problem.geometry;
  const early = shapeReason(g);
  if (early !== null) return early;
  const plan = gemmPlan(form, g);
  if (Math.max(mostTaps(plan.rows), mostTaps(plan.columns)) > MOST_AXIS_TAPS)
    return `it takes at most ${MOST_AXIS_TAPS} taps of one residue on an axis`;
  if (bytes === 0) return 'it packs weights, and here are none';
  if (bytes > DTYPE_TABLE[problem.dtype].bytes * (2 ** 31 - 1)) return 'it indexes packed weights with 32 bits';
  const { m, n } = blocksOf(problem, form, tile);
  if (n > GRID_Y) return `its grid has at most ${GRID_Y} tiles of channels, and these are more`;
  return m > GRID_X ? 'its grid is too small for this many positions' : null;
}

/**
 * Wavefronts of a load of four floats a thread: its quarters of a warp want few words, the same ones two by two (not
 * measured; the simulator counts four).
 */
const LOAD_WAVEFRONTS = 2;
/** Instructions of a thread: for a copy into shared memory, around a step of k, for a position, for an output. */
const COPY = 3;
const STEP = 40;
const PLACE = 75;
const OUTPUT = 5;
/** Cycles that a block waits: until the first tiles are there and the last outputs gone, and at the barrier of a step. */
const ENDS_LATENCY = 2500;
const STEP_LATENCY = 60;

/** Of a launch whose blocks take a part each of the steps of k: a function of the number of parts. */
export function igemmWork(problem: Problem, form: Volume, tunables: Tunables, target: Target): WorkInParts {
  const { geometry: g } = problem;
  const tile = parseGemmTile(tunables);
  const { m, n } = blocksOf(problem, form, tile);
  const inputs = sidesOf(form, g).source.channels / g.groups;
  const plan = gemmPlan(form, g);
  const taps = (g.r * g.s) / plan.phases;
  const copies = (tile.m * tile.k + (tile.n * tile.k) / 4) / tile.threads;
  const loads = THREAD_M / 4 + tile.threadN / 4;
  const sums = THREAD_M * tile.threadN;
  const memory = gemmMemory(tile, problem.layout, target, plan.mostTaps);
  // Where its reads of A and its outputs lie: divisions.
  const places = (tile.m * memory.lanes) / tile.threads + (problem.layout === 'nchw' ? THREAD_M / 4 : THREAD_M);
  const once = 150 + places * PLACE + OUTPUT * sums;
  const warps = tile.threads / WARP;
  const stored = 2 * tile.m * tile.n * 4;
  const pixels = pixelsRead(form, g, taps);
  const sectors = sectorsStored(plan, problem.layout, 4);
  const dramBytes = bytes(problem);
  return (parts) => {
    const steps = (Math.ceil(inputs / tile.k) * taps) / parts;
    const depth = steps * tile.k;
    return {
      blocks: m * n * parts,
      threads: tile.threads,
      resident: gemmResident(tile, target, { layout: problem.layout, phases: plan.phases, split: parts > 1 }, memory),
      instructions: warps * (once + depth * (sums + loads) + steps * (COPY * copies + STEP)),
      fma: depth * tile.m * tile.n,
      mma: null,
      sharedBytes: depth * (warps * loads * LOAD_WAVEFRONTS * 128 + (tile.m + tile.n) * 4) + stored,
      l2Bytes: ((depth * tile.m) / taps) * pixels * 4 + depth * tile.n * 4 + tile.m * tile.n * 4 * sectors,
      dramBytes,
      latency: ENDS_LATENCY + steps * STEP_LATENCY,
    };
  };
}
