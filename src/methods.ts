/** Operations as methods of tensors (their types are in method_types.ts): each calls the function of its name. */

import { checkTensor, fail } from './checks.js';
import type { TensorData } from './dtype.js';
import { FracstrideError, show } from './errors.js';
import { backward } from './gradients.js';
import { nest, readData, readDataAsync } from './host.js';
import { to } from './ops/convert.js';
import { copy_ } from './ops/copy.js';
import * as elementwise from './ops/elementwise.js';
import { max, mean } from './ops/reduce.js';
import { expand, sum } from './ops/sum.js';
import * as views from './ops/views.js';
import { detached, INSPECT, Tensor } from './tensor.js';

const { permute, transpose, narrow, select, reshape, flatten, unsqueeze, squeeze, contiguous, clone } = views;
const { add, sub, mul, div, maximum, minimum, gt, eq } = elementwise;
const { neg, abs, exp, log, sqrt, square, pow, relu, leakyRelu, tanh, sigmoid, clamp } = elementwise;
const functions = {
  permute,
  transpose,
  narrow,
  select,
  reshape,
  flatten,
  unsqueeze,
  squeeze,
  contiguous,
  clone,
  expand,
  to,
  copy_,
  backward,
};
const arithmetic = { add, sub, mul, div, maximum, minimum, gt, eq, neg, abs, exp, log, sqrt, square, pow };
const others = {
  relu,
  leakyRelu,
  tanh,
  sigmoid,
  clamp,
  sum,
  mean,
  max,
  dataSync: readData,
  detach: detached,
  item,
  toArray,
};

function define(name: string | symbol, value: unknown): void {
  Object.defineProperty(Tensor.prototype, name, { value, writable: true, configurable: true, enumerable: false });
}

for (const [name, fn] of Object.entries({ ...functions, ...arithmetic, ...others })) {
  const plain = fn as (x: Tensor, ...rest: unknown[]) => unknown;
  define(name, function (this: unknown, ...rest: unknown[]): unknown {
    return plain(checkTensor(name, 'this', this), ...rest);
  });
}

define('data', async function (this: unknown): Promise<TensorData> {
  return readDataAsync(checkTensor('data', 'this', this));
});
for (const name of ['toString', INSPECT]) {
  define(name, function (this: unknown): string {
    return describe(this);
  });
}
define(Symbol.toStringTag, 'Tensor');

function item(x: Tensor): number {
  const values = x.numel() === 1 ? readData(x) : fail('ERR_SHAPE', 'item', 'the tensor', 'of one element', x.shape);
  return values[0]!;
}

function toArray(x: Tensor): unknown {
  const values = readData(x);
  try {
    return nest(values, x.shape);
  } catch (cause) {
    // A typed array can be longer than any other.
    const sentence = `toArray: arrays must fit into memory, got ${values.length} elements`;
    throw new FracstrideError('ERR_OUT_OF_MEMORY', sentence, { cause });
  }
}

/** `Tensor([2, 3], float32, cpu)`, with the values of a small one. */
function describe(x: unknown): string {
  if (!Tensor.isTensor(x)) return 'Tensor {}';
  if (x.isDisposed) return 'Tensor(disposed)';
  const parts = [`[${x.shape.join(', ')}]`, x.dtype, x.device];
  if (x.layout === 'nhwc') parts.push('nhwc');
  if (x.requiresGrad) parts.push('requiresGrad');
  const values = x.numel() <= 8 ? `: ${printNested(toArray(x))}` : '';
  return `Tensor(${parts.join(', ')})${values}`;
}

function printNested(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(printNested).join(', ')}]`;
  return typeof value === 'number' ? String(Number(value.toPrecision(6))) : show(value);
}
