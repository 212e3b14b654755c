/**
 * What this machine can do at best, measured beside what is compared with it: multiply-adds in registers, and a + 3 b over
 * memory that no cache holds, with ordinary stores and with stores that go around the caches. By kernels of the addon,
 * with the instruction set and the threads that every other kernel has.
 */

import type { Dtype } from '../../codegen/target.js';
import { empty, zeros } from '../create.js';
import { type Device, resolveDevice, synchronize } from '../device.js';
import { elementBytes, shortName } from '../dtype.js';
import { runOperation } from '../kernels.js';
import { pointer } from '../pointwise.js';
import { scope } from '../scope.js';
import { Tensor } from '../tensor.js';

export interface Peaks {
  /** 10⁹ floating-point operations a second; a multiply-add is two. */
  readonly fma_gflops: number;
  /** 10⁹ bytes a second, two read and one written. */
  readonly triad_gbs: number;
  readonly triad_streaming_gbs: number;
}

const ITEMS = 16;
const STEPS = 3 * 2 ** 22;
/** Bytes of one of the three arrays: more than most last-level caches hold. */
const ARRAY_BYTES = 96 * 2 ** 20;
/** As long as it takes for sleeping threads to wake and clocks to rise. */
const LEAST_MS = 40;
const LEAST_RUNS = 4;

/** The best of some rounds. 16-bit types are computed in float32, so their multiply-adds are its. */
export function peaks(dtype: Dtype): Peaks {
  const device = resolveDevice('bench', 'cpu');
  const computed = dtype === 'float64' ? 'float64' : 'float32';
  return scope(() => ({
    fma_gflops: fmaPeak(device, computed),
    ...triads(device, computed),
  }));
}

/** Only the multiply-adds: a tenth of a second, to be repeated between layers, since clocks change. */
export function fmaPeak(device: Device, dtype: Dtype): number {
  return scope(() => {
    const out = pointer(Tensor.window(empty([ITEMS], { device: device.name, dtype })));
    const run = (): void => runOperation(device, { name: 'fma', type: shortName(dtype) }, [out], [ITEMS, STEPS]);
    return short((2 * ITEMS * STEPS) / fastest(device, run) / 1e6);
  });
}

function triads(device: Device, dtype: Dtype): Omit<Peaks, 'fma_gflops'> {
  const count = ARRAY_BYTES / elementBytes(dtype);
  const arrays = Array.from({ length: 3 }, () => zeros([count], { device: device.name, dtype }));
  const pointers = arrays.map((array) => pointer(Tensor.window(array)));
  const speed = (streaming: number): number => {
    const run = (): void =>
      runOperation(device, { name: 'triad', type: shortName(dtype) }, pointers, [count, streaming]);
    return short((3 * ARRAY_BYTES) / fastest(device, run) / 1e6);
  };
  return { triad_gbs: speed(0), triad_streaming_gbs: speed(1) };
}

/** Milliseconds of the fastest run after a first. */
function fastest(device: Device, run: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  const begun = performance.now();
  for (let i = 0; i <= LEAST_RUNS || performance.now() - begun < LEAST_MS; i++) {
    synchronize(device);
    const start = performance.now();
    run();
    synchronize(device);
    if (i > 0) best = Math.min(best, performance.now() - start);
  }
  return best;
}

function short(value: number): number {
  return Number(value.toPrecision(4));
}
