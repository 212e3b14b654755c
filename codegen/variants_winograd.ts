/**
 * The Winograd rows of the catalogue: products of expand and contract by minimal filtering, F(m, r) on each axis where a
 * part of it (a phase of expand, a residue class of the inputs of contract) has r taps. `f3s`: m = 3, and phases share
 * their input windows.
 */

import { withOverheads } from './cpu_overheads.js';
import type { Contraction, Geometry, Problem } from './problem.js';
import { ACCUMULATOR_BYTES, cpuTileOf, type Target } from './target.js';
import {
  ONE_LAUNCH,
  PACKED_HEADER,
  type Packing,
  type Place,
  type Tunables,
  type Variant,
  type WinogradMode,
} from './variant.js';

/** Outputs of a tile's axis, taps of a part, and the points that both may lead to. */
export const WINOGRAD_OUTPUTS: readonly number[] = [2, 3, 4, 5];
export const WINOGRAD_TAPS: readonly number[] = [1, 2, 3];
const MOST_POINTS = 6;
/** Up to so many points, results are as exact as a direct product's: no transform has other factors than ±1 and ½. */
const EXACT_POINTS = 4;

/** Whether F(outputs, taps) is generated. */
export function isGenerated(outputs: number, taps: number): boolean {
  return taps === 1 || outputs + taps - 1 <= MOST_POINTS;
}

/** The forms that Winograd kernels compute. */
export type WinogradForm = 'expand' | 'contract' | 'wgrad';

/** The words of a kernel's settings: m, and for expand whether windows are shared. */
export function winogradWords(form: WinogradForm): string[] {
  const sharing = form === 'expand' ? ['s', 'u'] : [''];
  return WINOGRAD_OUTPUTS.flatMap((outputs) => sharing.map((word) => `f${outputs}${word}`));
}

interface Settings {
  readonly outputs: number;
  readonly shared: boolean;
}

function settingsOf({ f }: Tunables): Settings {
  return { outputs: Number(String(f)[1]), shared: String(f).endsWith('s') };
}

/** Taps of the parts of an axis. */
function partsOf(kernel: number, stride: number): number[] {
  return Array.from({ length: Math.min(stride, kernel) }, (_, first) => Math.ceil((kernel - first) / stride));
}

interface AxisPlan {
  /** Taps of each part. */
  readonly parts: readonly number[];
  readonly points: number;
  readonly tiles: number;
}

function axisPlan(form: Contraction, g: Geometry, d: 0 | 1, { outputs, shared }: Settings): AxisPlan {
  const [kernel, stride] = [[g.r, g.s][d]!, g.stride[d]];
  const parts = partsOf(kernel, stride);
  const points = parts.reduce((sum, taps) => sum + outputs + taps - 1, 0);
  // Each residue of a dilation is a map of its own.
  const maps = kernel > 1 ? g.dilation[d] : 1;
  const positions = Math.ceil((form === 'expand' ? [g.hl, g.wl][d]! / stride : [g.hs, g.ws][d]!) / maps);
  // Phases that share windows are up to one position apart.
  const spread = form === 'expand' && shared && stride > 1 && g.padding[d] % stride !== 0 ? 1 : 0;
  return { parts, points, tiles: maps * Math.ceil((positions + spread) / outputs) };
}

const isaOf = (target: Target) => (target.kind === 'cpu' ? target.isa : 'baseline');

function legal(problem: Problem, form: Contraction, tunables: Tunables, { winograd = 'accurate' }: Place) {
  const { geometry: g, dtype } = problem;
  const settings = settingsOf(tunables);
  if (winograd === 'off') return 'backends.cpu.winograd is off';
  if (dtype === 'float64') return 'there are no float64 kernels';
  if (Math.min(g.n, g.cs, g.hs, g.ws, g.cl, g.hl, g.wl) === 0) return 'some tensor is empty';
  return (
    refusedAxis(g, 0, settings, winograd) ?? refusedAxis(g, 1, settings, winograd) ?? refusedShape(form, g, settings)
  );
}

function refusedAxis(g: Geometry, d: 0 | 1, { outputs, shared }: Settings, mode: WinogradMode): string | null {
  const [kernel, stride, size] = [[g.r, g.s][d]!, g.stride[d], [g.hl, g.wl][d]!];
  if (g.dilation[d] !== 1 && kernel > 1 && !isOfMaps(g, d)) {
    return 'the kernel is dilated, and its stride is not 1, or its padding or sizes are no multiples of the dilation';
  }
  if (stride > kernel) return 'the stride is larger than the kernel';
  if (size < stride) return 'the large side is smaller than the stride';
  const taps = Math.ceil(kernel / stride);
  if (!WINOGRAD_TAPS.includes(taps)) return `some phase has ${taps} taps`;
  if (!isGenerated(outputs, taps)) return `F(${outputs}, ${taps}) has too many points`;
  if (mode !== 'fast' && taps > 1 && outputs + taps - 1 > EXACT_POINTS) {
    return `F(${outputs}, ${taps}) is less exact: backends.cpu.winograd = 'fast' allows it`;
  }
  return shared && kernel % stride !== 0 ? 'phases that share windows must have equally many taps' : null;
}

/** Whether the residues of a dilation are maps of their own that are all alike (cpu/winograd_maps.h). */
function isOfMaps(g: Geometry, d: 0 | 1): boolean {
  const lengths = [g.padding[d], [g.hs, g.ws][d]!, [g.hl, g.wl][d]!];
  return g.stride[d] === 1 && lengths.every((length) => length % g.dilation[d] === 0);
}

function refusedShape(form: Contraction, g: Geometry, { shared }: Settings): string | null {
  if (Math.ceil(g.r / g.stride[0]) === 1 && Math.ceil(g.s / g.stride[1]) === 1) return 'no phase has more than one tap';
  return shared && form === 'expand' && g.stride[0] * g.stride[1] === 1 ? 'there is one phase only' : null;
}

/** Panels of output channels, in each the points of all pairs of parts, as cpu/conv_winograd.cc lays them out. */
function packs(problem: Problem, form: Contraction, tunables: Tunables, target: Target): Packing {
  const { cs, cl, groups, r, s, stride, padding } = problem.geometry;
  const settings = settingsOf(tunables);
  const { lanes, width } = cpuTileOf(isaOf(target), 'float');
  const [inputs, outputs] = form === 'expand' ? [cs / groups, cl / groups] : [cl / groups, cs / groups];
  const points = ([0, 1] as const).map((d) => axisPlan(form, problem.geometry, d, settings).points);
  const elements =
    groups * Math.ceil(outputs / lanes) * lanes * Math.ceil(inputs / width) * width * points[0]! * points[1]!;
  const key = [cs, cl, r, s, groups, stride, padding].join(' ');
  return { bytes: PACKED_HEADER + elements * ACCUMULATOR_BYTES.float, key };
}

/**
 * Time for each multiply-add that is asked for: those of the products, and vector instructions of the transforms for
 * every element of V, of M and of the output. Filters that no cache holds are read from memory for every block of tiles.
 */
function cost(problem: Problem, form: Contraction, tunables: Tunables, { target }: Place): number {
  const g = problem.geometry;
  const settings = settingsOf(tunables);
  const { rows, lanes, width } = cpuTileOf(isaOf(target), 'float');
  const [inputs, outputs] = form === 'expand' ? [g.cs / g.groups, g.cl / g.groups] : [g.cl / g.groups, g.cs / g.groups];
  const [depth, across] = [Math.ceil(inputs / width) * width, Math.ceil(outputs / lanes) * lanes];
  const [h, w] = [axisPlan(form, g, 0, settings), axisPlan(form, g, 1, settings)];
  const tiles = g.n * h.tiles * w.tiles;
  const points = h.points * w.points;
  const windows = form === 'expand' && settings.shared ? points / (h.parts.length * w.parts.length) : points;
  const products = form === 'expand' ? points : points / (h.parts.length * w.parts.length);
  const written = settings.outputs ** 2 * (form === 'expand' ? g.stride[0] * g.stride[1] : 1);
  // Register tiles of few rows wait for loads.
  const waste = Math.max(1, Math.min(8, rows) / (tiles / Math.ceil(tiles / rows)));
  const multiplied = tiles * points * depth * across * waste;
  const transformed = tiles * (INPUT_COST * windows * depth + across * (OUTPUT_COST * products + STORE_COST * written));
  const filters = FILTER_COST * points * depth * across;
  const nominal = g.n * g.hs * g.ws * inputs * outputs * g.r * g.s;
  return (multiplied / EFFICIENCY + transformed + filters) / nominal;
}

/**
 * The same of the weight's gradient: products over tiles, transforms of each tile of both tensors, and for every weight
 * the sums at its points, which are kept, transformed and stored once.
 */
function gradientCost(problem: Problem, form: Contraction, tunables: Tunables, { target }: Place): number {
  const g = problem.geometry;
  const { rows, lanes, width } = cpuTileOf(isaOf(target), 'float');
  const [small, large] = [g.cs / g.groups, g.cl / g.groups];
  const settings = settingsOf(tunables);
  const [h, w] = [axisPlan(form, g, 0, settings), axisPlan(form, g, 1, settings)];
  const tiles = g.n * h.tiles * w.tiles;
  const points = h.points * w.points;
  // Register tiles of few rows wait for loads.
  const waste = Math.max(1, Math.min(8, rows) / large);
  const sums = points * Math.ceil(small / (lanes / 2)) * (lanes / 2) * large;
  const ofLarge = Math.ceil(large / width) * width * points;
  const ofSmall = Math.ceil(small / width) * width * differentPoints(h, settings) * differentPoints(w, settings);
  const spilled =
    tiles * ofLarge * ACCUMULATOR_BYTES.float > GRADIENT_CACHE ? GRADIENT_SPILL_COST * tiles * ofLarge : 0;
  const transformed = GRADIENT_TILE_COST * tiles * (ofLarge + ofSmall) + spilled;
  const nominal = g.n * g.hs * g.ws * small * large * g.r * g.s;
  return ((tiles * sums * waste) / GRADIENT_EFFICIENCY + transformed + GRADIENT_SUM_COST * sums) / nominal;
}

/** Points of an axis, those of parts with as many taps counted once: such parts share the tiles of the small side. */
function differentPoints({ parts }: AxisPlan, { outputs }: Settings): number {
  return [...new Set(parts)].reduce((sum, taps) => sum + outputs + taps - 1, 0);
}

/** Share of the peak that the products reach, and what transforms cost in multiply-adds an element. */
const EFFICIENCY = 0.88;
const INPUT_COST = 6;
const OUTPUT_COST = 3;
const STORE_COST = 6;
const FILTER_COST = 2;
/** The same of the weight's gradient: share of the peak, and multiply-adds a transformed element and a sum. */
const GRADIENT_EFFICIENCY = 0.75;
const GRADIENT_TILE_COST = 8;
const GRADIENT_SUM_COST = 24;
/** Bytes of transformed tiles of the large side that a last-level cache holds, and what an element costs that it does not. */
const GRADIENT_CACHE = 2 ** 25;
const GRADIENT_SPILL_COST = 36;

function tunables({ dtype }: Pick<Problem, 'dtype'>, form: Contraction, target: Target): Tunables[] {
  if (dtype === 'float64') return [];
  const { rows, lanes } = cpuTileOf(isaOf(target), 'float');
  return winogradWords(form as WinogradForm).map((f) => ({ f, tile: `t${rows}x${lanes}` }));
}

export const WINOGRAD_VARIANTS: readonly Variant[] = [
  {
    name: 'winograd',
    device: 'cpu',
    forms: ['expand', 'contract'],
    template: 'winograd.cpp.njk',
    kind: 'general',
    tunables,
    packs,
    legal,
    cost: withOverheads('winograd', cost),
    launch: () => ONE_LAUNCH,
  },
  {
    name: 'winograd',
    device: 'cpu',
    forms: ['wgrad'],
    template: 'winograd.cpp.njk',
    kind: 'general',
    tunables,
    legal,
    cost: withOverheads('winograd', gradientCost),
    launch: () => ONE_LAUNCH,
  },
];
