/** What the phase kernels have to do. Instructions are those of nvcc's code, which the simulator's counters check. */

import { SECTOR, WARP, type Work, wholeSectors } from './gpu_work.js';
import { bytes } from './passes.js';
import type { Problem } from './problem.js';
import { DTYPE_TABLE } from './target.js';
import { type PhasePlan, parseTile, phasePlan, sidesOf, wgradSegments } from './tiles.js';
import type { LaunchGeometry, Tunables } from './variant.js';

const WAVEFRONT = 128;
/** Cycles that a warp waits for a load. */
const LOAD_LATENCY = 250;
const START_LATENCY = 1500;

/** Blocks that a multiprocessor shall hold at least. */
export function phaseResident(double: boolean): number {
  return double ? 2 : 3;
}

interface Block {
  readonly threads: number;
  readonly instructions: number;
  readonly products: number;
  readonly wavefronts: number;
  readonly l2Bytes: number;
  readonly latency: number;
}

function launched(problem: Problem, { grid }: LaunchGeometry, block: Block): Work[] {
  const double = DTYPE_TABLE[problem.dtype].accumulator === 'double';
  return [
    {
      blocks: grid[0] * grid[1],
      threads: block.threads,
      resident: phaseResident(double),
      instructions: block.instructions,
      fma: double ? 0 : block.products,
      fma64: double ? block.products : 0,
      mma: null,
      sharedBytes: block.wavefronts * WAVEFRONT,
      l2Bytes: block.l2Bytes,
      dramBytes: bytes(problem),
      latency: START_LATENCY + block.latency,
    },
  ];
}

/** Averages over the blocks of a launch: rows of taps, and of each group of columns what is read and used. */
function tapsOf({ rows, columns, together }: PhasePlan): { rows: number; reads: number; uses: number } {
  const groups = Array.from({ length: columns.phases.length / together }, (_, i) =>
    columns.phases.slice(i * together, (i + 1) * together).flatMap(({ taps }) => taps.map(({ delta }) => delta)),
  );
  const mean = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0) / counts.length;
  return {
    rows: mean(rows.phases.map(({ taps }) => taps.length)),
    reads: mean(groups.map((deltas) => new Set(deltas).size)),
    uses: mean(groups.map((deltas) => deltas.length)),
  };
}

/** Threads do for a load that may lie outside the source, whose bit says so. */
const READ = 6;
/** For a position: three divisions and masks of its taps before, and a store after the sums; for a staged weight. */
const PLACE = 90;
const STORE = 90;
const STAGE = 40;

export function phaseWork(
  problem: Problem,
  form: 'expand' | 'contract',
  tunables: Tunables,
  launch: LaunchGeometry,
): Work[] {
  const { geometry: g, layout, dtype } = problem;
  const { bytes: size } = DTYPE_TABLE[dtype];
  const tile = parseTile(tunables);
  const plan = phasePlan(form, g, tile, dtype);
  const taps = tapsOf(plan);
  const { source } = sidesOf(form, g);
  const inputs = source.channels / g.groups;
  const threads = tile.blockPositions * tile.blockChannels;
  const warps = threads / WARP;
  const width = tile.channels * tile.blockChannels;
  const sums = tile.first * tile.channels;
  const terms = inputs * taps.rows;

  const lanes = Math.min(WARP, tile.blockChannels);
  // Of one load of a warp: four sectors are a wavefront; weights are read one by one.
  const [sourceLines, weightLines] =
    layout === 'nchw'
      ? [form === 'contract' ? Math.min(4, g.stride[1]) : 1, 1]
      : [Math.max(1, WARP / lanes / 4), Math.max(1, (lanes * tile.channels * 4) / WAVEFRONT)];
  const staged = (terms * taps.uses * width) / threads;
  const term = 8 + 8 * tile.first + taps.reads * READ * tile.first + taps.uses * (tile.channels + sums);
  const prologue = 100 + tile.first * (PLACE + 4 * (taps.rows + taps.reads));
  const epilogue = tile.first * STORE + 4 * sums * plan.together;

  const area = tile.first * tile.blockPositions;
  const apart = form === 'contract' ? g.stride[0] * g.stride[1] : 1;
  const filter = Math.min(wholeSectors(g.r * g.s * size), taps.rows * wholeSectors(g.s * size));
  // Columns that other blocks store lie between these, in the same sectors.
  const between = layout === 'nchw' ? plan.columns.phases.length / plan.together : 1;
  const run = layout === 'nchw' ? 1 : wholeSectors(width * size) / (width * size);
  const stored = area * width * plan.together * size * Math.min(between, SECTOR / size) * run;
  return launched(problem, launch, {
    threads,
    instructions: warps * (prologue + terms * term + staged * STAGE + epilogue),
    products: threads * terms * taps.uses * sums,
    wavefronts:
      warps * (terms * (taps.reads * tile.first * sourceLines + taps.uses * tile.channels * weightLines) + 2 * staged),
    l2Bytes: inputs * (area * Math.min(apart, taps.rows * taps.reads) * size + width * filter) + stored,
    latency: terms * (LOAD_LATENCY / 2) + (terms / 64) * LOAD_LATENCY,
  });
}

/** Of wgrad: for a position, for a load, for one addition of the tree, for storing a weight. */
const STEP = 25;
const LOAD = 5;
const ADDITION = 25;
const WEIGHT = 60;

export function phaseWgradWork(problem: Problem, tunables: Tunables, launch: LaunchGeometry): Work[] {
  const { geometry: g, layout, dtype } = problem;
  const { bytes: size } = DTYPE_TABLE[dtype];
  const tile = parseTile(tunables);
  const threads = tile.blockPositions * tile.blockChannels;
  const warps = threads / WARP;
  const { width } = wgradSegments(g.s, tile, dtype);
  const cells = tile.first * tile.channels * width;
  const loads = tile.first + tile.channels * width;
  const positions = g.n * g.hs * g.ws;
  const steps = Math.ceil(positions / tile.blockPositions);

  const lanes = Math.min(WARP, tile.blockChannels);
  const stride = g.stride[1];
  const apart = layout === 'nchw' ? [1, Math.min(8, stride)] : [Math.max(1, WARP / lanes / 4), 1];
  const lines = tile.first * apart[0]! + tile.channels * width * (layout === 'nchw' ? apart[1]! : apart[0]!);
  const additions = (cells * (tile.blockPositions - 1)) / tile.blockPositions;
  const tree = ADDITION * additions + 10 * Math.log2(tile.blockPositions) + (WEIGHT * cells) / tile.blockPositions;
  const columns = Math.min(width, stride);
  const asked =
    layout === 'nchw'
      ? size * (tile.first + tile.channels * tile.blockChannels * Math.max(columns, Math.min(stride, SECTOR / size)))
      : wholeSectors(tile.first * size) + wholeSectors(tile.channels * tile.blockChannels * size) * columns;
  return launched(problem, launch, {
    threads,
    instructions: warps * (150 + steps * (STEP + LOAD * loads + cells) + tree),
    products: threads * steps * cells,
    wavefronts: warps * (steps * lines + cells) + treeWavefronts(cells * tile.blockChannels, tile.blockPositions),
    l2Bytes: positions * asked,
    latency: steps * LOAD_LATENCY + tree,
  });
}

/** Two loads and a store of each addition; below 32 positions the lanes of a warp have several cells, in the same banks. */
function treeWavefronts(cells: number, positions: number): number {
  let accesses = 0;
  for (let half = positions / 2; half >= 1; half /= 2)
    accesses += ((cells * half) / WARP) * Math.max(1, Math.min(WARP, positions) / half);
  return 3 * accesses;
}
