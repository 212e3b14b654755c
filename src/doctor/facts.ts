/** What was found on this machine: everything `fracstride doctor` tells, gathered without changing anything. */

import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageVersion } from '../../codegen/cli/package.js';
import { FracstrideError } from '../../codegen/errors.js';
import { defaultStoreDirectory, openStore, STORE_LIMIT } from '../../codegen/store.js';
import { findNvcc, nvcc } from '../../codegen/toolchain.js';
import { cpuModel } from '../cpu_model.js';
import { type CudaDeviceInfo, native } from '../native.js';

/** A library or program: what it is, or why it is of no use. */
export interface Found {
  readonly path: string | null;
  readonly version: string | null;
  readonly reason: string | null;
}

export interface CacheFacts {
  readonly path: string;
  readonly exists: boolean;
  readonly kernels: number;
  readonly bytes: number;
  readonly limit: number;
  readonly writable: boolean;
  /** Why it is refused, or null. */
  readonly reason: string | null;
}

export interface Facts {
  readonly package: { readonly version: string; readonly path: string };
  readonly node: { readonly version: string; readonly platform: string; readonly architecture: string };
  /** As rows and winners of tuning name it. */
  readonly cpu: string;
  readonly addon: Found & { readonly instructionSets: readonly string[]; readonly threads: number };
  readonly driver: Found & { readonly devices: readonly CudaDeviceInfo[] };
  readonly nvrtc: Found & { readonly architectures: readonly number[] };
  readonly nvcc: Found;
  readonly cudnn: Found;
  readonly cache: CacheFacts;
  /** Kernels in the addon by target; those for CUDA can only be counted where there is a device. */
  readonly builtIn: Readonly<Record<string, number>>;
  /** Variables that are set. */
  readonly environment: Readonly<Record<string, string>>;
}

export const VARIABLES = [
  ...['DEVICE', 'CACHE_DIR', 'LIBCUDA', 'LIBCUDNN', 'LIBNVRTC', 'NO_JIT', 'NUM_THREADS', 'DEBUG'].map(
    (name) => `FRACSTRIDE_${name}`,
  ),
  ...['CUDA_HOME', 'CUDA_PATH', 'CUDA_VISIBLE_DEVICES'],
] as const;

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

export function gatherFacts(): Facts {
  const addon = addonFacts();
  return {
    package: { version: packageVersion(), path: ROOT.replace(/[\\/]$/, '') },
    node: { version: process.versions.node, platform: process.platform, architecture: process.arch },
    cpu: cpuModel(),
    addon,
    ...(addon.reason === null ? libraryFacts() : NO_LIBRARIES),
    nvcc: nvccFacts(),
    cache: cacheFacts(),
    builtIn: addon.reason === null ? builtIn() : {},
    environment: Object.fromEntries(
      VARIABLES.flatMap((name) => {
        const value = process.env[name];
        return value === undefined || value === '' ? [] : [[name, value]];
      }),
    ),
  };
}

function addonFacts(): Facts['addon'] {
  try {
    const { isas, threads } = native().cpuInfo();
    return { path: loadedLibrary('fracstride'), version: null, reason: null, instructionSets: isas, threads };
  } catch (error) {
    return { path: null, version: null, reason: sentenceOf(error), instructionSets: [], threads: 0 };
  }
}

const UNKNOWN: Found = { path: null, version: null, reason: 'only the addon could look for it' };
const NO_LIBRARIES = {
  driver: { ...UNKNOWN, devices: [] },
  nvrtc: { ...UNKNOWN, architectures: [] },
  cudnn: UNKNOWN,
};

function libraryFacts(): Pick<Facts, 'driver' | 'nvrtc' | 'cudnn'> {
  const { available, reason, driverVersion, devices } = native().cudaInfo();
  const nvrtc = native().nvrtcInfo();
  const cudnn = native().cudnnInfo();
  return {
    driver: {
      path: driverVersion === 0 ? null : loadedLibrary(driverFile()),
      version: driverVersion === 0 ? null : `${Math.floor(driverVersion / 1000)}.${(driverVersion % 1000) / 10}`,
      reason: available ? null : reason,
      devices,
    },
    nvrtc: {
      path: nvrtc.available ? (loadedLibrary(basename(nvrtc.path)) ?? nvrtc.path) : null,
      version: nvrtc.available ? `${nvrtc.major}.${nvrtc.minor}` : null,
      reason: nvrtc.reason,
      architectures: nvrtc.architectures,
    },
    cudnn: {
      path: cudnn.available ? (loadedLibrary(basename(cudnn.path)) ?? cudnn.path) : null,
      version: cudnn.available ? cudnnVersion(cudnn.version) : null,
      reason: cudnn.reason,
    },
  };
}

function driverFile(): string {
  const chosen = process.env.FRACSTRIDE_LIBCUDA;
  return chosen === undefined || chosen === '' ? 'libcuda.so.1' : basename(chosen);
}

/** 91002 is 9.10.2; until 8.9 a digit less counted the major version. */
export function cudnnVersion(number: number): string {
  const unit = number >= 90_000 ? 10_000 : 1000;
  return `${Math.floor(number / unit)}.${Math.floor((number % unit) / 100)}.${number % 100}`;
}

/** The path of a library that this process has loaded: the one of that file name, or of a later version of it. */
function loadedLibrary(name: string): string | null {
  const report = process.report as typeof process.report & { excludeNetwork?: boolean };
  const before = report.excludeNetwork;
  // Its look-ups of names could take seconds.
  report.excludeNetwork = true;
  const { sharedObjects } = report.getReport() as { sharedObjects?: string[] };
  if (before !== undefined) report.excludeNetwork = before;
  return sharedObjects?.find((path) => basename(path) === name || basename(path).startsWith(`${name}.`)) ?? null;
}

function nvccFacts(): Found {
  const path = findNvcc();
  if (path === null) return { path, version: null, reason: 'it is neither on PATH nor in CUDA_HOME or CUDA_PATH' };
  try {
    return { path, version: nvcc().id.replace('nvcc ', ''), reason: null };
  } catch (error) {
    return { path, version: null, reason: sentenceOf(error) };
  }
}

function cacheFacts(): CacheFacts {
  const path = defaultStoreDirectory();
  const exists = existsSync(path);
  const place = { path, exists, limit: STORE_LIMIT, writable: isWritable(path) };
  try {
    const kernels = openStore().list();
    const bytes = kernels.reduce((sum, { meta }) => sum + meta.image.bytes + meta.source.bytes, 0);
    return { ...place, kernels: kernels.length, bytes, reason: null };
  } catch (error) {
    return { ...place, kernels: 0, bytes: 0, reason: sentenceOf(error) };
  }
}

/** Whether a folder, or the nearest above it that exists, lets this user write. */
function isWritable(path: string): boolean {
  if (!existsSync(path)) return dirname(path) !== path && isWritable(dirname(path));
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

function builtIn(): Record<string, number> {
  const devices = [0, ...(native().cudaInfo().available ? [1] : [])];
  const counts: Record<string, number> = {};
  for (const name of devices.flatMap((device) => native().kernelNames(device))) {
    const target = name.slice(name.lastIndexOf('__') + 2);
    counts[target] = (counts[target] ?? 0) + 1;
  }
  return counts;
}

function sentenceOf(error: unknown): string {
  if (error instanceof FracstrideError) return error.message;
  return error instanceof Error ? error.message.split('\n')[0]! : String(error);
}
