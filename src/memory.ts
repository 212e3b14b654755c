/** How much memory tensors hold, in exact bytes. */

import { allDevices, type Device, memoryOf } from './device.js';
import type { MemoryInfo } from './native.js';
import { packedBytes } from './packings.js';

/**
 * Bytes on every device: `live`, held by tensors and by graphs that saved them, exactly as asked for; `cached`, kept for
 * re-use, weights as kernels re-order them included; `peak`, the most that was held at once by tensors and such weights;
 * `graphs`, kept by recorded graphs for what they compute on the way.
 * `memory().cpu.live` is 0 once everything is disposed.
 */
export function memory(): { cpu: MemoryInfo } & Record<string, MemoryInfo> {
  const rows = allDevices().map((device) => [device.name, memoryInfo(device)] as const);
  return Object.fromEntries(rows) as { cpu: MemoryInfo } & Record<string, MemoryInfo>;
}

/** The same of one device. */
export function memoryInfo(device: Device): MemoryInfo {
  const info = memoryOf(device);
  const packed = packedBytes(device);
  return { ...info, live: info.live - packed, cached: info.cached + packed };
}
