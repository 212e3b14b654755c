/**
 * The addon's surface as one type, and the only place it is loaded. Device 0 is the CPU, device 1 + i is CUDA device i.
 * Every function may throw an Error with a `code` of errors.ts; `device.ts` is its only user.
 */

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { FracstrideError } from './errors.js';

export interface CpuInfo {
  /** Instruction sets this machine runs and this build holds kernels for, best first. */
  isas: string[];
  /** Threads that share the work of a kernel. */
  threads: number;
}

export interface CudaDeviceInfo {
  name: string;
  /** Compute capability, e.g. 90. */
  arch: number;
  multiprocessors: number;
  totalMemory: number;
  clockRateKhz: number;
  memoryClockRateKhz: number;
  memoryBusWidthBits: number;
  l2CacheBytes: number;
}

export interface CudaInfo {
  available: boolean;
  /** Why not, one sentence; null when available. */
  reason: string | null;
  /** cuDriverGetVersion, 0 when there is no driver. */
  driverVersion: number;
  devices: CudaDeviceInfo[];
}

export interface MemoryInfo {
  /** Bytes of buffers that are allocated now, exactly as asked for. */
  live: number;
  /** Bytes kept for re-use. */
  cached: number;
  /** Largest `live` so far. */
  peak: number;
  /** Bytes that recorded graphs keep for their replays and no buffer holds; 0 on a CPU. */
  graphs: number;
}

export interface NvrtcInfo {
  available: boolean;
  /** Why not, one sentence; null when available. */
  reason: string | null;
  /** Of the library that was opened; empty when there is none. */
  path: string;
  major: number;
  minor: number;
  /** Compute capabilities it compiles for, e.g. 75, 80. */
  architectures: number[];
}

export interface CudnnInfo {
  available: boolean;
  /** Why not, one sentence that ends with what to do; null when available. */
  reason: string | null;
  /** cudnnGetVersion, e.g. 91002; 0 when no library was opened. */
  version: number;
  /** Of the library that was opened; empty when there is none. */
  path: string;
}

/** An algorithm of cuDNN for one problem, as its heuristics or its measurement describe it. */
export interface CudnnAlgorithm {
  /** Value of cudnnConvolutionBwdDataAlgo_t, cudnnConvolutionFwdAlgo_t or cudnnConvolutionBwdFilterAlgo_t. */
  algo: number;
  /** 0 when it can run, else a cudnnStatus_t. */
  status: number;
  /** Milliseconds as measured; of the heuristics an estimate, negative when there is none. */
  time: number;
  /** Bytes of workspace. */
  memory: number;
  deterministic: boolean;
  /** cudnnMathType_t. */
  mathType: number;
}

export interface Native {
  cpuInfo(): CpuInfo;
  /** Resizes the thread team (1 … 1024). */
  setThreads(count: number): void;
  cudaInfo(): CudaInfo;
  /** Names of kernels compiled into the addon for this device (CPU: of every instruction set this machine runs). */
  kernelNames(device: number): string[];

  /** A buffer of `bytes` (≥ 0) bytes, contents undefined; returns a handle > 0 that stays unique for the process. */
  alloc(device: number, bytes: number): number;
  /** Releases a buffer; a handle that is not live is ignored. */
  free(device: number, handle: number): void;
  copyIn(device: number, handle: number, byteOffset: number, source: ArrayBufferView): void;
  /** Waits for the work that was launched before. */
  copyOut(device: number, handle: number, byteOffset: number, target: ArrayBufferView): void;
  /**
   * The same without waiting: the copy comes after the work launched so far, and the buffer may be freed at once. The
   * promise rejects with an Error with a `code` when the copy, or work before it, failed. `target` must not be detached
   * before. A pending copy keeps the process alive; it ends with its environment.
   */
  copyOutAsync(device: number, handle: number, byteOffset: number, target: ArrayBufferView): Promise<void>;
  memory(device: number): MemoryInfo;
  /** Gives cached bytes back to the system. */
  emptyCache(device: number): void;
  /** Refuses allocations that would take `live` above this many bytes; 0 removes the limit. */
  setMemoryLimit(device: number, bytes: number): void;
  /**
   * Debug mode, for every device in use: new buffers are filled with 0xFF bytes and lie between two guard zones of 64
   * bytes, and released ones are overwritten.
   */
  debugMemory(on: boolean): void;
  /** Damaged guard zones of live buffers, and of those released since debug mode was last switched on. */
  checkGuards(): number;

  /**
   * A kernel by name: compiled in, or from `image` (cubin, fatbin or PTX; CUDA only). `kinds` has one letter an
   * argument: p i l f d P L, as codegen/passes.ts defines them. Returns a handle > 0.
   */
  load(device: number, name: string, kinds: string, image: Uint8Array | null): number;
  /**
   * The argument staging area: `launch` reads its arguments from here. A pointer takes three slots: buffer handle, byte
   * offset, bytes used; handle 0 is the null pointer. Anything else is one number. A table is the number of its entries,
   * then the entries.
   */
  readonly args: Float64Array;
  /** Grid x y z, block x y z and bytes of shared memory of the next launch; a CPU has no use for them. */
  readonly grid: Uint32Array;
  /** Launches with what `args` and `grid` hold. A pointer is refused unless its buffer is live and holds its bytes. */
  launch(device: number, kernel: number): void;
  sync(device: number): void;

  /**
   * From here on launches on this device are recorded and do not run; what would have to wait, and copies from
   * JavaScript, are refused. Buffers allocated until the end belong to the graph: their memory serves nothing else.
   */
  beginCapture(device: number): void;
  /** A handle > 0 of what was recorded. Whatever it throws, recording has ended. */
  endCapture(device: number): number;
  /** Ends a recording that is of no use; does nothing when there is none. */
  abortCapture(device: number): void;
  replayGraph(device: number, graph: number): void;
  freeGraph(device: number, graph: number): void;

  /** NVRTC, opened on first use. */
  nvrtcInfo(): NvrtcInfo;
  /** Compiles one CUDA text: machine code (`cubin`) or PTX. Throws ERR_KERNEL_COMPILE with the first lines of the log. */
  nvrtcCompile(name: string, source: string, options: string[], cubin: boolean): { image: Uint8Array; log: string };

  /** cuDNN, opened on first use; needs no device. */
  cudnnInfo(): CudnnInfo;
  /**
   * A problem in cuDNN's terms, described once; returns a handle > 0 that ends with `cudnnFree` or the environment.
   * `form`: 0 expand (BackwardData), 1 contract (Forward), 2 wgrad (BackwardFilter), 3 bgrad (BackwardBias).
   * `problem`: n, cs, hs, ws, cl, hl, wl, r, s, sh, sw, ph, pw, dh, dw, groups; of bgrad only n, cl, hl and wl count,
   * the sizes of the gradient. `dtype`: 0 float32, 1 float64, 2 float16, 3 bfloat16. `layout`: 0 nchw, 1 nhwc (the
   * weight then lies as [Cs, R, S, Cl/G]). `flags`: bit 0 deterministic algorithms only, bit 1 TF32 allowed, bit 2 a
   * bias is added (expand and contract). Throws ERR_CUDNN for what cuDNN does not take, ERR_DEVICE_UNAVAILABLE without
   * cuDNN.
   */
  cudnnPlan(device: number, form: number, problem: Int32Array, dtype: number, layout: number, flags: number): number;
  /** What cuDNN's heuristics say about the algorithms that the plan's flags allow, best first. bgrad has one. */
  cudnnAlgorithms(device: number, plan: number): CudnnAlgorithm[];
  /**
   * The same, measured: runs every algorithm whose workspace fits on the operands in `args` (as `cudnnRun`), overwrites
   * the output, waits. Refused while a graph is recorded.
   */
  cudnnFind(device: number, plan: number): CudnnAlgorithm[];
  /**
   * Sets how `cudnnRun` computes and the name that errors give its runs; returns the bytes of workspace that takes.
   * Throws ERR_CUDNN when the algorithm cannot compute the problem, ERR_ARGUMENT when the plan's flags forbid it.
   */
  cudnnChoose(device: number, plan: number, algo: number, mathType: number, name: string): number;
  /**
   * Runs a plan in order with the launches. `args` holds three slots a pointer, as for `launch`: the operands in the
   * order of codegen's OPERANDS (a bias of 0 when the plan has none), then the workspace (0 when none is needed).
   */
  cudnnRun(device: number, plan: number): void;
  /** Releases a plan; a handle that is not live is ignored. */
  cudnnFree(plan: number): void;
}

let loaded: Native | undefined;

/** @throws FracstrideError ERR_BINDING when no addon can be loaded; the sentence says what was looked for. */
export function native(): Native {
  loaded ??= load();
  return loaded;
}

function load(): Native {
  const root = new URL('../../', import.meta.url);
  const candidates = [`prebuilds/${process.platform}-${process.arch}/fracstride.node`, 'build/Release/fracstride.node'];
  const found = candidates.map((path) => fileURLToPath(new URL(path, root))).find((path) => existsSync(path));
  const advice = `run 'npm run build' in a clone, or install a package with a prebuilt binary for ${process.platform}-${process.arch}`;
  if (found === undefined) {
    throw new FracstrideError(
      'ERR_BINDING',
      `native: the addon must be built, found none of ${candidates.join(', ')}; ${advice}`,
    );
  }
  try {
    return createRequire(import.meta.url)(found) as Native;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
    throw new FracstrideError('ERR_BINDING', `native: the addon must load, got ${why}; ${advice}`, { cause });
  }
}
