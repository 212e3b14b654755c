/**
 * The CUDA rows of the catalogue: `gather`, which takes every argument at run time and is always legal, and `phase`,
 * whose text holds one shape.
 */

import { gradSide } from './passes.js';
import type { Contraction, Geometry, Problem } from './problem.js';
import { columnsGeometry, rowsGeometry, runLength } from './sums_geometry.js';
import { DTYPE_TABLE } from './target.js';
import { parseTile, phasePlan, sidesOf, tiledPositions, wgradSegments } from './tiles.js';
import { type LaunchGeometry, modelled, type Tunables, type Variant } from './variant.js';
import { gatherBgradWork, gatherWgradWork, gatherWork } from './work_gather.js';
import { phaseWgradWork, phaseWork } from './work_phase.js';

export type Volume = 'expand' | 'contract';

/** Largest extent of a grid along x, and along y. */
export const GRID_X = 0x7fffffff;
export const GRID_Y = 0xffff;
/** Blocks of a gather launch; its threads and blocks stride over what is left. */
const GATHER_BLOCKS = 1 << 20;
export const GATHER_THREADS = 256;
/** Threads that share the sum of one weight in gather's wgrad. */
export const GATHER_SUMMERS = 128;
/** Scattered reads are what the model knows least about: gather is for what nothing else computes, or computes at all well. */
const LAST_RESORT = 3;

const tunablesOf = (...pairs: string[]): Tunables[] =>
  pairs.map((pair) => {
    const [tile, block] = pair.split('_') as [string, string];
    return { tile, block };
  });

/** Lanes of a warp lie along positions in NCHW and along channels in NHWC, where neighbours are neighbours in memory. */
const VOLUME_TILES = {
  nchw: tunablesOf('t4x8_b32x4', 't4x4_b64x2', 't4x4_b128x1', 't4x1_b128x1', 't2x8_b32x4', 't1x8_b32x4', 't1x4_b16x8'),
  nhwc: tunablesOf('t4x4_b4x32', 't4x4_b8x16', 't4x4_b16x8', 't4x4_b128x1', 't4x1_b8x16', 't4x1_b128x1', 't1x4_b4x32'),
};
const WGRAD_TILES = {
  nchw: tunablesOf('t4x4_b128x1', 't4x2_b128x1', 't2x2_b128x1', 't1x1_b128x1', 't4x2_b32x4'),
  nhwc: tunablesOf('t4x4_b8x16', 't4x2_b8x16', 't2x2_b8x16', 't1x1_b128x1', 't4x1_b4x32'),
};

export const CUDA_VARIANTS: readonly Variant[] = [
  {
    name: 'gather',
    device: 'cuda',
    forms: ['expand', 'contract'],
    template: 'gather.cu.njk',
    kind: 'general',
    tunables: () => [{}],
    legal: () => null,
    ...modelled((problem, form) => gatherWork(problem, form as Volume, gatherLaunch(problem, form)), LAST_RESORT),
    launch: gatherLaunch,
  },
  {
    name: 'gather',
    device: 'cuda',
    forms: ['wgrad'],
    template: 'gather_wgrad.cu.njk',
    kind: 'general',
    tunables: () => [{}],
    legal: () => null,
    ...modelled((problem) => gatherWgradWork(problem, gatherWgradLaunch(problem)), LAST_RESORT),
    launch: gatherWgradLaunch,
  },
  {
    name: 'gather',
    device: 'cuda',
    forms: ['bgrad'],
    template: 'bgrad.cu.njk',
    kind: 'general',
    tunables: () => [{}],
    legal: () => null,
    ...modelled((problem) => gatherBgradWork(problem, bgradLaunch(problem))),
    launch: bgradLaunch,
  },
  {
    name: 'phase',
    device: 'cuda',
    forms: ['expand', 'contract'],
    template: 'phase.cu.njk',
    kind: 'specialised',
    tunables: ({ layout }) => VOLUME_TILES[layout],
    legal: (problem, form, tunables) => volumeReason(problem, form as Volume, tunables),
    ...modelled((problem, form, tunables) => {
      const launch = volumeLaunch(problem, form as Volume, tunables);
      return phaseWork(problem, form as Volume, tunables, launch);
    }),
    launch: (problem, form, tunables) => volumeLaunch(problem, form as Volume, tunables),
  },
  {
    name: 'phase',
    device: 'cuda',
    forms: ['wgrad'],
    template: 'phase_wgrad.cu.njk',
    kind: 'specialised',
    tunables: ({ layout }) => WGRAD_TILES[layout],
    legal: wgradReason,
    ...modelled((problem, form, tunables) => phaseWgradWork(problem, tunables, wgradLaunch(problem, form, tunables))),
    launch: wgradLaunch,
  },
];

/** Blocks in a line, each for `each` of `count` things; never none, never more than gather's limit. */
function line(count: number, each: number, threads = each): LaunchGeometry {
  const blocks = Math.min(GATHER_BLOCKS, Math.max(1, Math.ceil(count / each)));
  return { grid: [blocks, 1, 1], block: [threads, 1, 1], sharedBytes: 0 };
}

function outputElements(g: Geometry, form: Contraction): number {
  const { channels, height, width } = sidesOf(form, g).output;
  return g.n * channels * height * width;
}

function gatherLaunch({ geometry }: Problem, form: Contraction): LaunchGeometry {
  return line(outputElements(geometry, form), GATHER_THREADS);
}

function gatherWgradLaunch({ geometry: g }: Problem): LaunchGeometry {
  return line((g.cs * g.cl * g.r * g.s) / g.groups, 1, GATHER_SUMMERS);
}

/** bgrad is a reduction over rows of an image's positions, or over rows of channels. */
function bgradLaunch(problem: Problem): LaunchGeometry {
  const { c, hw } = gradSide(problem);
  const { n } = problem.geometry;
  const run = runLength(DTYPE_TABLE[problem.dtype].bytes);
  return problem.layout === 'nchw'
    ? rowsGeometry(c, n * Math.ceil(hw / run))
    : columnsGeometry(1, n * hw, Math.ceil(c / run));
}

interface VolumeBlocks {
  readonly positionTiles: number;
  readonly channelTiles: number;
  readonly phases: number;
  readonly groups: number;
}

function volumeBlocks(problem: Problem, form: Volume, tunables: Tunables): VolumeBlocks {
  const g = problem.geometry;
  const tile = parseTile(tunables);
  const { output } = sidesOf(form, g);
  return {
    positionTiles: Math.ceil(tiledPositions(form, g) / (tile.first * tile.blockPositions)),
    channelTiles: Math.ceil(output.channels / g.groups / (tile.channels * tile.blockChannels)),
    phases: phasePlan(form, g, tile, problem.dtype).blocks,
    groups: g.groups,
  };
}

function volumeLaunch(problem: Problem, form: Volume, tunables: Tunables): LaunchGeometry {
  const tile = parseTile(tunables);
  const b = volumeBlocks(problem, form, tunables);
  const grid = [Math.max(1, b.positionTiles * b.phases), Math.max(1, b.channelTiles * b.groups), 1] as const;
  return { grid, block: [tile.blockPositions * tile.blockChannels, 1, 1], sharedBytes: 0 };
}

/** Largest number of groups of column phases in one text: each has a list of its own. */
const MOST_COLUMN_GROUPS = 16;
const MOST_STRIDE = 64;
/** Largest kernel height and width: validity of a position's taps is a word of bits. */
const MOST_TAPS = 32;

function volumeReason(problem: Problem, form: Volume, tunables: Tunables): string | null {
  const g = problem.geometry;
  const early = shapeReason(g);
  if (early !== null) return early;
  const plan = phasePlan(form, g, parseTile(tunables), problem.dtype);
  const lists = plan.columns.phases.length / plan.together;
  if (lists > MOST_COLUMN_GROUPS)
    return `its text holds at most ${MOST_COLUMN_GROUPS} lists of column taps, not ${lists}`;
  const { positionTiles, channelTiles, phases, groups } = volumeBlocks(problem, form, tunables);
  if (channelTiles * groups > GRID_Y) return `its grid has at most ${GRID_Y} tiles of channels, and these are more`;
  if (positionTiles * phases > GRID_X) return 'its grid is too small for this many positions';
  return null;
}

export function shapeReason(g: Geometry): string | null {
  if (g.r > MOST_TAPS || g.s > MOST_TAPS) return `it takes kernels of at most ${MOST_TAPS} by ${MOST_TAPS} taps`;
  if (Math.max(...g.stride) > MOST_STRIDE) return `it takes strides of at most ${MOST_STRIDE}`;
  if (Math.max(...g.padding, ...g.dilation) > 0xffff) return 'it takes paddings and dilations of at most 65535';
  return indexable(g) ? null : 'it indexes with 32 bits, and a tensor or what its taps reach has 2^31 elements or more';
}

/** Whether every index of a position that a tap may ask for, existing or not, fits 31 bits. */
function indexable(g: Geometry): boolean {
  const reach = (small: number, large: number, d: 0 | 1) =>
    Math.max(small + 2 * g.stride[d] + axisReach(g, d), large, small * g.stride[d]) + axisReach(g, d);
  const plane = reach(g.hs, g.hl, 0) * reach(g.ws, g.wl, 1);
  const weight = ((g.cs * g.cl) / g.groups) * g.r * g.s;
  return g.n * Math.max(1, g.cs, g.cl) * plane < 2 ** 31 - 2 ** 20 && weight < 2 ** 31 - 2 ** 20;
}

/** How far a tap lies from its position at most. */
function axisReach(g: Geometry, d: 0 | 1): number {
  return g.padding[d] + g.dilation[d] * (d === 0 ? g.r : g.s);
}

function wgradReason(problem: Problem, _: Contraction, tunables: Tunables): string | null {
  const g = problem.geometry;
  const early = shapeReason(g);
  if (early !== null) return early;
  const { grid } = wgradLaunch(problem, 'wgrad', tunables);
  return grid[0] > GRID_X ? 'its grid is too small for this many channels' : null;
}

function wgradLaunch(problem: Problem, _: Contraction, tunables: Tunables): LaunchGeometry {
  const g = problem.geometry;
  const tile = parseTile(tunables);
  const small = Math.ceil(g.cs / g.groups / tile.first);
  const large = Math.ceil(g.cl / g.groups / (tile.channels * tile.blockChannels));
  const segments = wgradSegments(g.s, tile, problem.dtype).count;
  const grid = [Math.max(1, g.groups * small * large), g.r * segments, 1] as const;
  return { grid, block: [tile.blockPositions * tile.blockChannels, 1, 1], sharedBytes: 0 };
}
