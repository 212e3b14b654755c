/**
 * How blocks and lanes of sums are laid out over outputs and terms: a function of the sizes alone, written here for the
 * launch and in lib/cuda_sums.cu.njk for the kernel.
 */

import type { LaunchGeometry } from './variant.js';

export const THREADS = 256;
/** A lane has this many runs of its own before a reduction gets another. */
const LANE_TERMS = 4;
/** Neighbouring columns (runs of outputs) that a block takes at most when it has many rows. */
export const MOST_ACROSS = 32;
/** Blocks of a reduction whose groups of outputs are shared: two for each multiprocessor of a large GPU, and some more. */
export const SHARED_BLOCKS = 512;
const MOST_BLOCKS = 1 << 16;

/** Neighbours of `bytes` each that a thread takes together: 16 bytes, 8 of a 16-bit type. */
export const runLength = (bytes: number): number => Math.min(4, 16 / bytes);

function powerOfTwo(atLeast: number, most: number): number {
  let power = 1;
  while (power < most && power < atLeast) power *= 2;
  return power;
}

const lanesFor = (count: number, most: number) => powerOfTwo(count / LANE_TERMS, most);

/** `outputs` sums of `units` runs each. */
export function rowsGeometry(outputs: number, units: number): LaunchGeometry {
  const lanes = lanesFor(units, THREADS);
  const groups = Math.ceil(outputs / (THREADS / lanes));
  return geometry(groups, lanes < THREADS ? 1 : units / (THREADS * LANE_TERMS));
}

/** `boxes` times `runs` runs of neighbouring sums of `rows` each. */
export function columnsGeometry(boxes: number, rows: number, runs: number): LaunchGeometry {
  const narrow = powerOfTwo(runs, MOST_ACROSS);
  const lanes = lanesFor(rows, THREADS / narrow);
  const across = lanes * narrow < THREADS ? powerOfTwo(runs, THREADS / lanes) : narrow;
  const groups = Math.ceil(runs / across) * Math.ceil(boxes / (THREADS / (across * lanes)));
  return geometry(groups, lanes < THREADS / narrow ? 1 : rows / (lanes * LANE_TERMS));
}

/** Blocks along x for groups of outputs, along y for segments of their terms where groups are few. */
function geometry(groups: number, most: number): LaunchGeometry {
  const segments = Math.max(1, Math.floor(Math.min(SHARED_BLOCKS / groups, most)));
  return { grid: [Math.min(MOST_BLOCKS, Math.max(1, groups)), segments, 1], block: [THREADS, 1, 1], sharedBytes: 0 };
}
