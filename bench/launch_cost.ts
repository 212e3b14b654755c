/**
 * What a call costs before the device has anything to do: from `convTranspose2d(x, w, b, options)` in JavaScript to the
 * driver's launch, warm, with small tensors. Meant for a driver that does nothing (FRACSTRIDE_LIBCUDA names its library).
 *
 * usage: node dist/bench/launch_cost.js [--device cuda|cpu] [--rounds N] [--store]
 * One row: microseconds a call, over rounds of a hundred calls, for a forward without and with recording and for a forward
 * with its backward (four launches), and what a forward consists of: memory, a tensor around it, a launch; the rest are
 * checks. Use `min` and `p10` where other processes run, and compare rows with their `load` in mind.
 */

import { basename } from 'node:path';
import { lastKernel, nn, type Tensor, zeros } from 'fracstride';
import type { Problem } from '../codegen/problem.js';
import { allocate, release, resolveDevice, synchronize } from '../src/device.js';
import { runProblem } from '../src/kernels.js';
import { pointer } from '../src/pointwise.js';
import { allocateTensor, Tensor as Internal } from '../src/tensor.js';
import { commandLine, isCount, STORE } from './command_line.js';
import { quantiles, report } from './row.js';

const flags = commandLine('bench:launch-cost', {
  device: { about: 'cuda or cuda:N, or cpu', value: '<device>', default: 'cuda' },
  rounds: { about: 'rounds of 100 calls', value: '<count>', default: '2000', check: isCount },
  store: STORE,
});
const CALLS = 100;
const WARM = 20_000;
const rounds = Number(flags.rounds);
const where = { device: flags.device };
const device = resolveDevice('launch_cost', flags.device);

/** The problem of every call: an upsampling layer, cut down to what the smallest image needs. */
const SIZES = { x: [1, 1, 4, 4], weight: [1, 1, 3, 3], bias: [1], y: [1, 1, 8, 8] } as const;
const options = () => ({ stride: 2, padding: 1, outputPadding: 1 });
const problem: Problem = {
  op: 'convT2d',
  pass: 'fwd',
  dtype: 'float32',
  layout: 'nchw',
  geometry: {
    ...{ n: 1, cs: 1, hs: 4, ws: 4, cl: 1, hl: 8, wl: 8, r: 3, s: 3, groups: 1 },
    ...{ stride: [2, 2], padding: [1, 1], dilation: [1, 1] },
  },
  bias: true,
  activation: 'none',
};

type Operands = readonly [x: Tensor, weight: Tensor, bias: Tensor];

function operands(requiresGrad: boolean): Operands {
  const made = (shape: readonly number[]): Tensor => zeros(shape, { ...where, requiresGrad });
  return [made(SIZES.x), made(SIZES.weight), made(SIZES.bias)];
}

function forward([x, weight, bias]: Operands): void {
  nn.functional.convTranspose2d(x, weight, bias, options()).dispose();
}

function both([x, weight, bias]: Operands, gradient: Tensor): void {
  const y = nn.functional.convTranspose2d(x, weight, bias, options());
  y.backward(gradient);
  y.dispose();
  for (const leaf of [x, weight, bias]) leaf.grad = null;
}

/** Microseconds a call. What has been asked for is waited for between rounds, outside of the time. */
function measure(call: () => void): { min: number; p10: number; median: number; p90: number } {
  for (let i = 0; i < WARM; i++) call();
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    synchronize(device);
    const start = performance.now();
    for (let i = 0; i < CALLS; i++) call();
    times.push(((performance.now() - start) * 1000) / CALLS);
  }
  const { min, median, p90 } = quantiles(times);
  const p10 = times.sort((a, b) => a - b)[Math.floor(times.length / 10)]!;
  const short = (value: number): number => Number(value.toFixed(2));
  return { min: short(min), p10: short(p10), median: short(median), p90: short(p90) };
}

const plain = operands(false);
const tracked = operands(true);
const gradient = zeros(SIZES.y, where);
const output = allocateTensor({ shape: SIZES.y, dtype: 'float32', device });
const pointers = [...plain, output].map((value) => pointer(Internal.window(value)));
const bytes = 4 * output.numel();

const figures = {
  forward_us: measure(() => forward(plain)),
  forward_recorded_us: measure(() => forward(tracked)),
  forward_backward_us: measure(() => both(tracked, gradient)),
  memory_us: measure(() => release(device, allocate(device, bytes))),
  tensor_us: measure(() => allocateTensor({ shape: [1, 1, 8, 8], dtype: 'float32', device }).dispose()),
  launch_us: measure(() => runProblem(device, problem, pointers, 0)),
};
report('launch_cost', {
  device: device.name,
  driver: device.index === 0 ? null : basename(process.env.FRACSTRIDE_LIBCUDA ?? 'libcuda.so.1'),
  kernel: lastKernel(),
  ...figures,
});
