/**
 * Arguments nobody should pass: wrong types, impossible numbers, objects that throw when they are looked at, memory that
 * is gone, tensors that are disposed. A value is drawn afresh for every call, so that no call can spoil the next.
 */

import { type Dtype, Tensor, tensor } from 'fracstride';

/** What a callback of these throws: the one foreign error that may come out again. */
export class CallbackError extends Error {}

export interface Draws {
  /** A whole number in [0, below). */
  below(limit: number): number;
  pick<T>(list: readonly T[]): T;
}

/** mulberry32: small, seeded, the same everywhere. */
export function draws(seed: number): Draws {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number) => Math.floor(next() * limit);
  return { below, pick: (list) => list[below(list.length)]! };
}

export interface Hostile {
  readonly value: unknown;
  readonly text: string;
}

const NUMBERS = [
  0,
  -0,
  1,
  2,
  3,
  7,
  -1,
  -7,
  0.5,
  1.5,
  Number.NaN,
  Infinity,
  -Infinity,
  2 ** 31,
  -(2 ** 31),
  2 ** 32,
  2 ** 53,
].concat([2 ** 63, 1e308, 5e-324, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]);
const STRINGS = [
  '',
  'same',
  'valid',
  'zeros',
  'cpu',
  'cuda',
  'cuda:99',
  'cuda:-1',
  'auto',
  'float32',
  'float16',
  'int32',
  'nope',
].concat([
  'nchw',
  'nhwc',
  'mean',
  'none',
  '__proto__',
  'constructor',
  'length',
  '\0',
  '💥',
  'x'.repeat(5000),
  '-1',
  '1e3',
]);
const KEYS = [
  'stride',
  'padding',
  'outputPadding',
  'groups',
  'dilation',
  'bias',
  'paddingMode',
  'dtype',
  'device',
  'shape',
]
  .concat([
    'requiresGrad',
    'layout',
    'outputSize',
    'gradOutputs',
    'createGraph',
    'lr',
    'betas',
    'momentum',
    'eps',
    'reduction',
  ])
  .concat(['affine', 'min', 'max', 'dim', 'keepdim', 'weightDecay', 'nesterov', 'strict', '__proto__', 'nonsense']);
const DTYPES: readonly Dtype[] = ['float32', 'float64', 'float16', 'bfloat16', 'int32'];
const SHAPES = [
  [],
  [1],
  [3],
  [4],
  [0],
  [2, 3],
  [1, 2, 4, 4],
  [2, 3, 3, 3],
  [2, 2, 3, 3],
  [0, 2, 3, 3],
  [2, 4, 4],
  [1, 1, 1, 1, 1],
];

/** One argument; `depth` bounds how far arrays and objects nest. */
export function hostile(d: Draws, depth = 2): Hostile {
  const kinds: ((d: Draws, depth: number) => Hostile)[] = [
    number,
    number,
    text,
    tensorOf,
    tensorOf,
    primitive,
    strange,
    buffer,
    callback,
  ];
  if (depth > 0) kinds.push(array, array, object, object, object);
  return d.pick(kinds)(d, depth);
}

function number(d: Draws): Hostile {
  const value = d.pick(NUMBERS);
  return { value, text: Object.is(value, -0) ? '-0' : String(value) };
}

function text(d: Draws): Hostile {
  const value = d.pick(STRINGS);
  return { value, text: JSON.stringify(value.slice(0, 20)) };
}

function primitive(d: Draws): Hostile {
  const value = d.pick<unknown>([null, undefined, true, false, 1n, -(2n ** 70n), Symbol('hostile'), Symbol.iterator]);
  return { value, text: String(value) };
}

function tensorOf(d: Draws): Hostile {
  const shape = d.pick(SHAPES);
  const dtype = d.pick(DTYPES);
  const count = shape.reduce((a, b) => a * b, 1);
  const requiresGrad = dtype !== 'int32' && d.below(2) === 1;
  const made = tensor(new Float32Array(count).fill(dtype === 'int32' ? 2 : 0.5), {
    shape: [...shape],
    dtype,
    device: 'cpu',
    requiresGrad,
  });
  const state = d.pick(['plain', 'plain', 'disposed', 'view', 'result', 'proxy'] as const);
  if (state === 'disposed') made.dispose();
  const value = { plain: () => made, disposed: () => made, view: () => viewOf(made), result: () => made.clone() }[
    state === 'proxy' ? 'plain' : state
  ]();
  const wrapped = state === 'proxy' ? new Proxy(value, {}) : value;
  return { value: wrapped, text: `${state} tensor [${shape}] ${dtype}${requiresGrad ? ' grad' : ''}` };
}

function viewOf(t: Tensor): Tensor {
  const dims = t.shape.map((_, i) => t.shape.length - 1 - i);
  return dims.length > 1 ? t.permute(dims) : t.expand([2, ...t.shape]);
}

function array(d: Draws, depth: number): Hostile {
  const kind = d.pick(['values', 'values', 'values', 'sparse', 'long', 'cycle', 'getter'] as const);
  if (kind === 'sparse') return { value: holes(), text: 'an array with holes' };
  if (kind === 'long') return { value: new Array(d.pick([1e6, 2 ** 32 - 1])), text: 'a long array of holes' };
  if (kind === 'cycle') return { value: cycle(), text: 'an array that holds itself' };
  if (kind === 'getter') return { value: throwingArray(), text: 'an array whose element throws' };
  const items = Array.from({ length: d.below(5) }, () => hostile(d, depth - 1));
  return { value: items.map((i) => i.value), text: `[${items.map((i) => i.text).join(', ')}]` };
}

function holes(): unknown[] {
  const list = [1, 2, 3, 4];
  delete list[0];
  delete list[2];
  return list;
}

function cycle(): unknown[] {
  const loop: unknown[] = [];
  loop.push(loop);
  return loop;
}

function throwingArray(): unknown[] {
  const list = [1, 2];
  Object.defineProperty(list, 0, { get: explode, enumerable: true });
  return list;
}

function explode(): never {
  throw new Error('hostile: looked at');
}

function object(d: Draws, depth: number): Hostile {
  const entries = Array.from({ length: 1 + d.below(3) }, () => [d.pick(KEYS), hostile(d, depth - 1)] as const);
  const value: Record<string, unknown> = d.below(4) === 0 ? Object.create(null) : {};
  const trap = d.below(8) === 0;
  for (const [key, item] of entries) {
    const how = trap ? { get: explode } : { value: item.value, writable: true };
    Object.defineProperty(value, key, { ...how, enumerable: true, configurable: true });
  }
  return { value, text: `{ ${entries.map(([key, item]) => `${key}: ${trap ? 'throws' : item.text}`).join(', ')} }` };
}

function strange(d: Draws): Hostile {
  const name = d.pick(Object.keys(STRANGE));
  return { value: STRANGE[name]!(), text: name };
}

const TRAPS = ['get', 'has', 'ownKeys', 'getPrototypeOf', 'getOwnPropertyDescriptor', 'apply', 'set', 'defineProperty'];

const STRANGE: Readonly<Record<string, () => unknown>> = {
  'a proxy that throws': () => new Proxy({}, Object.fromEntries(TRAPS.map((trap) => [trap, explode]))),
  'a proxy of an array that throws': () => new Proxy([1, 2], { get: explode }),
  'a revoked proxy': () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
  'a revoked proxy of an array': () => {
    const { proxy, revoke } = Proxy.revocable([1], {});
    revoke();
    return proxy;
  },
  'an object without conversions': () => ({ toString: explode, valueOf: explode, [Symbol.toPrimitive]: explode }),
  'an iterable that throws': () => ({ [Symbol.iterator]: explode }),
  'a fake tensor': () => Object.create(Tensor.prototype),
  'a tensor-like': () => ({
    shape: [2, 2],
    dtype: 'float32',
    device: 'cpu',
    data: new Float32Array(4),
    dispose: explode,
  }),
  'a number object': () => Object(3),
  'a date': () => new Date(0),
  'a map': () => new Map<unknown, unknown>([['weight', 1]]),
  'a regular expression': () => /x/g,
  'a promise': () => Promise.resolve(1),
  'a class': () => Tensor,
  'a thenable that throws': () => Object.defineProperty({}, 'then', { get: explode }),
};

function buffer(d: Draws): Hostile {
  const name = d.pick(Object.keys(BUFFERS));
  return { value: BUFFERS[name]!(), text: name };
}

const BUFFERS: Readonly<Record<string, () => unknown>> = {
  'float32 data': () => new Float32Array(6),
  'float64 data': () => new Float64Array([1, Number.NaN, Infinity]),
  'uint8 data': () => new Uint8Array(48).fill(255),
  'bigint data': () => new BigInt64Array(2),
  'an array buffer': () => new ArrayBuffer(16),
  'a data view': () => new DataView(new ArrayBuffer(16), 3),
  'shared data': () => new Float32Array(new SharedArrayBuffer(16)),
  'detached data': () => {
    const data = new Float32Array(8);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    return data;
  },
  'data whose buffer shrank': () => {
    const shrinking = new (
      ArrayBuffer as unknown as new (
        n: number,
        o: object,
      ) => ArrayBuffer & { resize(n: number): void }
    )(32, { maxByteLength: 64 });
    const data = new Float32Array(shrinking, 8, 4);
    shrinking.resize(8);
    return data;
  },
  'a file that is none': () => Buffer.from('\u0010\0\0\0\0\0\0\0{"a":{"dtype":"F32"'),
};

function callback(d: Draws): Hostile {
  const name = d.pick(Object.keys(CALLBACKS));
  return { value: CALLBACKS[name]!, text: name };
}

const CALLBACKS: Readonly<Record<string, () => unknown>> = {
  'a function': () => undefined,
  'an async function': async () => 1,
  'a function that throws': () => {
    throw new CallbackError('thrown by a callback');
  },
  'an async function that throws': async () => {
    throw new CallbackError('thrown by a callback');
  },
};
