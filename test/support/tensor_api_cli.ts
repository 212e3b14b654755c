/**
 * `node tensor_api_cli.js --dtype float32`: every operation of the tensor API on cuda:0 and on the CPU, forward and
 * gradients, compared; as one line of JSON.
 */

import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import {
  arange,
  cat,
  type Dtype,
  grad,
  io,
  manualSeed,
  nn,
  noGrad,
  optim,
  reciprocal,
  scope,
  sign,
  stack,
  type Tensor,
  tensor,
  where,
} from 'fracstride';
import { cudaOperations } from '../../codegen/cuda_operations.js';
import { type Asked, observeKernels } from '../../src/kernels.js';
import { native } from '../../src/native.js';
import { noise } from './kernels.js';
import { launchesDuring } from './launches.js';

const { functional: F } = nn;
const { values: options } = parseArgs({ options: { dtype: { type: 'string', default: 'float32' } } });
const dtype = options.dtype as Dtype;

export interface TensorApiReport {
  /** Largest difference of each case, relative to the largest number of its tensor. */
  readonly errors: Readonly<Record<string, number>>;
  /** Operations of the CUDA table that no case ran in this type. */
  readonly missed: readonly string[];
  /** Launches on cuda:0 of one step over a group. */
  readonly launches: Readonly<Record<string, number>>;
  /** Of every number that came from cuda:0. */
  readonly digest: string;
  /** Live bytes of cuda:0 at the end. */
  readonly left: number;
}

/** Where a case runs, and the tensors it starts from: the same numbers on every device. */
class Place {
  #seed = 1;

  constructor(
    readonly device: string,
    readonly dtype: Dtype,
  ) {}

  values(shape: readonly number[], low = -2, high = 2): Tensor {
    const count = shape.reduce((product, size) => product * size, 1);
    const data = noise(count, this.#seed++, low, high);
    return tensor(data, { device: this.device, dtype: this.dtype }).reshape(shape);
  }

  leaf(shape: readonly number[], low?: number, high?: number): Tensor {
    const value = this.values(shape, low, high).clone();
    value.requiresGrad = true;
    return value;
  }
}

type Case = (place: Place) => readonly (Tensor | null)[];

/** The result of `fn` of leaves, and their gradients for a gradient that is no constant. */
function withGradients(
  fn: (...xs: Tensor[]) => Tensor,
  shapes: readonly (readonly number[])[],
  range: readonly [number, number] = [-2, 2],
): Case {
  return (place) => {
    const leaves = shapes.map((shape) => place.leaf(shape, ...range));
    const y = fn(...leaves);
    y.backward(place.values(y.shape, -1, 1));
    return [y, ...leaves.map((leaf) => leaf.grad)];
  };
}

const A = [3, 4, 5];
const IMAGE = [2, 3, 6, 5];

const ELEMENTWISE: Record<string, Case> = {
  neg: withGradients((x) => x.neg(), [A]),
  abs: withGradients((x) => x.abs(), [A]),
  exp: withGradients((x) => x.exp(), [A]),
  log: withGradients((x) => x.log(), [A], [0.1, 4]),
  sqrt: withGradients((x) => x.sqrt(), [A], [0.1, 4]),
  reciprocal: withGradients((x) => reciprocal(x), [A], [0.5, 3]),
  square: withGradients((x) => x.square(), [A]),
  sign: (place) => [sign(place.values(A))],
  pow: withGradients((x) => x.pow(1.7), [A], [0.1, 3]),
  clamp: withGradients((x) => x.clamp({ min: -0.5, max: 0.8 }), [A]),
  relu: withGradients((x) => x.relu(), [A]),
  leakyRelu: withGradients((x) => x.leakyRelu(0.2), [A]),
  tanh: withGradients((x) => x.tanh(), [A]),
  sigmoid: withGradients((x) => x.sigmoid(), [A]),
  add: withGradients((x, y) => x.add(y), [A, [4, 1]]),
  'add a number': withGradients((x) => x.add(1.5), [A]),
  sub: withGradients((x, y) => x.sub(y), [A, [5]]),
  mul: withGradients((x, y) => x.mul(y), [A, [3, 1, 5]]),
  div: withGradients((x, y) => x.div(y), [A, A], [0.5, 2]),
  'divide a number': withGradients((x) => x.div(3), [A]),
  maximum: withGradients((x, y) => x.maximum(y), [A, A]),
  minimum: withGradients((x, y) => x.minimum(y), [A, [5]]),
  gt: (place) => [place.values(A).gt(place.values(A))],
  eq: (place) => [place.values(A).relu().eq(0)],
  where: withGradients((x, y, c) => where(c.detach().gt(0), x, y), [A, A, A].slice(0, 3)),
};

const SHAPES: Record<string, Case> = {
  'permute and contiguous': withGradients((x) => x.permute([2, 0, 1]).contiguous(), [A]),
  'transpose, narrow, select': withGradients((x) => x.transpose(0, 2).narrow(0, 1, 3).select(1, 2), [A]),
  'reshape, flatten, squeeze': withGradients((x) => x.permute([1, 0, 2]).flatten(1).unsqueeze(0).squeeze(0), [A]),
  expand: withGradients(
    (x) => x.expand([4, 3, 5]),
    [[3, 1]].map(() => [1, 3, 1]),
  ),
  cat: withGradients((x, y) => cat([x, y], 1), [A, [3, 2, 5]]),
  stack: withGradients((x, y) => stack([x, y], 1), [A, A]),
  clone: withGradients((x) => x.transpose().clone(), [A]),
  'channels last and back': withGradients(
    (x) => x.to({ layout: 'nhwc' }).mul(2).contiguous('nchw').contiguous('nhwc'),
    [[2, 5, 40, 7]],
  ),
  'pad zeros': withGradients((x) => F.pad(x, [1, 2, 0, 3]), [IMAGE]),
  'pad reflect': withGradients((x) => F.pad(x, [1, 2, 2, 1], { mode: 'reflect' }), [IMAGE]),
  copy_: (place) => [place.values(A).copy_(place.values([5]))],
  'copy_ across devices': (place) => [place.values(A).copy_(tensor(noise(60, 5)).reshape(A))],
};

/** Every other type, and back. */
const CASTS: Record<string, Case> = Object.fromEntries(
  (['float32', 'float64', 'float16', 'bfloat16', 'int32'] as const).map((other) => [
    `to ${other} and back`,
    ({ device, dtype: own }: Place) => {
      const start = tensor(noise(1000, 3, -100, 100), { device, dtype: 'float64' });
      const there = start.to({ dtype: own }).to({ dtype: other });
      return [there.to({ dtype: own }), there.to({ dtype: 'float64' })];
    },
  ]),
);

const REDUCTIONS: Record<string, Case> = {
  sum: withGradients((x) => x.sum(), [A]),
  'sum of many': withGradients((x) => x.sum(), [[50_001]], [-1, 2]),
  'sum over a dimension': withGradients((x) => x.sum({ dim: 1 }), [A]),
  'sum over columns': withGradients((x) => x.sum({ dim: 0 }), [[3000, 7]], [0, 1]),
  'sum over outer dimensions': withGradients((x) => x.sum({ dim: [0, 2], keepdim: true }), [A]),
  'sum of a transposed': withGradients((x) => x.transpose(0, 1).sum({ dim: 2 }), [A]),
  mean: withGradients((x) => x.mean(), [A]),
  'mean over dimensions': withGradients((x) => x.mean({ dim: [0, 1] }), [A]),
  max: withGradients((x) => x.max(), [A]),
  'max over dimensions': withGradients((x) => x.max({ dim: [1, 2] }), [A]),
  'max over columns': withGradients((x) => x.max({ dim: 0 }), [[600, 9]]),
  'sum of nothing': (place) => [place.values([0, 3]).sum({ dim: 0 })],
};

const LOSSES: Record<string, Case> = Object.fromEntries(
  (['mean', 'sum', 'none'] as const).flatMap((reduction): [string, Case][] => [
    [`mse ${reduction}`, withGradients((x, t) => F.mseLoss(x, t, { reduction }), [A, A])],
    [`mse ${reduction} of a constant`, withGradients((x) => F.mseLoss(x, x.detach().mul(0.5), { reduction }), [A])],
    [`l1 ${reduction}`, withGradients((x, t) => F.l1Loss(x, t, { reduction }), [A, A])],
    [`l1 ${reduction} of a constant`, withGradients((x) => F.l1Loss(x, x.detach().mul(0.5), { reduction }), [A])],
    [
      `bce ${reduction}`,
      (place) => {
        const x = place.leaf(A, -5, 5);
        const y = F.binaryCrossEntropyWithLogits(x, place.values(A, 0, 1), { reduction });
        y.backward(place.values(y.shape, 0.5, 1));
        return [y, x.grad];
      },
    ],
  ]),
);

function batchNorm(shape: readonly number[], layout: 'nchw' | 'nhwc', training: boolean): Case {
  return (place) => {
    const c = shape[1]!;
    const x = place.leaf(shape, 1, 3);
    const [weight, bias] = [place.leaf([c], 0.5, 2), place.leaf([c])];
    const running = [place.values([c]), place.values([c], 0.5, 2)] as const;
    const y = F.batchNorm(x.contiguous(layout), ...running, { weight, bias, training, momentum: 0.3 });
    y.backward(place.values(shape, -1, 1));
    return [y, x.grad, weight.grad, bias.grad, ...running];
  };
}

const LAYERS: Record<string, Case> = {
  'batch norm': batchNorm([4, 3, 5, 7], 'nchw', true),
  'batch norm of many': batchNorm([8, 2, 64, 33], 'nchw', true),
  'batch norm, channels last': batchNorm([4, 6, 5, 7], 'nhwc', true),
  'batch norm of many, channels last': batchNorm([5, 9, 40, 30], 'nhwc', true),
  'batch norm by running averages': batchNorm([4, 3, 5, 7], 'nchw', false),
  'batch norm of many by running averages': batchNorm([8, 2, 64, 33], 'nchw', false),
  'batch norm by running averages, channels last': batchNorm([4, 6, 5, 7], 'nhwc', false),
  linear: withGradients((x, w, b) => F.linear(x, w, b), [[4, 6], [3, 6], [3]]),
  conv2d: withGradients((x, w, b) => F.conv2d(x, w, b, { stride: 2, padding: 1 }), [IMAGE, [4, 3, 3, 3], [4]]),
  convTranspose2d: withGradients(
    (x, w, b) => F.convTranspose2d(x, w, b, { stride: 2, padding: 1 }),
    [IMAGE, [3, 4, 4, 4], [4]],
  ),
  'second gradients': (place) => {
    const x = place.leaf([4, 3, 5, 5]);
    const y = F.batchNorm(x.square(), null, null, { training: true }).tanh().mul(place.values(x.shape)).sum();
    const first = grad(y, x, { createGraph: true });
    return [first, grad(first.square().sum(), x)];
  },
  'accumulated gradients': (place) => {
    const x = place.leaf(A);
    for (let i = 0; i < 3; i++) x.square().sum().backward();
    return [x.grad];
  },
};

type Named = 'SGD' | 'Adam' | 'AdamW';

/** Five steps; the last parameter has a gradient in every other one, and one gradient lies unlike its parameter. */
function trajectory(kind: Named, settings: Record<string, unknown>): Case {
  return (place) => {
    const params = [[3, 4], [5], [2100], [2]].map((shape) => nn.parameter(place.values(shape, -1, 1).clone()));
    const optimizer = new optim[kind](params, settings);
    for (let step = 0; step < 5; step++) {
      params.forEach((p, i) => {
        const drop = i === 3 && step % 2 === 1;
        const gradient = i === 0 ? place.values([4, 3], -1, 1).transpose() : place.values(p.shape, -1, 1);
        p.grad = drop ? null : gradient;
      });
      optimizer.step();
    }
    const states = Object.values(optimizer.stateDict().state).flatMap((entry) =>
      Object.values(entry).filter((value) => typeof value === 'object'),
    ) as Tensor[];
    const results = [...params, ...states].map((value) => value.detach().clone());
    optimizer.dispose();
    for (const p of params) p.dispose();
    return results;
  };
}

const OPTIMIZERS: Record<string, Case> = Object.fromEntries(
  (
    [
      ['SGD', { lr: 0.1 }],
      ['SGD', { lr: 0.1, momentum: 0.9 }],
      ['SGD', { lr: 0.1, momentum: 0.9, dampening: 0.3, weightDecay: 0.1, maximize: true }],
      ['SGD', { lr: 0.1, momentum: 0.8, nesterov: true, weightDecay: 0.05 }],
      ['Adam', { lr: 0.05 }],
      ['Adam', { lr: 0.05, amsgrad: true, weightDecay: 0.1 }],
      ['Adam', { lr: 0.05, betas: [0.5, 0.9], maximize: true }],
      ['AdamW', { lr: 0.05 }],
      ['AdamW', { lr: 0.05, amsgrad: true, weightDecay: 0.2 }],
    ] as const
  ).map(([kind, settings]) => [`${kind} ${JSON.stringify(settings)}`, trajectory(kind, settings)]),
);

const MADE: Record<string, Case> = {
  arange: (place) => [arange(-3, 40, 0.25, { device: place.device, dtype: place.dtype })],
  'initialisation and random numbers': ({ device, dtype: type }) => {
    manualSeed(7);
    using layer = new nn.ConvTranspose2d(3, 4, 3, { device, dtype: type });
    return [nn.init.uniform_(layer.weight as Tensor, -1, 1), nn.init.normal_(layer.bias as Tensor)].map((v) =>
      v.detach().clone(),
    );
  },
};

function smallNet(): nn.Sequential {
  return new nn.Sequential(
    new nn.ConvTranspose2d(3, 4, 4, { stride: 2, padding: 1, dtype }),
    new nn.BatchNorm2d(4, { dtype }),
    new nn.LeakyReLU(0.1),
    new nn.Conv2d(4, 2, 3, { dtype }),
  );
}

/** Parameters and buffers of a network, as copies. */
const stateOf = (net: nn.Module): Tensor[] => Object.values(net.stateDict()).map((value) => value.detach().clone());

const MOVED: Record<string, Case> = {
  'gradients that add up from zeros': (place) => {
    const leaves = [[5], [3, 4, 5], [5000], [1]].map((shape) => place.leaf(shape));
    using optimizer = new optim.SGD(leaves, { lr: 0.1 });
    const pass = (): void => {
      for (const leaf of leaves) leaf.mul(leaf).sum().backward();
    };
    pass();
    optimizer.zeroGrad({ setToNone: false });
    const total = (): Tensor => leaves.map((leaf) => leaf.mul(leaf).sum()).reduce((a, b) => a.add(b));
    total().backward();
    total().backward();
    return leaves.map((leaf) => leaf.grad);
  },
  'a network, moved, trains on, and goes on from its states': (place) => {
    const { device } = place;
    using net = smallNet();
    noGrad(() => {
      for (const p of net.parameters()) p.copy_(place.values(p.shape, -0.5, 0.5));
    });
    net.to({ device });
    const x = place.values(IMAGE);
    const train = (model: nn.Module & { forward(x: Tensor): Tensor }, by: optim.AdamW): void => {
      by.zeroGrad();
      F.mseLoss(model.forward(x), place.values([2, 2, 10, 8], 0, 1)).backward();
      by.step();
    };
    using optimizer = new optim.AdamW(net.parameters(), { lr: 0.01, eps: 1e-3 });
    train(net, optimizer);
    // by way of files' bytes and of a state that was on the host
    const bytes = io.safetensors.serialize(net.stateDict());
    using second = smallNet();
    second.to({ device });
    second.loadStateDict(io.safetensors.deserialize(bytes, { device: 'cpu' }));
    using resumed = new optim.AdamW(second.parameters());
    resumed.loadStateDict(optimizer.stateDict());
    train(second, resumed);
    second.to({ device: 'cpu' });
    return stateOf(second);
  },
};

const CASES = {
  ...MOVED,
  ...ELEMENTWISE,
  ...SHAPES,
  ...CASTS,
  ...REDUCTIONS,
  ...LOSSES,
  ...LAYERS,
  ...OPTIMIZERS,
  ...MADE,
};

const hash = createHash('sha256');
const numbers = (value: Tensor): Float64Array => Float64Array.from(value.dataSync());

/** The largest difference, relative to the largest number; infinite where shapes or what is finite differ. */
function difference(a: Tensor | null, b: Tensor | null): number {
  if (a === null || b === null) return a === b ? 0 : Infinity;
  if (String(a.shape) !== String(b.shape) || a.dtype !== b.dtype) return Infinity;
  const [x, y] = [numbers(a), numbers(b)];
  hash.update(x);
  const scale = Math.max(1e-30, ...y.map(Math.abs));
  return x.reduce((worst, value, i) => {
    const apart = Object.is(value, y[i]) ? 0 : Math.abs(value - y[i]!);
    return Number.isNaN(apart) ? Infinity : Math.max(worst, apart / scale);
  }, 0);
}

function errorOf(run: Case): number {
  return scope(() => {
    const [cpu, cuda] = ['cpu', 'cuda:0'].map((device) => run(new Place(device, dtype)));
    if (cpu!.length !== cuda!.length) return Infinity;
    return Math.max(...cuda!.map((value, i) => difference(value, cpu![i]!)));
  });
}

/** Launches of one step over so many parameters. */
function launchesOf(kind: Named, count: number): number {
  return scope(() => {
    const device = 'cuda:0';
    const params = Array.from({ length: count }, () => nn.parameter(tensor([1, 2, 3], { device, dtype })));
    for (const p of params) p.grad = tensor([1, 1, 1], { device, dtype });
    const optimizer = new optim[kind](params, { lr: 0.1 });
    optimizer.step();
    const launches = launchesDuring(() => optimizer.step());
    optimizer.dispose();
    for (const p of params) p.dispose();
    return launches;
  });
}

const ran = new Set<string>();
observeKernels((asked: Asked, device) => {
  if (device.name === 'cuda:0' && 'operation' in asked) ran.add(`${asked.operation} ${asked.type}`);
});
const errors = Object.fromEntries(Object.entries(CASES).map(([title, run]) => [title, errorOf(run)]));
const short = { float32: 'f32', float64: 'f64', float16: 'f16', bfloat16: 'bf16', int32: 'i32' }[dtype];
const missed = cudaOperations()
  .filter(({ type }) => type === short)
  .map(({ operation, type }) => `${operation} ${type}`)
  .filter((name) => !ran.has(name));
const launches = {
  'SGD 100': launchesOf('SGD', 100),
  'SGD 113': launchesOf('SGD', 113),
  'Adam 64': launchesOf('Adam', 64),
  'Adam 130': launchesOf('Adam', 130),
};
const left = native().memory(1).live;
console.log(JSON.stringify({ errors, missed, launches, digest: hash.digest('hex'), left } satisfies TensorApiReport));
