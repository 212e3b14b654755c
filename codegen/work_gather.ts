/**
 * What the gather kernels have to do: 64-bit divisions for every output and every row and column of taps, then two loads
 * and one multiply-add a term. Instructions are those of nvcc's code, which the simulator's counters check.
 */

import { SECTOR, WARP, type Work } from './gpu_work.js';
import { bytes, gradSide } from './passes.js';
import type { Problem } from './problem.js';
import { runLength } from './sums_geometry.js';
import { DTYPE_TABLE } from './target.js';
import { sidesOf } from './tiles.js';
import type { LaunchGeometry } from './variant.js';

const WAVEFRONT = 128;
/** Blocks that a multiprocessor shall hold at least, of 256 threads with 80 registers each. */
export const GATHER_RESIDENT = 3;
/** Cycles of a load that the first level of cache, the second, or memory serves, as they come. */
const LOAD_LATENCY = 250;
const START_LATENCY = 1500;

interface Threads {
  /** Instructions of one warp, multiply-adds among them, and loads of wavefronts. */
  readonly instructions: number;
  readonly terms: number;
  readonly wavefronts: number;
  readonly l2Bytes: number;
  readonly latency: number;
}

/** A launch of these blocks, each of whose warps does the same. */
function launched(problem: Problem, { grid, block }: LaunchGeometry, each: Threads): Work[] {
  const warps = block[0] / WARP;
  const double = DTYPE_TABLE[problem.dtype].accumulator === 'double';
  const products = warps * WARP * each.terms;
  return [
    {
      blocks: grid[0] * grid[1],
      threads: block[0],
      resident: GATHER_RESIDENT,
      instructions: warps * each.instructions,
      fma: double ? 0 : products,
      fma64: double ? products : 0,
      mma: null,
      sharedBytes: warps * each.wavefronts * WAVEFRONT,
      l2Bytes: each.l2Bytes,
      dramBytes: bytes(problem),
      latency: START_LATENCY + each.latency,
    },
  ];
}

/** Instructions of a thread: where an output lies; a row or column of taps that is probed; a term, whose loop is unrolled. */
const OUTPUT = 200;
const PROBE = 60;
const TERM = 5;

export function gatherWork(problem: Problem, form: 'expand' | 'contract', launch: LaunchGeometry): Work[] {
  const { geometry: g, layout, dtype } = problem;
  const size = DTYPE_TABLE[dtype].bytes;
  const { source, output } = sidesOf(form, g);
  const inputs = source.channels / g.groups;
  const [sh, sw] = form === 'expand' ? g.stride : [1, 1];
  // Lanes of other columns have other taps: a warp goes through those of all of them.
  const columnsAWarp = layout === 'nchw' ? WARP : Math.max(1, WARP / output.channels);
  const [rows, columns] = [g.r / sh!, Math.min(g.s, (g.s / sw!) * Math.min(sw!, columnsAWarp))];
  const terms = rows * columns * inputs;
  const outputs = (g.n * output.channels * output.height * output.width) / (launch.grid[0] * launch.block[0]);
  const step = form === 'contract' ? g.stride[1] : 1;
  const spread = layout === 'nchw' ? Math.min(4, step) : columnsAWarp;
  const weightLines = layout === 'nchw' ? 1 : Math.min(WARP, Math.max(1, (WARP * g.r * g.s * size) / WAVEFRONT));
  // What a block reads stays in the first level of cache: its outputs' share of the source, and the weights of its channels.
  const pixels = (launch.block[0] * outputs) / (layout === 'nchw' ? 1 : Math.min(output.channels, launch.block[0]));
  const channels = layout === 'nchw' ? 1 : Math.min(output.channels, launch.block[0]);
  const weights = (channels * inputs * g.r * g.s * size) / sh!;
  const instructions = OUTPUT + PROBE * g.r * (1 + g.s / sh!) + TERM * terms;
  return launched(problem, launch, {
    instructions: Math.max(1, outputs) * instructions,
    terms: outputs * terms,
    wavefronts: outputs * terms * (spread + weightLines),
    l2Bytes: pixels * inputs * size * step + weights + launch.block[0] * outputs * size,
    latency: outputs * (LOAD_LATENCY / 4) * terms,
  });
}

/** Of wgrad: what a thread does for a position, and for the tree. */
const POSITION = 75;
const TREE = 200;

export function gatherWgradWork(problem: Problem, launch: LaunchGeometry): Work[] {
  const { geometry: g, layout, dtype } = problem;
  const size = DTYPE_TABLE[dtype].bytes;
  const weights = ((g.cs * g.cl) / g.groups) * g.r * g.s;
  const each = Math.max(1, weights / launch.grid[0]);
  const positions = Math.ceil((g.n * g.hs * g.ws) / launch.block[0]);
  const stride = g.stride[1];
  const lines = layout === 'nchw' ? 1 + Math.min(4, stride) : 2 * WARP;
  const sectors = layout === 'nchw' ? size * (1 + Math.min(SECTOR / size, stride)) : 2 * SECTOR;
  return launched(problem, launch, {
    instructions: each * (positions * POSITION + TREE),
    terms: each * positions,
    wavefronts: each * (positions * lines + 20),
    l2Bytes: each * positions * launch.block[0] * sectors,
    latency: each * (positions * LOAD_LATENCY + TREE),
  });
}

/** Of bgrad: what a thread does for a run of neighbours. */
const RUN = 16;

export function gatherBgradWork(problem: Problem, launch: LaunchGeometry): Work[] {
  const { hw, c } = gradSide(problem);
  const size = DTYPE_TABLE[problem.dtype].bytes;
  const elements = (problem.geometry.n * hw * c) / (launch.grid[0] * launch.grid[1]);
  const steps = Math.ceil(elements / runLength(size) / launch.block[0]);
  return launched(problem, launch, {
    instructions: steps * RUN + TREE,
    terms: 0,
    wavefronts: steps + 20,
    l2Bytes: elements * size,
    latency: (steps * LOAD_LATENCY) / 4 + TREE,
  });
}
