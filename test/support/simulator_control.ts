/** The simulator's own door, from the process that uses it as its driver: faults, counters, what memory is taken. */

import { createRequire } from 'node:module';
import { SIMULATOR_CONTROL } from './simulated.js';

export interface KernelCounters {
  readonly launches: number;
  readonly [counter: string]: number | Readonly<Record<string, number>>;
}

interface Taken {
  readonly bytes: number;
  readonly blocks: number;
}

export interface CudnnCounters {
  readonly calls: number;
  /** Of the calls, those that returned another status than success. */
  readonly refused: number;
  /** Calls that were taken, by number of the algorithm. */
  readonly algorithms: Readonly<Record<string, number>>;
}

/** Of the stand-in for libcudnn. */
export interface CudnnControl {
  /** `status=cudnnConvolutionForward:3000@2 workspace=2G …` */
  configureCudnn(words: string): void;
  /** By entry. */
  cudnnCounters(options?: { reset: boolean }): Readonly<Record<string, CudnnCounters>>;
  /** Handles and descriptors that live. */
  cudnnMemory(): Readonly<Record<'handles' | 'tensors' | 'filters' | 'convolutions', number>>;
  /** Why a call was refused last, or what went wrong in a stream. */
  cudnnLastFault(): string | null;
  forgetCudnnFault(): void;
}

export interface SimulatorControl {
  /** `arch=75 order=reverse …` */
  configure(words: string): void;
  /** `oom@3`, `launch@1`, `lost`, `clear` … */
  fault(words: string): void;
  /** By kernel name. */
  counters(options?: { reset: boolean }): Readonly<Record<string, KernelCounters>>;
  /** What is taken: device memory, pinned memory and the rest. */
  memory(): { readonly device: Taken; readonly pool: Taken; readonly pinned: Taken };
  /** What went wrong last in a kernel, with the line of its PTX. */
  lastFault(): string | null;
  forgetFault(): void;
}

interface ControlAddon {
  open(driver: string): SimulatorControl;
  open(driver: string, cudnn: string): SimulatorControl & CudnnControl;
}

function addon(): ControlAddon {
  return createRequire(import.meta.url)(SIMULATOR_CONTROL) as ControlAddon;
}

/** The control of the driver that FRACSTRIDE_LIBCUDA names. */
export function simulatorControl(): SimulatorControl {
  return addon().open(process.env.FRACSTRIDE_LIBCUDA ?? '');
}

/** The same with that of the stand-in for libcudnn that FRACSTRIDE_LIBCUDNN names. */
export function cudnnControl(): SimulatorControl & CudnnControl {
  return addon().open(process.env.FRACSTRIDE_LIBCUDA ?? '', process.env.FRACSTRIDE_LIBCUDNN ?? '');
}
