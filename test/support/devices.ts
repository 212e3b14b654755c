/** What this machine can run the tests on, and seeds for random ones. */

import { backends } from 'fracstride';
import type { CpuIsa } from '../../codegen/target.js';
import { native } from '../../src/native.js';

/** Instruction sets this machine runs and this build holds kernels for. */
export function isaLevels(): CpuIsa[] {
  return native().cpuInfo().isas as CpuIsa[];
}

/** Runs `fn` with the kernels of one instruction set. */
export function withIsa<R>(isa: CpuIsa, fn: () => R): R {
  const before = backends.cpu.isa;
  backends.cpu.isa = isa;
  try {
    return fn();
  } finally {
    backends.cpu.isa = before;
  }
}

/** Runs `fn` with a number of CPU threads. */
export function withThreads<R>(count: number, fn: () => R): R {
  const before = native().cpuInfo().threads;
  if (count === before) return fn();
  native().setThreads(count);
  try {
    return fn();
  } finally {
    native().setThreads(before);
  }
}

/** The seed of a random test: TEST_SEED when set, else a new one each run; print it. */
export function testSeed(): number {
  const given = Number(process.env.TEST_SEED);
  return Number.isSafeInteger(given) && given > 0 ? given : 1 + Math.floor(Math.random() * 0x7ffffffe);
}

/** How many random problems to try: TEST_RUNS when set. */
export function testRuns(otherwise: number): number {
  const given = Number(process.env.TEST_RUNS);
  return Number.isSafeInteger(given) && given > 0 ? given : otherwise;
}
