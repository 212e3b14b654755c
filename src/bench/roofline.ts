/** How near a time is to what the machine allows. */

import { bytes, flops, usefulFlops } from '../../codegen/passes.js';
import type { Problem } from '../../codegen/problem.js';
import type { Peaks } from './peaks.js';

export interface Roofline {
  /** Every tap, those outside of the tensor included, in the fastest round. */
  readonly gflops: number;
  readonly peak_gflops: number;
  readonly triad_gbs: number;
  readonly triad_streaming_gbs: number;
  /** gflops as a share of the peak. */
  readonly peak_share: number;
  /** The larger of the taps that exist ÷ peak and of each tensor once ÷ the streaming triad. */
  readonly roof_us: number;
  readonly roof_share: number;
  /** Which of the two. */
  readonly bound: 'arithmetic' | 'memory';
}

/** Of a time in microseconds. */
export function roofline(problem: Problem, us: number, peaks: Peaks): Roofline {
  const arithmetic = usefulFlops(problem) / peaks.fma_gflops / 1e3;
  const memory = bytes(problem) / peaks.triad_streaming_gbs / 1e3;
  const roof = Math.max(arithmetic, memory);
  const gflops = flops(problem) / us / 1e3;
  return {
    gflops: short(gflops),
    peak_gflops: peaks.fma_gflops,
    triad_gbs: peaks.triad_gbs,
    triad_streaming_gbs: peaks.triad_streaming_gbs,
    peak_share: short(gflops / peaks.fma_gflops),
    roof_us: short(roof),
    roof_share: short(roof / us),
    bound: arithmetic >= memory ? 'arithmetic' : 'memory',
  };
}

function short(value: number): number {
  return Number(value.toPrecision(4));
}
