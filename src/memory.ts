/** How much memory tensors hold, in exact bytes. */

import { allDevices, memoryOf } from './device.js';
import type { MemoryInfo } from './native.js';

/**
 * Bytes on every device: `live`, held by tensors and by graphs that saved them, exactly as asked for; `cached`, kept for
 * re-use; `peak`, the largest `live` so far. `memory().cpu.live` is 0 once everything is disposed.
 */
export function memory(): { cpu: MemoryInfo } & Record<string, MemoryInfo> {
  const rows = allDevices().map((device) => [device.name, memoryOf(device)] as const);
  return Object.fromEntries(rows) as { cpu: MemoryInfo } & Record<string, MemoryInfo>;
}
