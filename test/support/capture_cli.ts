/** `node capture_cli.js`: training steps recorded on cuda:0 and replayed, against the same steps on the CPU; one line of JSON. */

import { cuda, nn, optim, scope, type Tensor, tensor, zeros } from 'fracstride';
import { native } from '../../src/native.js';
import { noise } from './kernels.js';

export interface CaptureReport {
  /** Largest differences between replayed steps and steps on the CPU, relative to the largest number. */
  readonly errors: Readonly<Record<string, number>>;
  /** The counters after three steps and five replays. */
  readonly counted: Readonly<Record<string, number>>;
  /** What steps that cannot be recorded say. */
  readonly refusals: Readonly<Record<string, string>>;
  readonly left: number;
}

const SHAPES = [[3, 4], [5], [700]];
const REPLAYS = 5;
const numbers = (value: Tensor): number[] => Array.from(value.dataSync());
const gradient = (shape: readonly number[], step: number, i: number, device: string): Tensor =>
  tensor(
    noise(
      shape.reduce((a, b) => a * b, 1),
      10 * step + i + 1,
    ),
    { device, dtype: 'float32' },
  ).reshape(shape);

type Make = (params: Tensor[], device: string) => optim.SGD | optim.Adam | optim.AdamW;

/** Parameters after three steps and five more with the gradients of the third; on cuda:0 those five are replays. */
function run(make: Make, device: string): { params: number[][]; counted: number } {
  return scope(() => {
    const params = SHAPES.map((shape, i) => nn.parameter(gradient(shape, 9, i, device).clone()));
    const grads = SHAPES.map((shape) => zeros(shape, { device }));
    const optimizer = make(params, device);
    for (const [i, p] of params.entries()) p.grad = grads[i]!;
    for (let step = 0; step < 3; step++) {
      for (const [i, grad] of grads.entries()) grad.copy_(gradient(SHAPES[i]!, step, i, device));
      optimizer.step();
    }
    if (device === 'cpu') for (let i = 0; i < REPLAYS; i++) optimizer.step();
    else {
      using recorded = cuda.graph(() => optimizer.step());
      for (let i = 0; i < REPLAYS; i++) recorded.replay();
    }
    const result = params.map(numbers);
    const step = optimizer.stateDict().state[0]?.step;
    const counted = typeof step === 'object' && step !== null ? step.item() : (step ?? 0);
    optimizer.dispose();
    for (const p of params) p.dispose();
    return { params: result, counted };
  });
}

const MAKE: Record<string, Make> = {
  SGD: (p) => new optim.SGD(p, { lr: 0.1, momentum: 0.9 }),
  Adam: (p, device) => new optim.Adam(p, { lr: 0.05, capturable: device !== 'cpu' }),
  'AdamW amsgrad': (p, device) => new optim.AdamW(p, { lr: 0.05, amsgrad: true, capturable: device !== 'cpu' }),
};

function refusal(make: Make, steps: number): string {
  return scope(() => {
    const p = nn.parameter(tensor([1, 2, 3], { device: 'cuda:0' }));
    p.grad = tensor([1, 1, 1], { device: 'cuda:0' });
    const optimizer = make([p], 'cuda:0');
    for (let i = 0; i < steps; i++) optimizer.step();
    try {
      cuda.graph(() => optimizer.step());
      return 'recorded';
    } catch (error) {
      return (error as Error).message;
    } finally {
      optimizer.dispose();
      p.dispose();
    }
  });
}

/** Batches that a batch norm has counted after one forward and so many replays of another, then one more forward. */
function batchesCounted(): number {
  return scope(() => {
    using layer = new nn.BatchNorm2d(3, { device: 'cuda:0' });
    const x = tensor(noise(120, 4), { device: 'cuda:0', dtype: 'float32' }).reshape([2, 3, 4, 5]);
    layer.forward(x);
    using recorded = cuda.graph(() => layer.forward(x));
    for (let i = 0; i < REPLAYS; i++) recorded.replay();
    layer.forward(x);
    return layer.numBatchesTracked!.item();
  });
}

const errors: Record<string, number> = {};
const counted: Record<string, number> = {};
for (const [title, make] of Object.entries(MAKE)) {
  const [cpu, cuda0] = ['cpu', 'cuda:0'].map((device) => run(make, device));
  const pairs = cuda0!.params.flatMap((values, i) => values.map((value, k) => [value, cpu!.params[i]![k]!] as const));
  const scale = Math.max(...pairs.map(([, want]) => Math.abs(want)));
  errors[title] = Math.max(...pairs.map(([got, want]) => Math.abs(got - want) / scale));
  counted[title] = cuda0!.counted;
}
counted.batches = batchesCounted();
const refusals = {
  'Adam without capturable': refusal((p) => new optim.Adam(p), 2),
  'the first step of Adam': refusal((p) => new optim.Adam(p, { capturable: true }), 0),
  'the first step with momentum': refusal((p) => new optim.SGD(p, { momentum: 0.9 }), 0),
  'the first step without state': refusal((p) => new optim.SGD(p), 0),
};
console.log(JSON.stringify({ errors, counted, refusals, left: native().memory(1).live } satisfies CaptureReport));
