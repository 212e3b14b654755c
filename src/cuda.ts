/** CUDA devices: what is there, and their memory. */

import { checkInteger } from './checks.js';
import {
  cudaDeviceCount,
  cudaDeviceInfo,
  cudaUnavailableReason,
  type Device,
  emptyCacheOf,
  resolveDevice,
  setMemoryLimitOf,
  synchronize as wait,
} from './device.js';
import { memoryInfo } from './memory.js';
import type { CudaDeviceInfo, MemoryInfo } from './native.js';

export { type Graph, type GraphOptions, graph } from './cuda_graph.js';

/** Whether tensors can live on a CUDA device. Never throws for want of a driver. */
export function isAvailable(): boolean {
  return cudaUnavailableReason() === null;
}

/** One sentence that says why no CUDA device can be used, or null. */
export function unavailableReason(): string | null {
  return cudaUnavailableReason();
}

/** How many CUDA devices tensors can live on. */
export function deviceCount(): number {
  return cudaDeviceCount();
}

/** Name, compute capability (`arch`, e.g. 90), bytes of memory, clocks in kHz of a device. @throws ERR_DEVICE_UNAVAILABLE */
export function getDeviceProperties(index = 0): CudaDeviceInfo {
  const found = device('cuda.getDeviceProperties', index);
  return cudaDeviceInfo(found.index - 1)!;
}

/** Waits until everything launched on a device is done. @throws ERR_DEVICE_UNAVAILABLE */
export function synchronize(index = 0): void {
  wait(device('cuda.synchronize', index));
}

/** The bytes that `memory()` tells of a device. @throws ERR_DEVICE_UNAVAILABLE */
export function memoryStats(index = 0): MemoryInfo {
  return memoryInfo(device('cuda.memoryStats', index));
}

/** Gives cached memory of all devices back to the driver; does nothing where there is none. */
export function emptyCache(): void {
  for (let i = 0; i < cudaDeviceCount(); i++) emptyCacheOf(device('cuda.emptyCache', i));
}

/** Refuses allocations beyond so many live bytes with ERR_OUT_OF_MEMORY; 0 lifts the limit. @throws ERR_DEVICE_UNAVAILABLE */
export function setMemoryLimit(bytes: number, index = 0): void {
  checkInteger('cuda.setMemoryLimit', 'bytes', bytes, 0);
  setMemoryLimitOf(device('cuda.setMemoryLimit', index), bytes);
}

function device(where: string, index: number): Device {
  checkInteger(where, 'device', index, 0, 999);
  return resolveDevice(where, `cuda:${index}`);
}
