/**
 * Random numbers: Philox4x32-10, one stream of counters a device. A call takes as many counters as its numbers need, so
 * the same calls after the same seed give the same numbers, whatever the number of threads.
 */

import { checkInteger } from './checks.js';
import { type Device, refuseRecording } from './device.js';

/** PyTorch's default seed: two fresh processes draw the same numbers. */
const DEFAULT_SEED = 67280421310721;

let seed = DEFAULT_SEED;
let counters = new Map<Device, number>();

/**
 * Starts the streams of all devices over.
 *
 * @param value an integer from 0 to 2^53 − 1
 * @throws FracstrideError ERR_ARGUMENT
 */
export function manualSeed(value: number): void {
  seed = checkInteger('manualSeed', 'seed', value, 0);
  counters = new Map();
}

/**
 * Takes counters for `count` numbers from the stream of a device.
 *
 * @throws FracstrideError ERR_ARGUMENT while a graph of the device is recorded
 */
export function drawCounters(device: Device, count: number): { seed: number; offset: number } {
  refuseRecording(device, 'drawing random numbers', 'every replay would draw the same ones');
  const offset = counters.get(device) ?? 0;
  counters.set(device, offset + Math.ceil(count / 4));
  return { seed, offset };
}
