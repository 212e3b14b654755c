/**
 * The CUDA rows of the catalogue: `gather`, which takes every argument at run time and is always legal, and `phase`,
 * whose text holds one shape. Costs count what a block issues, its idle lanes and channels included, divided by what runs
 * at the same time on a GPU of about a hundred multiprocessors; they order candidates and predict no time.
 */

import type { Contraction, Geometry, Problem } from './problem.js';
import { parseTile, phasePlan, sidesOf, tiledPositions, wgradSegments } from './tiles.js';
import type { LaunchGeometry, Tunables, Variant } from './variant.js';

export type Volume = 'expand' | 'contract';

/** Largest extent of a grid along x, and along y. */
export const GRID_X = 0x7fffffff;
export const GRID_Y = 0xffff;
/** Blocks of a gather launch; its threads and blocks stride over what is left. */
const GATHER_BLOCKS = 1 << 20;
export const GATHER_THREADS = 256;
/** Threads that share the sum of one weight in gather's wgrad. */
export const GATHER_SUMMERS = 128;
/** bgrad: threads along positions, and along channels. NHWC has neighbouring channels in neighbouring threads. */
export const BGRAD_BLOCK = { nchw: { positions: 256, channels: 1 }, nhwc: { positions: 8, channels: 32 } } as const;

/** Threads that a GPU runs at the same time, in the middle of the range; fewer leave it idle. */
export const RESIDENT_THREADS = 132 * 512;
/** Multiply-adds that one load from cache costs, and one from shared memory. */
export const LOAD = 4;
const SHARED_LOAD = 1;
/** What starting and ending a thread costs: positions by division, stores. */
export const THREAD = 80;

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
    cost: gatherCost,
    launch: (problem, form) => line(outputElements(problem.geometry, form), GATHER_THREADS),
  },
  {
    name: 'gather',
    device: 'cuda',
    forms: ['wgrad'],
    template: 'gather_wgrad.cu.njk',
    kind: 'general',
    tunables: () => [{}],
    legal: () => null,
    cost: gatherCost,
    launch: ({ geometry: g }) => line((g.cs * g.cl * g.r * g.s) / g.groups, 1, GATHER_SUMMERS),
  },
  {
    name: 'gather',
    device: 'cuda',
    forms: ['bgrad'],
    template: 'bgrad.cu.njk',
    kind: 'general',
    tunables: () => [{}],
    legal: () => null,
    cost: () => 1,
    launch: (problem) => {
      const { positions, channels } = BGRAD_BLOCK[problem.layout];
      const g = problem.geometry;
      return line(problem.op === 'convT2d' ? g.cl : g.cs, channels, positions * channels);
    },
  },
  {
    name: 'phase',
    device: 'cuda',
    forms: ['expand', 'contract'],
    template: 'phase.cu.njk',
    kind: 'specialised',
    tunables: ({ layout }) => VOLUME_TILES[layout],
    legal: (problem, form, tunables) => volumeReason(problem, form as Volume, tunables),
    cost: (problem, form, tunables) => volumeCost(problem, form as Volume, tunables),
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
    cost: wgradCost,
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

/** Every multiply-add of gather reads both its factors from cache, and tests and computes where they lie. */
function gatherCost(problem: Problem, form: Contraction): number {
  const g = problem.geometry;
  const [outputs, terms] =
    form === 'wgrad'
      ? [((g.cs * g.cl) / g.groups) * g.r * g.s * GATHER_SUMMERS, (g.n * g.hs * g.ws) / GATHER_SUMMERS]
      : [outputElements(g, form), (sidesOf(form, g).source.channels / g.groups) * g.r * g.s];
  const perTerm = form === 'expand' ? (1 + 2 * LOAD + 2) / (g.stride[0] * g.stride[1]) : 1 + 2 * LOAD + 2;
  const probes = form === 'wgrad' ? 10 * terms : 10 * g.r * g.s;
  return concurrent(outputs, THREAD + terms * perTerm + probes);
}

export function concurrent(threads: number, issued: number): number {
  return (threads * issued) / Math.max(1, Math.min(threads, RESIDENT_THREADS));
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

function volumeCost(problem: Problem, form: Volume, tunables: Tunables): number {
  const g = problem.geometry;
  const tile = parseTile(tunables);
  const { together } = phasePlan(form, g, tile, problem.dtype);
  const b = volumeBlocks(problem, form, tunables);
  const terms = (sidesOf(form, g).source.channels / g.groups) * g.r * g.s;
  const tapsAThread = terms / b.phases;
  const perTap =
    tile.first * tile.channels + (tile.first * LOAD * scatter(problem, tile)) / together + shared(tile.channels);
  const staged = (tapsAThread * tile.channels * LOAD * 2) / tile.blockPositions;
  const stores = tile.first * tile.channels * together * LOAD * scatter(problem, tile);
  const threads = b.positionTiles * b.channelTiles * b.groups * b.phases * tile.blockPositions * tile.blockChannels;
  return concurrent(threads, THREAD + tapsAThread * perTap + staged + stores);
}

const shared = (channels: number) => Math.ceil(channels / 4) * SHARED_LOAD;

/** How many times more memory transactions a warp needs than one whose lanes read neighbours. */
function scatter(problem: Problem, tile: { blockChannels: number; blockPositions: number }): number {
  if (problem.layout === 'nchw') return 1;
  return Math.max(1, 32 / tile.blockChannels / 4);
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

function wgradCost(problem: Problem, form: Contraction, tunables: Tunables): number {
  const g = problem.geometry;
  const tile = parseTile(tunables);
  const { grid, block } = wgradLaunch(problem, form, tunables);
  const { width } = wgradSegments(g.s, tile, problem.dtype);
  const positions = (g.n * g.hs * g.ws) / tile.blockPositions;
  const loads = (tile.first + tile.channels * width) * LOAD * scatter(problem, tile);
  const cells = tile.first * tile.channels * width;
  const tree = cells * 4 + 10 * Math.log2(tile.blockPositions);
  return concurrent(grid[0] * grid[1] * block[0], THREAD + Math.ceil(positions) * (cells + loads + 12) + tree);
}
