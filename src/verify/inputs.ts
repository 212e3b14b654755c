/** Inputs of checks: tensors whose elements are known, as the element type holds them. */

import { tensor } from '../create.js';
import type { Layout } from '../shape.js';
import type { Tensor } from '../tensor.js';
import type { Place } from './check.js';
import { noise, product } from './numbers.js';
import { roundAll } from './rounding.js';

export interface Input {
  /** A leaf that requires its gradient. */
  readonly tensor: Tensor;
  /** What it holds, row-major. */
  readonly values: Float64Array;
}

export interface Range {
  readonly low?: number;
  readonly high?: number;
  readonly layout?: Layout;
}

/** Noise of a shape; each seed gives other numbers. */
export function input({ device, dtype }: Place, shape: readonly number[], seed: number, range: Range = {}): Input {
  const { low = -1, high = 1, layout = 'nchw' } = range;
  const values = roundAll(dtype, noise(product(shape), seed, low, high));
  return { tensor: leaf(tensor(values, { shape: [...shape], device, dtype }), layout), values };
}

function leaf(value: Tensor, layout: Layout): Tensor {
  const own = layout === 'nhwc' ? value.to({ layout }).detach() : value;
  own.requiresGrad = true;
  return own;
}
