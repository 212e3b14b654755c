/**
 * What training spends outside of convolutions: bytes a second of element-wise operations, batch norm, losses and
 * optimiser steps on a CPU, beside what memory gives to a + 3 b in the same run.
 *
 * usage: node dist/bench/glue.js [--threads 1,2] [--dtype float32,bfloat16] [--rounds N] [--store]
 * Bytes are those that have to move: each tensor that is read or written, once. What a kernel reads again from memory, or
 * memory that is read because it is about to be written, shows as a smaller share. One row a number of threads and an element type.
 */

import { backends, nn, optim, randn, scope, type Tensor } from 'fracstride';
import { table } from '../codegen/cli/table.js';
import { DTYPES, type Dtype } from '../codegen/target.js';
import { peaks } from '../src/bench/peaks.js';
import { resolveDevice, synchronize } from '../src/device.js';
import { elementBytes } from '../src/dtype.js';
import { areWords, commandLine, isCount, STORE, THREADS } from './command_line.js';
import { report } from './row.js';

const flags = commandLine('bench:glue', {
  threads: { ...THREADS, default: '2' },
  dtype: {
    about: 'element types, separated by commas',
    value: '<list>',
    default: 'float32',
    check: areWords(DTYPES),
  },
  rounds: { about: 'rounds that the fastest is of', value: '<count>', default: '12', check: isCount },
  store: STORE,
});
const device = resolveDevice('glue', 'cpu');
/** A layer in the middle of DCGAN: 32 MiB in float32, larger than most caches. */
const SHAPE = [64, 128, 32, 32] as const;
const ELEMENTS = SHAPE.reduce((product, size) => product * size, 1);

interface Work {
  /** Tensors of the shape that have to be read or written. */
  readonly tensors: number;
  readonly run: () => void;
}

for (const threads of flags.threads.split(','))
  for (const dtype of flags.dtype.split(',')) measure(Number(threads), dtype as Dtype);

function measure(threads: number, dtype: Dtype): void {
  backends.cpu.threads = threads;
  const { triad_gbs: triad } = peaks(dtype);
  const rows = scope(() =>
    Object.entries(works(dtype)).map(([what, { tensors, run }]) => {
      const bytes = tensors * ELEMENTS * elementBytes(dtype);
      const us = fastest(run);
      const gbs = bytes / us / 1e3;
      return { what, us: Number(us.toFixed(0)), gbs: short(gbs), share: short(gbs / triad) };
    }),
  );
  const lines = rows.map(({ what, us, gbs, share }) => [what, `${us}`, `${gbs}`, `${(100 * share).toFixed(0)} %`]);
  console.log(table(['operation', 'µs', 'GB/s', `of ${triad} GB/s`], lines));
  report('glue', { threads, dtype, shape: SHAPE, triad_gbs: triad, rows });
}

function works(dtype: Dtype): Record<string, Work> {
  const place = { device: 'cpu', dtype } as const;
  const [x, y] = [randn(SHAPE, place), randn(SHAPE, place)];
  const norm = new nn.BatchNorm2d(SHAPE[1], place);
  const normed = new nn.Sequential(norm, new nn.LeakyReLU(0.2));
  const leaf = x.detach();
  leaf.requiresGrad = true;
  const dropped = (value: Tensor): void => value.dispose();
  const backward = (make: () => Tensor, g: Tensor | null): (() => void) => {
    const kept = make();
    return () => {
      leaf.grad = null;
      kept.backward(g, { retainGraph: true });
    };
  };
  const step = (make: (p: nn.Parameter[]) => optim.Adam | optim.SGD): (() => void) => {
    const p = nn.parameter(x.clone());
    p.grad = y;
    const optimizer = make([p]);
    return () => optimizer.step();
  };
  const accumulated = (): (() => void) => {
    const p = nn.parameter(x.clone());
    p.grad = x.clone();
    return () => p.backward(y);
  };
  return {
    'x + y': { tensors: 3, run: () => dropped(x.add(y)) },
    relu: { tensors: 2, run: () => dropped(x.relu()) },
    tanh: { tensors: 2, run: () => dropped(x.tanh()) },
    'leaky ReLU, gradient': { tensors: 3, run: backward(() => leaf.leakyRelu(0.2), y) },
    'batch norm and leaky ReLU': { tensors: 2, run: () => dropped(normed.forward(x)) },
    'batch norm and leaky ReLU, gradient': { tensors: 3, run: backward(() => normed.forward(leaf), y) },
    'mean squared error': { tensors: 2, run: () => dropped(nn.functional.mseLoss(x, y)) },
    'mean squared error, gradient': { tensors: 3, run: backward(() => nn.functional.mseLoss(leaf, y), null) },
    'binary cross entropy': { tensors: 2, run: () => dropped(nn.functional.binaryCrossEntropyWithLogits(x, y)) },
    mean: { tensors: 1, run: () => dropped(x.mean()) },
    'gradients added up': { tensors: 3, run: accumulated() },
    'SGD with momentum': { tensors: 5, run: step((p) => new optim.SGD(p, { lr: 1e-3, momentum: 0.9 })) },
    Adam: { tensors: 7, run: step((p) => new optim.Adam(p)) },
  };
}

/** Microseconds of the fastest round after two. */
function fastest(run: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = -2; round < Number(flags.rounds); round++) {
    synchronize(device);
    const start = performance.now();
    run();
    synchronize(device);
    if (round >= 0) best = Math.min(best, (performance.now() - start) * 1e3);
  }
  return best;
}

function short(value: number): number {
  return Number(value.toPrecision(3));
}
