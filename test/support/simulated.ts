/**
 * Programs on the simulator: child processes whose CUDA driver is simulator/'s stand-in, since a process opens its driver
 * library once. Kernels that have to be compiled go to a cache of the tests' own, which lasts from run to run.
 *
 * With TEST_DEVICE=real the same programs run on the driver of this machine, that is on its GPU. What differs between
 * runs on the simulator only by the order of warps is then a run repeated. Tests that need what a driver cannot do
 * (faults, counters, other devices) are declared with `simulatorOnly`, and are named at the end as left out.
 */

import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findNvcc } from '../../codegen/toolchain.js';
import { native } from '../../src/native.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

export const SIMULATOR = join(ROOT, 'build/simulator/libcuda.so.1');
export const SIMULATOR_CONTROL = join(ROOT, 'build/simulator/control.node');
/** The stand-in for libcudnn, which computes on that driver. */
export const CUDNN_SIMULATOR = join(ROOT, 'build/simulator/libcudnn.so.9');
/** A driver that accepts everything and does nothing. */
export const NULL_DRIVER = join(ROOT, 'build/simulator/libcuda_null.so');
const KERNEL_CACHE = join(ROOT, 'build/test_kernels');

/** Whether the programs run on this machine's own driver. */
export const REAL_DEVICE = realDevice(process.env.TEST_DEVICE ?? 'simulator');

export interface Simulated {
  /** File of dist/test/support, without its ending. */
  readonly program: string;
  readonly args?: readonly string[];
  /** What the simulator is told, e.g. `arch=75 order=reverse`. */
  readonly simulator?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The environment of a process on the simulator, or on the real device. On the simulator there is no cuDNN unless named. */
export function simulatedEnvironment({ simulator = '', env = {} }: Omit<Simulated, 'program'>): NodeJS.ProcessEnv {
  if (!REAL_DEVICE) {
    const driver = { FRACSTRIDE_LIBCUDA: SIMULATOR, FRACSTRIDE_LIBCUDNN: 'none', CUDA_SIMULATOR: simulator };
    return { ...process.env, FRACSTRIDE_CACHE_DIR: KERNEL_CACHE, ...driver, ...env };
  }
  const others = simulator.split(/\s+/).filter((word) => word !== '' && !word.startsWith('order='));
  if (others.length > 0) throw new Error(`a real device cannot be told '${others.join(' ')}': use simulatorOnly`);
  const { CUDA_SIMULATOR: _, ...own } = process.env;
  return { FRACSTRIDE_CACHE_DIR: KERNEL_CACHE, ...own, ...env };
}

/**
 * A suite that needs CUDA kernels: left out, and told as pending, on a machine where none can come from anywhere (no nvcc
 * when the addon was built, none now, no NVRTC).
 */
export function describeCuda(title: string, suite: (this: Mocha.Suite) => void): void {
  describe(title, function () {
    before(function () {
      if (!kernelsCanBeMade()) this.skip();
    });
    suite.call(this);
  });
}

function kernelsCanBeMade(): boolean {
  return (
    findNvcc() !== null ||
    native().nvrtcInfo().available ||
    (existsSync(join(ROOT, 'build/generated/cuda/images.cc')) &&
      readFileSync(join(ROOT, 'build/generated/cuda/images.cc'), 'utf8').includes('fs_image_0'))
  );
}

/** A test of what only the simulator can do. On a real device it does not exist, and is named when all have run. */
export function simulatorOnly(title: string, work: () => unknown): void {
  if (!REAL_DEVICE)
    it(title, async () => {
      await work();
    });
  else leftOut.push(title);
}

const leftOut: string[] = [];
process.on('exit', () => {
  if (leftOut.length === 0) return;
  const lines = leftOut.map((title) => `  - ${title}`);
  process.stderr.write(`\n${leftOut.length} tests need the simulator and were left out:\n${lines.join('\n')}\n`);
});

function realDevice(word: string): boolean {
  if (word !== 'real' && word !== 'simulator') throw new Error(`TEST_DEVICE must be real or simulator, got '${word}'`);
  return word === 'real';
}

/** Runs a program of dist/test/support to its end. */
export function simulated(run: Simulated): Promise<Ended> {
  if (!REAL_DEVICE && !existsSync(SIMULATOR)) throw new Error(`${SIMULATOR} is not built; run 'npm run simulator'`);
  const file = fileURLToPath(new URL(`./${run.program}.js`, import.meta.url));
  const child = spawn(process.execPath, ['--expose-gc', file, ...(run.args ?? [])], {
    env: simulatedEnvironment(run),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      output[name] += chunk;
    });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...output }));
  });
}

/** The last line of a program that ended well, as JSON. */
export async function simulatedReport<R>(run: Simulated): Promise<R> {
  const { code, signal, stdout, stderr } = await simulated(run);
  if (code !== 0) {
    throw new Error(`${run.program} ${(run.args ?? []).join(' ')} ended with ${signal ?? code}\n${stdout}\n${stderr}`);
  }
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as R;
}

/** Runs as many at a time as there are processors; results in the order of the items. */
export async function severalAtOnce<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const waiting = items.entries();
  const worker = async () => {
    for (const [i, item] of waiting) results[i] = await work(item);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return results;
}
