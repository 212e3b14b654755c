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

/** The control of the driver that FRACSTRIDE_LIBCUDA names. */
export function simulatorControl(): SimulatorControl {
  const control = createRequire(import.meta.url)(SIMULATOR_CONTROL) as { open(path: string): SimulatorControl };
  return control.open(process.env.FRACSTRIDE_LIBCUDA ?? '');
}
