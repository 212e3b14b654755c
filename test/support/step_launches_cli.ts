/**
 * Which kernels a layer, a loss or a step launches on cuda:0 once everything is loaded and packed, as one line of JSON.
 * Nothing has to be computed for that: FRACSTRIDE_LIBCUDA may name the driver that does nothing.
 */

import { nn, noGrad, optim, randn, scope, type Tensor, zeros } from 'fracstride';
import { preferVariant } from '../../src/kernels.js';
import { native } from '../../src/native.js';

/** Kernel names in the order of their launches. */
export interface Directions {
  readonly forward: readonly string[];
  readonly backward: readonly string[];
}

export interface StepLaunches {
  /** A transposed convolution and an activation, by `variant activation`. */
  readonly layers: Readonly<Record<string, Directions>>;
  /** A transposed convolution, a batch norm in training and a ReLU. */
  readonly norm: Directions;
  /** The same of few channels and many positions, without the convolution. */
  readonly longNorm: Directions;
  /** The same in evaluation mode, nothing recorded. */
  readonly evaluated: readonly string[];
  readonly loss: Directions;
  readonly step: readonly string[];
  /** Of a second backward pass alone. */
  readonly accumulated: readonly string[];
}

const device = 'cuda:0';
const VARIANTS = ['gather', 'phase', 'igemm', 'splitk'];
const ACTIVATIONS = {
  relu: new nn.ReLU(),
  leaky_relu: new nn.LeakyReLU(0.2),
  tanh: new nn.Tanh(),
  sigmoid: new nn.Sigmoid(),
};

const addon = native();
const { load, launch } = addon;
const names = new Map<number, string>();
let launched: number[] = [];
addon.load = (...args) => {
  const handle = load.apply(addon, args);
  names.set(handle, args[1]);
  return handle;
};
addon.launch = (...args) => {
  launched.push(args[1]);
  launch.apply(addon, args);
};

function launchesOf(fn: () => void): string[] {
  launched = [];
  fn();
  return launched.map((handle) => names.get(handle)!);
}

/** The second time: kernels are loaded and weights are packed by then. */
function directions(leaves: readonly Tensor[], forward: () => Tensor): Directions {
  const run = (): Directions =>
    scope(() => {
      for (const leaf of leaves) leaf.grad = null;
      const results: Tensor[] = [];
      const up = launchesOf(() => results.push(forward()));
      const [y] = results as [Tensor];
      const g = y.ndim === 0 ? null : zeros(y.shape, { device });
      return { forward: up, backward: launchesOf(() => y.backward(g)) };
    });
  run();
  return run();
}

const x = randn([2, 16, 8, 8], { device, requiresGrad: true });
const layer = new nn.ConvTranspose2d(16, 32, 4, { stride: 2, padding: 1, device });
const plain = new nn.ConvTranspose2d(16, 32, 4, { stride: 2, padding: 1, bias: false, device });

const layers: Record<string, Directions> = {};
for (const variant of VARIANTS) {
  preferVariant(variant);
  for (const [name, activation] of Object.entries(ACTIVATIONS)) {
    const net = new nn.Sequential(layer, activation);
    layers[`${variant} ${name}`] = directions([x, ...net.parameters()], () => net.forward(x));
  }
}
preferVariant(null);
const normal = new nn.Sequential(plain, new nn.BatchNorm2d(32, { device }), new nn.ReLU());
const norm = directions([x, ...normal.parameters()], () => normal.forward(x));
const long = randn([2, 4, 64, 64], { device, requiresGrad: true });
const ofLong = new nn.Sequential(new nn.BatchNorm2d(4, { device }), new nn.ReLU());
const longNorm = directions([long, ...ofLong.parameters()], () => ofLong.forward(long));
normal.eval();
const evaluate = (): string[] => launchesOf(() => scope(() => void noGrad(() => normal.forward(x))));
evaluate();
const evaluated = evaluate();
normal.train();
const [logits, wanted] = [randn([64, 1], { device, requiresGrad: true }), zeros([64, 1], { device })];
const loss = directions([logits], () => new nn.BCEWithLogitsLoss().forward(logits, wanted));
const optimizer = new optim.Adam(normal.parameters());
optimizer.step();
const step = launchesOf(() => optimizer.step());
const twice = (): void =>
  scope(() => {
    normal.forward(x).sum().backward();
  });
twice();
const once = launchesOf(twice);
for (const leaf of [x, ...normal.parameters()]) leaf.grad = null;
const first = launchesOf(twice);
const accumulated = once.filter((name) => !first.includes(name));
console.log(JSON.stringify({ layers, norm, longNorm, evaluated, loss, step, accumulated } satisfies StepLaunches));
