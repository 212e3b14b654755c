/** The CPU rows of the catalogue: an implicit matrix product around register-blocked micro-kernels, and sums of rows. */

import { withOverheads } from './cpu_overheads.js';
import { meanDepth } from './passes.js';
import type { Contraction, Geometry, Problem } from './problem.js';
import { ACCUMULATOR_BYTES, CPU_TILES, type CpuTile, cpuTileOf, DTYPE_TABLE, type Target } from './target.js';
import { ONE_LAUNCH, PACKED_HEADER, type Packing, type Tunables, type Variant } from './variant.js';

const always = (): null => null;

export const CPU_VARIANTS: readonly Variant[] = [
  {
    name: 'igemm',
    device: 'cpu',
    forms: ['expand', 'contract'],
    template: 'igemm.cpp.njk',
    kind: 'general',
    tunables: ({ dtype }, _, target) => ['px', 'ch'].map((lanes) => ({ lanes, tile: cpuTile(target, dtype) })),
    packs: igemmPacking,
    legal: always,
    cost: withOverheads('igemm', igemmCost),
    launch: () => ONE_LAUNCH,
  },
  {
    name: 'igemm',
    device: 'cpu',
    forms: ['wgrad'],
    template: 'igemm.cpp.njk',
    kind: 'general',
    tunables: ({ dtype }, _, target) => [{ tile: cpuTile(target, dtype) }],
    legal: always,
    cost: withOverheads('igemm', gradientCost),
    launch: () => ONE_LAUNCH,
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
    launch: () => ONE_LAUNCH,
  },
];

const isaOf = (target: Target) => (target.kind === 'cpu' ? target.isa : 'baseline');

function cpuTile(target: Target, dtype: Problem['dtype']): string {
  return `t${CPU_TILES[isaOf(target)][DTYPE_TABLE[dtype].accumulator].join('x')}`;
}

/** Panels of output channels, in each the taps by phase and the input channels, as cpu/product_weights.cc lays them out. */
function igemmPacking(problem: Problem, form: Contraction, { lanes }: Tunables, target: Target): Packing {
  const { cs, cl, groups, r, s, stride, padding, dilation, hl, wl } = problem.geometry;
  const { accumulator } = DTYPE_TABLE[problem.dtype];
  const tile = cpuTileOf(isaOf(target), accumulator);
  const [inputs, outputs] = form === 'expand' ? [cs / groups, cl / groups] : [cl / groups, cs / groups];
  const columns = form === 'expand' ? stride[1] : 1;
  const across = lanes === 'px' ? panelRows(outputs, tile, columns) : Math.ceil(outputs / tile.lanes) * tile.lanes;
  const elements = groups * Math.ceil(across * r * s * inputs);
  // Which phases there are, and which of them are as long as others, also depends on the large side.
  const phases = [Math.min(hl, stride[0]), Math.min(wl, stride[1]), hl % stride[0], wl % stride[1]];
  const key = [cs, cl, r, s, groups, stride, padding, dilation, phases].join(' ');
  return { bytes: PACKED_HEADER + elements * ACCUMULATOR_BYTES[accumulator], key };
}

/** Most elements that the outputs of one tap and input channel take, where tiles may hold several columns of each. */
function panelRows(outputs: number, { rows, a_pitch }: CpuTile, columns: number): number {
  const held = Array.from({ length: Math.min(columns, rows) }, (_, i) => i + 1);
  return a_pitch * Math.max(...held.map((count) => Math.ceil(outputs / Math.floor(rows / count)) / count));
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
  const lanes = lanesOf(tunables.tile);
  if (tunables.lanes === 'ch') {
    const turned = problem.layout === 'nhwc' ? 1 : 1.1 + 15 / outputs + 190 / meanDepth(form, g);
    const pieces = shortPieces(problem, form) * ((lanes - 8) / 24);
    return turned / filled(outputs, positions, lanes) + pieces + fewOutputs(problem, form, lanes);
  }
  const layout = problem.layout === 'nchw' ? 1 + 2.2 / Math.max(1, width) : 1.2;
  return layout / filled(positions, outputs, lanes) + aroundPixels(problem, form, outputs);
}

/**
 * Packing a position tap by tap, in pieces of as many neighbours as there are channels, in the time of tiles of 32 lanes:
 * those of 8 compute so long that it is nothing.
 */
function shortPieces({ geometry: g, layout }: Problem, form: Contraction): number {
  return layout === 'nhwc' && form === 'contract' ? (4 * g.groups) / Math.max(1, g.cl) : 0;
}

/** Packing positions tap by tap, where half a tile of outputs or less shares it and each product loads as much as it adds. */
function fewOutputs({ geometry: g, layout }: Problem, form: Contraction, lanes: number): number {
  const outputs = g.cs / g.groups;
  return layout === 'nhwc' && form === 'contract' && lanes >= 32 && g.r * g.s > 1 ? Math.max(0, 20 / outputs - 0.6) : 0;
}

/** Time for each multiply-add of a weight gradient: what packing takes besides, and storing each weight once. */
function gradientCost({ geometry: g }: Problem, _: Contraction, { tile }: Tunables): number {
  const positions = Math.max(1, g.n * g.hs * g.ws);
  return 1.35 / filled(g.cs / g.groups, 8, lanesOf(tile)) + WEIGHT_COST / positions;
}

/** A weight on its way through memory, in multiply-adds. */
const WEIGHT_COST = 19;

/**
 * Packing a vector of inputs, shared by the outputs that it serves, and storing one of outputs, by what was summed. Rows
 * of few positions, whose vectors come from and go to many images, do both element by element.
 */
function aroundPixels(problem: Problem, form: Contraction, outputs: number): number {
  const g: Geometry = problem.geometry;
  const short = Math.max(0, 1 / Math.max(1, g.ws) - 1 / 8);
  const shuffled = form === 'expand' && shufflesPixels(problem);
  const served = Math.max(8, outputs) * (shuffled ? g.r * g.s : 1);
  const store = (shuffled ? 10 : 40) + 300 * short;
  return 10 / served + (90 * short) / Math.max(1, outputs) + store / meanDepth(form, g);
}

/**
 * Whether each output is one tap of one position, packed once for all outputs of it, and those of a row leave as whole
 * vectors of neighbouring columns.
 */
function shufflesPixels({ geometry: g, layout }: Problem): boolean {
  const once = g.r === g.stride[0] && g.s === g.stride[1] && g.dilation.every((d) => d === 1);
  return layout === 'nchw' && once && g.padding.every((p) => p === 0) && [1, 2, 4].includes(g.stride[1]);
}

/** The second number of a register tile's word, `t14x32`. */
const lanesOf = (tile: unknown): number => Number(String(tile).split('x')[1]);

/** Share of the lanes that hold something, half tiles being possible; tiles of fewer than eight rows wait for loads. */
function filled(lanes: number, rows: number, tile: number): number {
  const [used, half] = [Math.max(1, lanes), tile / 2];
  return (used / (Math.ceil(used / half) * half)) * Math.sqrt(Math.min(1, Math.max(1, rows) / 8));
}
