/** Settings of the back ends, with PyTorch's names where it has them. Assigning anything else throws ERR_ARGUMENT. */

import { WINOGRAD_MODES, type WinogradMode } from '../codegen/variant.js';
import { checkInteger, fail, options } from './checks.js';
import { changeCudnn, cudnnSettings, cudnnUnavailableReason, cudnnVersion } from './cudnn.js';
import { contractHolds, holdContract } from './determinism.js';
import { availableIsas, cpuIsa, cpuThreads, cudaUnavailableReason, setCpuIsa, setCpuThreads } from './device.js';
import { float32Products, setFloat32Products } from './products.js';
import { setWinogradMode, winogradMode } from './winograd.js';

export type { WinogradMode } from '../codegen/variant.js';

function flag(where: string, value: unknown): boolean {
  if (typeof value !== 'boolean') fail('ERR_ARGUMENT', where, 'value', 'a boolean', value);
  return value;
}

const cpu = {
  /** The instruction set whose kernels run: one of `isas`. */
  get isa(): string {
    return cpuIsa();
  },
  set isa(value: string) {
    const known = availableIsas();
    const found = known.find((isa) => isa === value);
    setCpuIsa(found ?? fail('ERR_ARGUMENT', 'backends.cpu.isa', 'value', `one of ${known.join(', ')}`, value));
  },
  /** The instruction sets that this machine runs and this build has kernels for, best first. */
  get isas(): readonly string[] {
    return availableIsas();
  },
  /** Threads that share the work of one operation, the calling one included. Results do not depend on it. */
  get threads(): number {
    return cpuThreads();
  },
  set threads(value: number) {
    setCpuThreads(checkInteger('backends.cpu.threads', 'value', value, 1, 1024));
  },
  /**
   * Which Winograd kernels may run, which need fewer products than a direct kernel: 'accurate', only ones as exact as it,
   * F(2, 2), F(3, 2) and F(2, 3) (default); 'fast', any, whose errors are up to some ten times as large; 'off', none.
   */
  get winograd(): WinogradMode {
    return winogradMode();
  },
  set winograd(value: WinogradMode) {
    if (!WINOGRAD_MODES.includes(value)) {
      fail('ERR_ARGUMENT', 'backends.cpu.winograd', 'value', `one of ${WINOGRAD_MODES.join(', ')}`, value);
    }
    setWinogradMode(value);
  },
};

const cudnn = {
  /** Whether cuDNN's kernels can be used: there is a CUDA device, and a library of version 8 or later. */
  isAvailable(): boolean {
    return cudnn.unavailableReason() === null;
  },
  /** One sentence that says why not, or null. */
  unavailableReason(): string | null {
    return cudaUnavailableReason() ?? cudnnUnavailableReason();
  },
  /** cuDNN's version number (9.10.2 is 91002), null where there is no library that can be used. */
  version(): number | null {
    return cudnnVersion();
  },
  /** May cuDNN be used where it is available? Default true. */
  get enabled(): boolean {
    return cudnnSettings().enabled;
  },
  set enabled(value: boolean) {
    changeCudnn({ enabled: flag('backends.cudnn.enabled', value) });
  },
  /** Only deterministic algorithms of cuDNN, and none where dilated. The kernels of this package always are. */
  get deterministic(): boolean {
    return cudnnSettings().deterministic;
  },
  set deterministic(value: boolean) {
    changeCudnn({ deterministic: flag('backends.cudnn.deterministic', value) });
  },
  /**
   * When a problem comes first, time the kernels of this package and cuDNN's algorithms on it, and take the fastest from
   * then on, in this process and the next. Where cuDNN is not available, the package's own kernels compete.
   */
  get benchmark(): boolean {
    return cudnnSettings().benchmark;
  },
  set benchmark(value: boolean) {
    changeCudnn({ benchmark: flag('backends.cudnn.benchmark', value) });
  },
  /** May cuDNN compute float32 convolutions in TF32? Default true, as in PyTorch. */
  get allowTf32(): boolean {
    return cudnnSettings().allowTf32;
  },
  set allowTf32(value: boolean) {
    changeCudnn({ allowTf32: flag('backends.cudnn.allowTf32', value) });
  },
};

const matmul = {
  /** May kernels of this package multiply float32 in TF32 on CUDA devices, convolutions included? */
  get allowTf32(): boolean {
    return float32Products() === 'tf32';
  },
  set allowTf32(value: boolean) {
    setFloat32Products(flag('backends.cuda.matmul.allowTf32', value) ? 'tf32' : 'exact');
  },
};

// Preventing extensions makes a misspelled setting a TypeError instead of a silent nothing.
export const backends = Object.freeze({
  cpu: Object.preventExtensions(cpu),
  cudnn: Object.preventExtensions(cudnn),
  cuda: Object.freeze({ matmul: Object.preventExtensions(matmul) }),
});

/**
 * Asks for deterministic algorithms only: from now on everything gives the same bits in each run and in each process.
 * Kernels of this package always do, and cuDNN's algorithms are chosen so. What cannot be chosen throws
 * ERR_NONDETERMINISTIC, or with `warnOnly` emits a process warning, once: an algorithm that was asked for by name, and the
 * replay of a graph that was recorded before with another.
 */
export function useDeterministicAlgorithms(on: boolean, settings?: { warnOnly?: boolean }): void {
  const found = options('useDeterministicAlgorithms', settings, ['warnOnly']);
  const warnOnly = flag('useDeterministicAlgorithms', found.warnOnly ?? false);
  holdContract({ on: flag('useDeterministicAlgorithms', on), warnOnly });
}

/** Whether `useDeterministicAlgorithms` is on. */
export function areDeterministicAlgorithmsEnabled(): boolean {
  return contractHolds();
}
