/**
 * What a call of a small layer costs beyond its arithmetic, from JavaScript, on one CPU thread: a 2×2 map, few channels,
 * forward. `waited_us`: each call waited for; `queued_us`: a hundred calls, waited for once. Arithmetic is the taps that
 * exist at the multiply-add peak, measured in the same run.
 *
 * usage: node dist/bench/small_call.js [--channels N] [--rounds N] [--store]
 */

import { backends, lastKernel, nn, noGrad, rand } from 'fracstride';
import { usefulFlops } from '../codegen/passes.js';
import { parseProblem } from '../codegen/problem_text.js';
import { fmaPeak } from '../src/bench/peaks.js';
import { resolveDevice, synchronize } from '../src/device.js';
import { commandLine, isCount, STORE } from './command_line.js';
import { quantiles, report } from './row.js';

const flags = commandLine('bench:small-call', {
  channels: { about: 'of the input and of the output', value: '<count>', default: '8', check: isCount },
  rounds: { about: 'rounds of 100 calls', value: '<count>', default: '2000', check: isCount },
  store: STORE,
});
const CALLS = 100;
const WARM = 20_000;
const channels = Number(flags.channels);
const problem = `convT2d n=1 c=${channels} k=${channels} h=2 w=2 r=4 stride=2 padding=1`;

backends.cpu.threads = 1;
const device = resolveDevice('small_call', 'cpu');
const peak = fmaPeak(device, 'float32');
const [x, weight, bias] = [[1, channels, 2, 2], [channels, channels, 4, 4], [channels]].map((shape) =>
  rand(shape, { device: 'cpu' }),
);
const call = (): void => nn.functional.convTranspose2d(x!, weight!, bias!, { stride: 2, padding: 1 }).dispose();

/** Microseconds a call. */
function measure(waited: boolean): Record<string, number> {
  const times: number[] = [];
  for (let round = 0; round < Number(flags.rounds); round++) {
    const start = performance.now();
    for (let i = 0; i < CALLS; i++) {
      call();
      if (waited) synchronize(device);
    }
    synchronize(device);
    times.push(((performance.now() - start) * 1000) / CALLS);
  }
  const { min, median, p90 } = quantiles(times);
  return { min: short(min), median: short(median), p90: short(p90) };
}

function short(value: number): number {
  return Number(value.toFixed(2));
}

noGrad(() => {
  for (let i = 0; i < WARM; i++) call();
  const [queued, waited] = [measure(false), measure(true)];
  const arithmetic = usefulFlops(parseProblem(problem)) / peak / 1e3;
  report('small_call', {
    ...{ problem, kernel: lastKernel(), threads: 1, peak_gflops: peak, arithmetic_us: short(arithmetic) },
    ...{ queued_us: queued, waited_us: waited, beyond_us: short(queued.median! - arithmetic) },
    beyond_waited_us: short(waited.median! - arithmetic),
  });
});
