/**
 * Gradients by central differences in float64, (L(x + h) − L(x − h)) / 2h for every element, against those of autograd,
 * with L = Σ v·f(x) for a fixed pattern v. The same once more over the gradient itself checks second derivatives.
 */

import { expect } from 'chai';
import { grad, scope, type Tensor, tensor } from 'fracstride';

export interface Point {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** Numbers in (−1, 1) that repeat nowhere near: fractional parts of multiples of an irrational number. */
export function pattern(shape: readonly number[], seed: number): Point {
  const count = shape.reduce((a, b) => a * b, 1);
  const data = Float64Array.from(
    { length: count },
    (_, i) => 2 * ((((i + 1) * (0.618033988749895 + seed * 0.1370359)) % 1) - 0.5),
  );
  return { shape, data };
}

export const toTensor = (p: Point, requiresGrad = false): Tensor =>
  tensor(p.data, { shape: [...p.shape], dtype: 'float64', requiresGrad });

type Operation = (inputs: Tensor[]) => Tensor;

/** Asserts that autograd's gradients of every input are those of differences, to a relative tolerance. */
export function expectGradients(fn: Operation, points: readonly Point[], tolerance = 1e-7): void {
  compare({ recorded: fn, moved: fn }, points, tolerance);
}

/**
 * The same for the gradients of the gradients, with respect to the inputs and the upstream gradient. Differences are
 * taken of the gradient as it is computed when nothing is recorded, which may be by other kernels.
 */
export function expectSecondGradients(fn: Operation, points: readonly Point[], tolerance = 1e-6): void {
  const upstream = scope(() => pattern(fn(points.map((p) => toTensor(p))).shape, 0.9));
  points.forEach((_, k) => {
    const first =
      (createGraph: boolean): Operation =>
      (values) => {
        const inputs = values.slice(0, -1).map((value) => asRecorded(value));
        return grad(fn(inputs), [inputs[k]!], { gradOutputs: [values.at(-1)!], createGraph })[0]!;
      };
    compare({ recorded: first(true), moved: first(false) }, [...points, upstream], tolerance);
  });
}

/** The gradients of one function against the differences of another that computes the same. */
function compare(fn: { recorded: Operation; moved: Operation }, points: readonly Point[], tolerance: number): void {
  scope(() => {
    const inputs = points.map((p) => toTensor(p, true));
    const y = fn.recorded(inputs);
    const v = pattern(y.shape, 0.7);
    const gradients: (Tensor | null)[] = grad(y, inputs, { gradOutputs: toTensor(v), allowUnused: true });
    gradients.forEach((g, k) => {
      // No gradient stands for zeros, which the differences must then be.
      const got = g?.dataSync() ?? new Float64Array(points[k]!.data.length);
      expectAlike(got, differences(fn.moved, points, { input: k, v }), tolerance, `gradient of input ${k}`);
    });
  });
}

/** A value that requires a gradient, also where differences are taken. */
function asRecorded(value: Tensor): Tensor {
  if (!value.requiresGrad) value.requiresGrad = true;
  return value;
}

function differences(fn: Operation, points: readonly Point[], a: { input: number; v: Point }): Float64Array {
  const h = 1e-5;
  const at = (index: number, step: number): number =>
    scope(() => {
      const moved = points.map((p, k) => {
        if (k !== a.input) return p;
        const data = p.data.slice();
        data[index]! += step;
        return { shape: p.shape, data };
      });
      const y = fn(moved.map((p) => toTensor(p))).dataSync();
      return a.v.data.reduce((sum, weight, i) => sum + weight * y[i]!, 0);
    });
  return points[a.input]!.data.map((_, i) => (at(i, h) - at(i, -h)) / (2 * h));
}

/** Asserts equality relative to the largest magnitude (at least 1). */
export function expectAlike(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number, what: string): void {
  expect(got.length, `${what}: length`).to.equal(want.length);
  const scale = Math.max(1, ...Array.from(want, Math.abs));
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(got[i]! - want[i]!) / scale;
    if (!(error <= tolerance)) expect.fail(`${what}: element ${i} is ${got[i]} instead of ${want[i]}`);
  }
}
