/**
 * `node cudnn_cli.js SCENARIO`: a process on the simulator, with the stand-in for libcudnn, to which one thing happens.
 * Prints what came of it as one line of JSON.
 */

import { createHash } from 'node:crypto';
import {
  areDeterministicAlgorithmsEnabled,
  backends,
  cuda,
  lastKernel,
  memory,
  nn,
  scope,
  type Tensor,
  tensor,
  useDeterministicAlgorithms,
  zeros,
} from 'fracstride';
import { preferVariant } from '../../src/kernels.js';
import { noteErrors } from './attempts.js';
import { cudnnControl } from './simulator_control.js';

export interface CudnnSummary {
  /** Kernels that ran, in the order in which they were noted. */
  readonly kernels: readonly string[];
  /** `<code> <sentence>` of each error, in order. */
  readonly errors: readonly string[];
  /** Sentences of process warnings. */
  readonly warnings: readonly string[];
  readonly liveBefore: number;
  readonly liveAfter: number;
  readonly notes: Readonly<Record<string, unknown>>;
}

const kernels: string[] = [];
const { errors, attempt } = noteErrors();
const warnings: string[] = [];
const notes: Record<string, unknown> = {};
process.on('warning', ({ name, message }) => {
  if (name === 'NondeterminismWarning') warnings.push(message);
});

const { cudnn } = backends;
const live = (): number => memory()['cuda:0']?.live ?? 0;

type Kind = 'up' | 'down' | 'dilated' | 'large' | 'wgrad';

/** Numbers that float32 rounds, the same ones each time. */
function numbers(shape: readonly number[], seed: number): Tensor {
  const count = shape.reduce((a, b) => a * b, 1);
  const values = Float32Array.from({ length: count }, (_, i) => Math.sin((i + 1) * seed) * 3);
  return tensor(values, { shape, device: 'cuda' });
}

/** One contraction: its values' digest, and the kernel that ran. */
function contract(kind: Kind): string {
  return scope(() => {
    const [x, w] = SHAPES[kind].map((shape, i) => numbers(shape, 1.7 + i)) as [Tensor, Tensor];
    w.requiresGrad = kind === 'wgrad';
    const y = kind === 'down' ? nn.functional.conv2d(x, w, null, OPTIONS[kind]) : up(x, w, OPTIONS[kind]);
    if (kind === 'wgrad') y.backward(y.detach());
    kernels.push(lastKernel());
    const result = (kind === 'wgrad' ? w.grad! : y).dataSync() as Float32Array;
    notes.sum = result.reduce((a, b) => a + b, 0);
    w.grad?.dispose();
    return createHash('sha256').update(Buffer.from(result.buffer)).digest('hex');
  });
}

const up = (x: Tensor, w: Tensor, options: object): Tensor => nn.functional.convTranspose2d(x, w, null, options);

const SHAPES: Readonly<Record<Kind, number[][]>> = {
  up: [
    [2, 16, 6, 6],
    [16, 4, 4, 4],
  ],
  wgrad: [
    [2, 16, 6, 6],
    [16, 4, 4, 4],
  ],
  down: [
    [2, 8, 9, 9],
    [4, 8, 3, 3],
  ],
  dilated: [
    [1, 4, 6, 6],
    [4, 4, 3, 3],
  ],
  large: [
    [1, 4, 6, 6],
    [4, 4, 3, 3],
  ],
};
const OPTIONS: Readonly<Record<Kind, object>> = {
  up: { stride: 2, padding: 1 },
  wgrad: { stride: 2, padding: 1 },
  down: { stride: 2, padding: 1 },
  dilated: { dilation: 2, padding: 2 },
  large: { stride: 1, dilation: 2, outputPadding: 1 },
};

const digests = (kind: Kind, runs: number): number => new Set(Array.from({ length: runs }, () => contract(kind))).size;

type Scenario = () => unknown;

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  available() {
    contract('up');
    notes.available = cudnn.isAvailable();
    notes.reason = cudnn.unavailableReason();
    notes.version = cudnn.version();
  },
  settings() {
    contract('up');
    cudnn.deterministic = true;
    contract('up');
    cudnn.deterministic = false;
    useDeterministicAlgorithms(true);
    contract('up');
    useDeterministicAlgorithms(false);
    cudnn.enabled = false;
    contract('up');
    cudnn.enabled = true;
    contract('up');
  },
  'what it cannot do'() {
    contract('large');
    contract('dilated');
    cudnn.deterministic = true;
    contract('dilated');
  },
  'bits of deterministic algorithms'() {
    useDeterministicAlgorithms(true);
    for (const kind of ['up', 'down', 'wgrad'] as const) notes[kind] = digests(kind, 20);
  },
  'bits of others'() {
    preferVariant('cudnn_algo0');
    for (const kind of ['up', 'wgrad'] as const) notes[kind] = digests(kind, 20);
  },
  'a workspace above the limit'() {
    contract('down');
    cudnn.deterministic = true;
    contract('down');
    contract('up');
  },
  'no memory for a workspace': async () => {
    const taken = zeros([100 << 18], { device: 'cuda' });
    cuda.emptyCache();
    cudnn.deterministic = true;
    contract('down');
    useDeterministicAlgorithms(true);
    await attempt(() => contract('down'));
    taken.dispose();
    cuda.emptyCache();
    await attempt(() => contract('down'));
  },
  'not supported when it runs'() {
    contract('down');
    contract('down');
  },
  'every status': async () => {
    const simulator = cudnnControl();
    for (const status of [1001, 1003, 2000, 4000, 5000, 5003]) {
      simulator.configureCudnn(`status=cudnnConvolutionBackwardData:${status}`);
      await attempt(() => contract('up'));
    }
    simulator.configureCudnn('status=none');
    contract('up');
  },
  'a heuristic that fails': async () => {
    await attempt(() => contract('up'));
  },
  contract: async () => {
    preferVariant('cudnn_algo0');
    useDeterministicAlgorithms(true);
    await attempt(() => contract('up'));
    await attempt(() => contract('up'));
    await attempt(() => contract('down'));
    useDeterministicAlgorithms(false);
    cudnn.deterministic = true;
    await attempt(() => contract('wgrad'));
    cudnn.deterministic = false;
    useDeterministicAlgorithms(true, { warnOnly: true });
    contract('up');
    contract('up');
    notes.on = areDeterministicAlgorithmsEnabled();
    await new Promise(setImmediate);
  },
  'a graph': async () => {
    preferVariant('cudnn_algo0');
    const [x, w] = SHAPES.up.map((shape, i) => numbers(shape, 1.7 + i)) as [Tensor, Tensor];
    const eager = up(x, w, OPTIONS.up);
    const graph = cuda.graph(() => up(x, w, OPTIONS.up));
    graph.replay();
    const difference = graph.outputs.sub(eager);
    notes.worst = Math.max(...(difference.dataSync() as Float32Array).map(Math.abs));
    useDeterministicAlgorithms(true);
    await attempt(() => graph.replay());
    useDeterministicAlgorithms(true, { warnOnly: true });
    graph.replay();
    graph.replay();
    preferVariant('cudnn');
    useDeterministicAlgorithms(true);
    // A workspace, a weight that is turned and an activation belong to the graph too.
    const last = x.to({ layout: 'nhwc' });
    const layer = () => up(last, w, { ...OPTIONS.up, activation: 'tanh' });
    const good = cuda.graph(layer);
    kernels.push(lastKernel());
    good.replay();
    good.replay();
    const again = layer();
    const error = good.outputs.sub(again);
    notes.second = Math.max(...(error.dataSync() as Float32Array).map(Math.abs));
    await new Promise(setImmediate);
    graph.outputs.dispose();
    good.outputs.dispose();
    graph.dispose();
    good.dispose();
    for (const t of [x, w, eager, difference, last, again, error]) t.dispose();
  },
  'operands off their boundary'() {
    const x = numbers([3, 1, 3, 3], 1.7);
    const w = numbers([1, 2, 3, 3], 2.7);
    // The second image begins 36 bytes on, which is no multiple of 16.
    const image = x.narrow(0, 1, 1);
    const y = up(image, w, OPTIONS.up);
    kernels.push(lastKernel());
    const whole = up(x, w, OPTIONS.up);
    kernels.push(lastKernel());
    const same = whole.narrow(0, 1, 1);
    const difference = y.sub(same);
    notes.worst = Math.max(...(difference.dataSync() as Float32Array).map(Math.abs));
    for (const t of [x, w, image, y, whole, same, difference]) t.dispose();
  },
  benchmark() {
    cudnn.benchmark = true;
    contract('up');
    contract('up');
    contract('wgrad');
    notes.finds = finds();
  },
  'benchmark without cuDNN'() {
    cudnn.benchmark = true;
    contract('up');
    contract('wgrad');
  },
  'benchmark under the contract'() {
    cudnn.benchmark = true;
    useDeterministicAlgorithms(true);
    notes.up = digests('up', 3);
    notes.finds = finds();
  },
  'benchmark in a graph'() {
    cudnn.benchmark = true;
    const [x, w] = SHAPES.up.map((shape, i) => numbers(shape, 1.7 + i)) as [Tensor, Tensor];
    const graph = cuda.graph(() => up(x, w, OPTIONS.up));
    kernels.push(lastKernel());
    graph.replay();
    notes.finds = finds();
    graph.outputs.dispose();
    graph.dispose();
    for (const t of [x, w]) t.dispose();
  },
};

/** How often algorithms were measured. */
function finds(): number {
  const counters = cudnnControl().cudnnCounters();
  return Object.entries(counters)
    .filter(([name]) => name.includes('Find'))
    .reduce((sum, [, count]) => sum + count.calls, 0);
}

const [name = '', prefer] = process.argv.slice(2);
const scenario = SCENARIOS[name];
if (scenario === undefined) throw new Error(`scenario must be one of ${Object.keys(SCENARIOS).join(', ')}`);
if (prefer !== 'free') preferVariant('cudnn');
zeros([1], { device: 'cuda' }).dispose();
const liveBefore = live();
await scenario();
cuda.synchronize();
const summary = { kernels, errors, warnings, liveBefore, liveAfter: live(), notes };
console.log(JSON.stringify(summary satisfies CudnnSummary));
