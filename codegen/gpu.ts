/**
 * The GPUs that the cost model knows: one for each architecture that kernels are generated for, the one that most of its
 * users have. Rates are those of dense products without sparsity.
 *
 * Where the figures come from: multiprocessors, clocks, peaks, memory and shared memory from NVIDIA's architecture white
 * papers and data sheets (Turing, GA100, GA102, AD102, GH100, Blackwell) and, for shared memory, registers and warps, the CUDA C++
 * Programming Guide's table of compute capabilities. [m] marks what is from measurements that others published, [g] what
 * is a guess where nothing was found; no figure here was measured by this project.
 */

import type { Target } from './target.js';

/** Flops a second at most, a multiply-add counting two: what roofs are drawn with. */
export interface GpuPeaks {
  readonly float32: number;
  /** On the tensor cores, sums in float32. Of bfloat16 too, where there is bfloat16. */
  readonly float16: number;
  /** Zero where there are none. */
  readonly tf32: number;
}

export interface Gpu {
  readonly name: string;
  readonly multiprocessors: number;
  /** Cycles a second, boosted. */
  readonly clock: number;
  /** Multiply-adds a cycle and multiprocessor on ordinary cores. */
  readonly fma: { readonly float32: number; readonly float64: number };
  /** Multiply-adds a cycle and multiprocessor that mma.sync reaches with sums in float32; zero where it does not exist. */
  readonly mma: { readonly f16: number; readonly bf16: number; readonly tf32: number };
  /** Bytes a cycle and multiprocessor between registers and shared memory or the first level of cache, one data path. */
  readonly sharedBytes: number;
  /** Bytes a second between the second level of cache and all multiprocessors. */
  readonly l2Bytes: number;
  /** Bytes a second of device memory. */
  readonly dramBytes: number;
  /** Of one multiprocessor: bytes of shared memory that its blocks may have together, registers, warps. */
  readonly sharedMemory: number;
  readonly registers: number;
  readonly warps: number;
  /** Seconds from one launch of a stream to the next that are nobody's work. */
  readonly launch: number;
  readonly peaks: GpuPeaks;
}

const KIB = 1024;
const TERA = 1e12;
/** Registers of a multiprocessor, the same on all of them. */
const REGISTERS = 65536;
/** 2 to 3 µs are what is measured for launches that follow one another, half of it in a graph [m]. */
const LAUNCH = 2.5e-6;
/** Load and store of 32 words a cycle; Turing's load units serve half as many [m]. */
const SHARED = 128;

/** Share of the tensor cores' peak that mma.sync reaches on Hopper, whose full rate takes wgmma [m]. */
const HOPPER_MMA = 0.62;

/** Multiply-adds a cycle of one of `multiprocessors` for a peak in flops a second. */
const each = (peak: number, multiprocessors: number, clock: number): number => peak / 2 / multiprocessors / clock;

export const GPUS = {
  T4: {
    name: 'T4',
    multiprocessors: 40,
    clock: 1.59e9,
    fma: { float32: 64, float64: 2 },
    mma: { f16: 512, bf16: 0, tf32: 0 },
    sharedBytes: SHARED / 2,
    l2Bytes: 1.27 * TERA, // [m]
    dramBytes: 0.32 * TERA,
    sharedMemory: 64 * KIB,
    registers: REGISTERS,
    warps: 32,
    launch: LAUNCH,
    peaks: { float32: 8.1 * TERA, float16: 65 * TERA, tf32: 0 },
  },
  A100: {
    name: 'A100 SXM 80 GB',
    multiprocessors: 108,
    clock: 1.41e9,
    fma: { float32: 64, float64: 32 },
    mma: { f16: 1024, bf16: 1024, tf32: 512 },
    sharedBytes: SHARED,
    l2Bytes: 5120 * 1.41e9,
    dramBytes: 2.04 * TERA,
    sharedMemory: 164 * KIB,
    registers: REGISTERS,
    warps: 64,
    launch: LAUNCH,
    peaks: { float32: 19.5 * TERA, float16: 312 * TERA, tf32: 156 * TERA },
  },
  RTX3090: {
    name: 'RTX 3090',
    multiprocessors: 82,
    clock: 1.695e9,
    fma: { float32: 128, float64: 2 },
    mma: { f16: 256, bf16: 256, tf32: 128 },
    sharedBytes: SHARED,
    l2Bytes: 2.5 * TERA, // [g]
    dramBytes: 0.936 * TERA,
    sharedMemory: 100 * KIB,
    registers: REGISTERS,
    warps: 48,
    launch: LAUNCH,
    peaks: { float32: 35.6 * TERA, float16: 71 * TERA, tf32: 35.6 * TERA },
  },
  RTX4090: {
    name: 'RTX 4090',
    multiprocessors: 128,
    clock: 2.52e9,
    fma: { float32: 128, float64: 2 },
    mma: { f16: 256, bf16: 256, tf32: 128 },
    sharedBytes: SHARED,
    l2Bytes: 5 * TERA, // [m]
    dramBytes: 1.008 * TERA,
    sharedMemory: 100 * KIB,
    registers: REGISTERS,
    warps: 48,
    launch: LAUNCH,
    peaks: { float32: 82.6 * TERA, float16: 165.2 * TERA, tf32: 82.6 * TERA },
  },
  H100: {
    name: 'H100 SXM',
    multiprocessors: 132,
    clock: 1.98e9,
    fma: { float32: 128, float64: 64 },
    mma: {
      f16: each(HOPPER_MMA * 989.4 * TERA, 132, 1.98e9),
      bf16: each(HOPPER_MMA * 989.4 * TERA, 132, 1.98e9),
      tf32: each(HOPPER_MMA * 494.7 * TERA, 132, 1.98e9),
    },
    sharedBytes: SHARED,
    l2Bytes: 5.6 * TERA, // [m]
    dramBytes: 3.35 * TERA,
    sharedMemory: 228 * KIB,
    registers: REGISTERS,
    warps: 64,
    launch: LAUNCH,
    peaks: { float32: 66.9 * TERA, float16: 989.4 * TERA, tf32: 494.7 * TERA },
  },
  B200: {
    name: 'B200',
    multiprocessors: 148,
    clock: 1.965e9,
    fma: { float32: 128, float64: 64 },
    // Its full rate takes tcgen05; mma.sync as on an A100 [g].
    mma: { f16: 1024, bf16: 1024, tf32: 512 },
    sharedBytes: SHARED,
    l2Bytes: 8 * TERA, // [g]
    dramBytes: 8 * TERA,
    sharedMemory: 228 * KIB,
    registers: REGISTERS,
    warps: 64,
    launch: LAUNCH,
    peaks: { float32: 74.4 * TERA, float16: 2250 * TERA, tf32: 1125 * TERA },
  },
  RTX5090: {
    name: 'RTX 5090',
    multiprocessors: 170,
    clock: 2.407e9,
    fma: { float32: 128, float64: 2 },
    mma: { f16: 256, bf16: 256, tf32: 128 },
    sharedBytes: SHARED,
    l2Bytes: 6 * TERA, // [g]
    dramBytes: 1.792 * TERA,
    sharedMemory: 100 * KIB,
    registers: REGISTERS,
    warps: 48,
    launch: LAUNCH,
    peaks: { float32: 104.8 * TERA, float16: 209.5 * TERA, tf32: 104.8 * TERA },
  },
} as const satisfies Readonly<Record<string, Gpu>>;

const BY_ARCHITECTURE: Readonly<Record<Extract<Target, { kind: 'cuda' }>['arch'], Gpu>> = {
  75: GPUS.T4,
  80: GPUS.A100,
  86: GPUS.RTX3090,
  87: GPUS.RTX3090,
  89: GPUS.RTX4090,
  90: GPUS.H100,
  100: GPUS.B200,
  103: GPUS.B200,
  110: GPUS.RTX5090,
  120: GPUS.RTX5090,
  121: GPUS.RTX5090,
};

/** The GPU that stands for a target; PTX is for what is newer than the cubins, and compared with as if it were an H100. */
export function gpuOf(target: Target): Gpu {
  return target.kind === 'cuda' ? BY_ARCHITECTURE[target.arch] : GPUS.H100;
}
