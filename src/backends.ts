/** Settings of the back ends, with PyTorch's names where it has them. Assigning anything else throws ERR_ARGUMENT. */

import { checkInteger, fail, options } from './checks.js';
import { availableIsas, cpuIsa, cpuThreads, setCpuIsa, setCpuThreads } from './device.js';

export const WINOGRAD_MODES = ['accurate', 'fast', 'off'] as const;
export type WinogradMode = (typeof WINOGRAD_MODES)[number];

const state = {
  winograd: 'accurate' as WinogradMode,
  cudnn: { enabled: true, deterministic: false, benchmark: false, allowTf32: true },
  matmulTf32: false,
  deterministic: false,
  warnOnly: false,
};

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
   * Which Winograd kernels may run: 'accurate', only ones as exact as the direct kernel (default); 'fast', any; 'off',
   * none. This version has no Winograd kernels, so the setting changes nothing yet.
   */
  get winograd(): WinogradMode {
    return state.winograd;
  },
  set winograd(value: WinogradMode) {
    if (!WINOGRAD_MODES.includes(value)) {
      fail('ERR_ARGUMENT', 'backends.cpu.winograd', 'value', `one of ${WINOGRAD_MODES.join(', ')}`, value);
    }
    state.winograd = value;
  },
};

const cudnn = {
  /** Whether cuDNN's kernels can be used: not in this version. */
  isAvailable(): boolean {
    return false;
  },
  /** cuDNN's version number, null while it cannot be used. */
  version(): number | null {
    return null;
  },
  /** May cuDNN be used where it is available? */
  get enabled(): boolean {
    return state.cudnn.enabled;
  },
  set enabled(value: boolean) {
    state.cudnn.enabled = flag('backends.cudnn.enabled', value);
  },
  /** Only deterministic algorithms of cuDNN. The kernels of this package always are. */
  get deterministic(): boolean {
    return state.cudnn.deterministic;
  },
  set deterministic(value: boolean) {
    state.cudnn.deterministic = flag('backends.cudnn.deterministic', value);
  },
  /** May cuDNN time its algorithms to choose one? */
  get benchmark(): boolean {
    return state.cudnn.benchmark;
  },
  set benchmark(value: boolean) {
    state.cudnn.benchmark = flag('backends.cudnn.benchmark', value);
  },
  /** May float32 convolutions on CUDA devices run in TF32? */
  get allowTf32(): boolean {
    return state.cudnn.allowTf32;
  },
  set allowTf32(value: boolean) {
    state.cudnn.allowTf32 = flag('backends.cudnn.allowTf32', value);
  },
};

const matmul = {
  /** May float32 matrix products on CUDA devices run in TF32? */
  get allowTf32(): boolean {
    return state.matmulTf32;
  },
  set allowTf32(value: boolean) {
    state.matmulTf32 = flag('backends.cuda.matmul.allowTf32', value);
  },
};

// Preventing extensions makes a misspelled setting a TypeError instead of a silent nothing.
export const backends = Object.freeze({
  cpu: Object.preventExtensions(cpu),
  cudnn: Object.preventExtensions(cudnn),
  cuda: Object.freeze({ matmul: Object.preventExtensions(matmul) }),
});

/**
 * Asks for deterministic algorithms only. Every kernel of this package is deterministic already, so this concerns
 * libraries it may call: with `warnOnly` a nondeterministic choice warns, otherwise it throws ERR_NONDETERMINISTIC.
 */
export function useDeterministicAlgorithms(on: boolean, settings?: { warnOnly?: boolean }): void {
  const found = options('useDeterministicAlgorithms', settings, ['warnOnly']);
  const warnOnly = flag('useDeterministicAlgorithms', found.warnOnly ?? false);
  state.deterministic = flag('useDeterministicAlgorithms', on);
  state.warnOnly = warnOnly;
}

/** Whether `useDeterministicAlgorithms` is on. */
export function areDeterministicAlgorithmsEnabled(): boolean {
  return state.deterministic;
}
