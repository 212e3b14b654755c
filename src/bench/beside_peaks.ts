/** Layers on a CPU, each between two measurements of its peak: clocks and neighbours change while a bench runs. */

import type { Dtype } from '../../codegen/target.js';
import { resolveDevice } from '../device.js';
import type { Asked, measure as Measured, Timing } from './measure.js';
import { fmaPeak, peaks } from './peaks.js';
import { type Roofline, roofline } from './roofline.js';

type Measure = typeof Measured;
type WithRoofline = (...asked: Parameters<Measure>) => (Timing & Roofline)[];

/** Measures memory once; what it returns makes of `measure` one that also tells the roofline of every row. */
export function besidePeaks(dtype: Dtype): (measure: Measure) => WithRoofline {
  const all = peaks(dtype);
  const computed = dtype === 'float64' ? 'float64' : 'float32';
  const now = (asked: Asked): number => fmaPeak(resolveDevice('bench', asked.device), computed);
  return (measure) => (asked, skip) => {
    const before = now(asked);
    const timings = measure(asked, skip);
    const here = { ...all, fma_gflops: Math.max(before, now(asked)) };
    return timings.map((timing) => ({ ...timing, ...roofline(asked.problem, timing.us_min, here) }));
  };
}
