/** Everything public that can be called, found by walking the package, and instances of its classes to call methods of. */

import * as fracstride from 'fracstride';
import { nn, optim, type Tensor, tensor } from 'fracstride';

export interface Target {
  readonly name: string;
  call(args: unknown[]): unknown;
}

/** Not for callers: the error class, an abstract class, and what TypeScript knows as protected or internal. */
const LEFT_OUT = new Set(
  (
    'FracstrideError Optimizer registerBuffer addChild prepareLoad ownParameters ownBuffers ownTensors replace ' +
    'forwardFused update validate'
  ).split(' '),
);

export function publicTargets(): Target[] {
  const found: Target[] = [];
  walk('', fracstride, found, new Set());
  for (const [name, make] of Object.entries(INSTANCES)) found.push(...methodsOf(name, make));
  return found;
}

type Property = [name: string, descriptor: PropertyDescriptor];

function walk(path: string, holder: object, found: Target[], seen: Set<object>): void {
  if (seen.has(holder)) return;
  seen.add(holder);
  for (const [key, descriptor] of propertiesOf(holder)) {
    if (LEFT_OUT.has(key)) continue;
    const name = path ? `${path}.${key}` : key;
    if (descriptor.set) found.push(setter(name, () => holder, key));
    const value = 'value' in descriptor ? descriptor.value : undefined;
    if (typeof value === 'function') found.push(isClass(value) ? construct(name, value) : plain(name, holder, key));
    else if (typeof value === 'object' && value !== null && !Array.isArray(value)) walk(name, value, found, seen);
  }
}

/** Own and inherited properties, up to what every object has. */
function propertiesOf(holder: object): Property[] {
  const all = new Map<string, PropertyDescriptor>();
  for (
    let o: object | null = holder;
    o && o !== Object.prototype && o !== Function.prototype;
    o = Object.getPrototypeOf(o)
  ) {
    for (const [key, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(o))) {
      if (key !== 'constructor' && !all.has(key)) all.set(key, descriptor);
    }
  }
  return [...all];
}

const isClass = (value: () => unknown) => /^class\b/.test(Function.prototype.toString.call(value));

type Callable = (...args: unknown[]) => unknown;

const plain = (name: string, holder: object, key: string): Target => ({
  name,
  call: (args) => (holder as Record<string, Callable>)[key]!(...args),
});

const construct = (name: string, type: unknown): Target => ({
  name: `new ${name}`,
  call: (args) => new (type as new (...args: unknown[]) => unknown)(...args),
});

const setter = (name: string, holder: () => object, key: string): Target => ({
  name: `${name} =`,
  call: (args) => {
    (holder() as Record<string, unknown>)[key] = args[0];
  },
});

function methodsOf(name: string, make: () => object): Target[] {
  const sample = make();
  const targets = propertiesOf(sample).flatMap(([key, descriptor]): Target[] => {
    if (LEFT_OUT.has(key)) return [];
    if (descriptor.set) return [setter(`${name}.${key}`, make, key)];
    if (typeof descriptor.value !== 'function') return [];
    return [{ name: `${name}.${key}`, call: (args) => (make() as Record<string, Callable>)[key]!(...args) }];
  });
  return targets;
}

const values = (requiresGrad = false): Tensor =>
  tensor(new Float32Array(32).fill(0.5), { shape: [1, 2, 4, 4], device: 'cpu', requiresGrad });

function withGradient(): Tensor {
  const p = nn.parameter(values());
  p.grad = values();
  return p;
}

const INSTANCES: Readonly<Record<string, () => object>> = {
  tensor: () => values(),
  leaf: () => values(true),
  result: () => values(true).mul(2),
  int32: () => tensor(new Int32Array([1, 2, 3]), { dtype: 'int32', device: 'cpu' }),
  convTranspose2d: () => new nn.ConvTranspose2d(2, 3, 3, { device: 'cpu' }),
  conv2d: () => new nn.Conv2d(2, 3, 3, { device: 'cpu' }),
  batchNorm2d: () => new nn.BatchNorm2d(2, { device: 'cpu' }),
  sequential: () => new nn.Sequential(new nn.Conv2d(2, 3, 3, { device: 'cpu' }), new nn.ReLU()),
  leakyReLU: () => new nn.LeakyReLU(0.1),
  mseLoss: () => new nn.MSELoss(),
  l1Loss: () => new nn.L1Loss(),
  bceWithLogitsLoss: () => new nn.BCEWithLogitsLoss(),
  sgd: () => new optim.SGD([withGradient()], { lr: 0.1, momentum: 0.9 }),
  adam: () => new optim.Adam([withGradient()]),
  adamw: () => new optim.AdamW([withGradient()], { amsgrad: true }),
};
