/**
 * What a kernel has to do, counted, and the time that a GPU takes for it at least.
 *
 *     time = Σ launches: launch + max(waves, L2, DRAM) + a tenth of what the other two take
 *     waves = Σ wave + what the last block of a tile does when the others have left their parts
 *     wave = max(blocks on the busiest multiprocessor × t, latency + t of one warp)
 *     t    = the largest of issue, FMA, tensor cores, shared memory, and a tenth of the others, in cycles
 *
 * A multiprocessor issues four warp instructions a cycle, one for each of its schedulers. The tenth stands for what does
 * not overlap: with it, 128×128 tiles of bfloat16 reach the 70 to 90 % of mma.sync's peak that such kernels are known for.
 */

import type { Gpu } from './gpu.js';

/** One launch. Figures of a block are of an average one. */
export interface Work {
  /** Of the launch. */
  readonly blocks: number;
  /** Of a block. */
  readonly threads: number;
  /** Blocks that a multiprocessor holds, as the kernel declares them. */
  readonly resident: number;
  /** Warp instructions that a block issues: prologue, loops, epilogue. */
  readonly instructions: number;
  /** Multiply-adds that a block issues on the float32 pipe, those of padding and of idle lanes included. */
  readonly fma: number;
  /** The same on the float64 pipe. */
  readonly fma64?: number;
  /** Multiply-adds of a block on tensor cores, padding included; bfloat16 counts as f16. */
  readonly mma: { readonly type: 'f16' | 'tf32'; readonly multiplyAdds: number } | null;
  /**
   * Bytes that a block moves between registers and shared memory or the first level of cache, 128 a wavefront; copies
   * that bypass registers count where they arrive.
   */
  readonly sharedBytes: number;
  /** Bytes that a block asks of the second level of cache, in whole sectors of 32; what the first level keeps left out. */
  readonly l2Bytes: number;
  /** Of the launch: each tensor once, partial sums written and read. */
  readonly dramBytes: number;
  /** Cycles that a block waits for its own loads and barriers, however idle its multiprocessor is; 0 where not told. */
  readonly latency?: number;
  /** Tiles whose blocks take parts of a sum, and bytes of parts that the last block of a tile adds up when all have left theirs. */
  readonly join?: { readonly tiles: number; readonly bytes: number };
}

/** Threads of a warp. */
export const WARP = 32;

/** Bytes of a sector, in which the second level of cache and device memory are read and written. */
export const SECTOR = 32;

/** Bytes of the sectors that so many bytes from the beginning of one on lie in. */
export const wholeSectors = (bytes: number): number => Math.ceil(bytes / SECTOR) * SECTOR;

/** What does not overlap of the shorter terms. */
const EXPOSED = 0.1;
/** Schedulers of a multiprocessor; each issues one warp instruction a cycle. */
const SCHEDULERS = 4;
/** Bytes a cycle between one multiprocessor and the second level of cache, however idle the others are. */
const PORT = 64;

/** Cycles from a block's last sum to the first of the others' that it adds: a fence, a counter and a load, one after another. */
const JOIN_LATENCY = 2200;
/** Bytes a cycle that a block reads of parts: what it has registers for, in the time of a load from the second level [g]. */
const JOIN_BYTES = 32;

/** The terms of one launch in seconds, for reports; `waves` is what those up to `shared` come to, block by block. */
export interface Terms {
  readonly launch: number;
  readonly waves: number;
  readonly issue: number;
  readonly fma: number;
  readonly mma: number;
  readonly shared: number;
  readonly l2: number;
  readonly dram: number;
}

/** Of all launches of an operation, one after another. */
export function seconds(works: readonly Work[], gpu: Gpu): number {
  return works.reduce((sum, work) => sum + launchSeconds(work, gpu), 0);
}

function launchSeconds(work: Work, gpu: Gpu): number {
  const { launch, waves, l2, dram } = terms(work, gpu);
  return launch + exposed([waves, l2, dram]);
}

export function terms(work: Work, gpu: Gpu): Terms {
  const block = cycles(work, gpu);
  const busiest = Math.max(1, work.blocks / gpu.multiprocessors) / gpu.clock;
  return {
    launch: gpu.launch,
    waves: wavesOf(work, gpu) / gpu.clock + joinSeconds(work, gpu),
    issue: block.issue * busiest,
    fma: (block.fma + block.fma64) * busiest,
    mma: block.mma * busiest,
    shared: block.shared * busiest,
    l2: Math.max((work.l2Bytes * work.blocks) / gpu.l2Bytes, (work.l2Bytes / PORT) * busiest),
    dram: work.dramBytes / gpu.dramBytes,
  };
}

type Cycles = Readonly<Record<'issue' | 'fma' | 'fma64' | 'mma' | 'shared', number>>;

/** Cycles of a multiprocessor for one block, by what it is busy with. */
function cycles(work: Work, gpu: Gpu): Cycles {
  const { instructions, fma, fma64 = 0, mma, sharedBytes } = work;
  return {
    issue: instructions / SCHEDULERS,
    fma: fma / gpu.fma.float32,
    fma64: fma64 / gpu.fma.float64,
    mma: mma === null ? 0 : mma.multiplyAdds / gpu.mma[mma.type],
    shared: sharedBytes / gpu.sharedBytes,
  };
}

/** Cycles of one warp of a block that has the multiprocessor to itself: it uses one scheduler and the units of that. */
function warpCycles({ issue, fma, fma64, mma, shared }: Cycles, { threads }: Work, gpu: Gpu): number {
  const warps = Math.max(1, threads / WARP);
  const own = SCHEDULERS / warps;
  // Where there are fewer float64 lanes than schedulers, all share them, as they share the way to memory.
  const double = gpu.fma.float64 < SCHEDULERS ? 1 / warps : own;
  return exposed([issue * own, fma * own, mma * own, fma64 * double, shared / warps]);
}

/** Cycles until the last wave of blocks is done. */
function wavesOf(work: Work, gpu: Gpu): number {
  const { blocks, resident, latency = 0 } = work;
  const each = cycles(work, gpu);
  const [block, warp] = [exposed(Object.values(each)), warpCycles(each, work, gpu)];
  const held = (count: number) => (count === 0 ? 0 : Math.max(count * block, latency + warp));
  const full = Math.floor(blocks / (gpu.multiprocessors * resident));
  const rest = blocks - full * gpu.multiprocessors * resident;
  return full * held(resident) + held(Math.ceil(rest / gpu.multiprocessors));
}

/** Until the last block of every tile has added up the parts. */
function joinSeconds({ join }: Work, gpu: Gpu): number {
  if (join === undefined) return 0;
  const { tiles, bytes } = join;
  const read = (Math.ceil(tiles / gpu.multiprocessors) * bytes) / JOIN_BYTES;
  return Math.max((JOIN_LATENCY + read) / gpu.clock, (tiles * bytes) / gpu.l2Bytes);
}

function exposed(times: readonly number[]): number {
  const most = Math.max(...times);
  return most + EXPOSED * (times.reduce((sum, time) => sum + time, 0) - most);
}
