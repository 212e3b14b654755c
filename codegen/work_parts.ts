/** Sums in parts: what adding them up costs, and how many are best. */

import type { Gpu } from './gpu.js';
import { seconds, WARP, type Work } from './gpu_work.js';

/** Bytes of all parts together. */
export const MOST_BYTES = 64 * 2 ** 20;
const MOST_PARTS = 1024;
/** Tiles whose blocks join their sums: each has a counter in the kernel's module. */
export const MOST_TILES = 4096;
/** How many times faster more parts have to be: each is written and read once more. */
const MARGIN = 1.03;
/** Times the best so far: more parts will not be better again. */
const TOO_LONG = 2;

/** Results, of `size` bytes each, that a launch leaves as float32 sums of parts. */
export interface Results {
  readonly elements: number;
  readonly size: number;
}

/** A launch that writes results, and with more parts than one the launch of sum_parts behind it. */
export function inParts(products: Work, { elements, size }: Results, parts: number): Work[] {
  if (parts === 1) return [products];
  const dramBytes = products.dramBytes + elements * (parts * 4 - size);
  return [{ ...products, dramBytes }, sumOfParts(elements, parts, size)];
}

/** Tiles of a launch, and what a block of it leaves of one. */
export interface Tiles {
  readonly tiles: number;
  readonly sums: number;
}

/** Instructions of a thread for four sums of a part that it adds. */
const JOIN = 7;

/** A launch whose blocks leave their sums in parts, and of which the last one of a tile adds those up. */
export function joined(products: Work, { tiles, sums }: Tiles, parts: number): Work {
  const left = 4 * sums;
  return {
    ...products,
    instructions: products.instructions + (JOIN * sums) / 4 / WARP,
    sharedBytes: products.sharedBytes + left,
    l2Bytes: products.l2Bytes + left,
    dramBytes: products.dramBytes + 2 * parts * tiles * left,
    join: { tiles, bytes: parts * left },
  };
}

/** The launch of sum_parts: runs of four sums a thread. */
function sumOfParts(elements: number, parts: number, size: number): Work {
  const threads = 256;
  const lanes = Math.max(1, Math.min(8, parts / 4));
  const runs = (4 * threads) / lanes;
  return {
    blocks: Math.ceil(elements / runs),
    threads,
    resident: 3,
    instructions: (threads / WARP) * (100 + (8 * parts) / lanes),
    fma: 0,
    mma: null,
    sharedBytes: 0,
    l2Bytes: runs * (parts * 4 + size),
    dramBytes: (parts * 4 + size) * elements,
    latency: 2000,
  };
}

/** Sums of so many steps of k, to be cut into parts of `least` steps or more. */
export interface Cut {
  readonly steps: number;
  readonly least: number;
  /** Sums of a part. */
  readonly elements: number;
  /** All launches of a number of parts. */
  readonly work: (parts: number) => readonly Work[];
}

/** The number of parts, `fewest` or more, that the model finds fastest. */
export function bestParts({ steps, least, elements, work }: Cut, gpu: Gpu, fewest: number): number {
  const most = Math.min(MOST_PARTS, steps / least, MOST_BYTES / (4 * elements));
  let best = { parts: fewest, time: seconds(work(fewest), gpu) };
  for (let parts = fewest + 1; parts <= most; parts += Math.max(1, parts >> 2)) {
    // Only counts that give every part as many steps as they say.
    const even = Math.ceil(steps / Math.ceil(steps / parts));
    const time = seconds(work(even), gpu);
    if (MARGIN * time < best.time) best = { parts: even, time };
    if (time > TOO_LONG * best.time) break;
  }
  return best.parts;
}
