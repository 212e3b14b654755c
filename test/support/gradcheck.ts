/**
 * Gradients against central differences in float64: for outputs y(x…) and fixed random weights v, every element of
 * d⟨v, y⟩/dx must be what moving that element by ±h says. With h = 1e-5 and values near 1 the truncation error is about
 * h² ≈ 1e-10 and the rounding error about 1e-16/h ≈ 1e-11.
 */

import { grad, randn, scope, type Tensor, tensor } from '../../src/index.js';

const STEP = 1e-5;
const TOLERANCE = 1e-6;

/** A function of tensors that autograd is to differentiate. */
export type Differentiable = (...inputs: Tensor[]) => Tensor;

/** A sentence about the first gradient that is wrong, or null. Inputs are float64 leaves that require gradients. */
export function gradcheck(fn: Differentiable, inputs: readonly Tensor[]): string | null {
  return scope(() => {
    const y = fn(...inputs);
    const v = randn([...y.shape], { dtype: 'float64', device: 'cpu' });
    const found = grad(y, inputs, { gradOutputs: v, allowUnused: true }) as (Tensor | null)[];
    return firstWrong(fn, inputs, { v, found });
  });
}

/** The same for the gradients of the gradients. */
export function gradgradcheck(fn: Differentiable, inputs: readonly Tensor[]): string | null {
  const upstream = scope(() => {
    const y = fn(...inputs);
    return randn([...y.shape], { dtype: 'float64', device: 'cpu', requiresGrad: true });
  });
  const first: Differentiable = (...all) => {
    const xs = all.slice(0, inputs.length);
    const y = fn(...xs);
    const gradients = grad(y, xs, {
      gradOutputs: all.at(-1)!,
      createGraph: true,
      allowUnused: true,
    }) as (Tensor | null)[];
    // One number that depends on all of them, each with weights of its own.
    return gradients.reduce<Tensor>(
      (total, g, i) =>
        g === null
          ? total
          : total.add(
              g
                .mul(i + 1)
                .mul(g)
                .sum(),
            ),
      tensor(0, { dtype: 'float64', device: 'cpu' }),
    );
  };
  const report = gradcheck(first, [...inputs, upstream]);
  upstream.dispose();
  return report;
}

function firstWrong(
  fn: Differentiable,
  inputs: readonly Tensor[],
  a: { v: Tensor; found: readonly (Tensor | null)[] },
): string | null {
  for (const [k, input] of inputs.entries()) {
    const values = Float64Array.from(input.dataSync());
    const got = a.found[k]?.dataSync() ?? new Float64Array(values.length);
    for (let i = 0; i < values.length; i++) {
      const at = (delta: number): number =>
        evaluate(fn, inputs, { k, values: values.with(i, values[i]! + delta), v: a.v });
      const want = (at(STEP) - at(-STEP)) / (2 * STEP);
      const error = Math.abs(got[i]! - want);
      if (!(error <= TOLERANCE * (1 + Math.abs(want)))) return `input ${k}, element ${i}: ${got[i]} instead of ${want}`;
    }
  }
  return null;
}

function evaluate(
  fn: Differentiable,
  inputs: readonly Tensor[],
  a: { k: number; values: Float64Array; v: Tensor },
): number {
  return scope(() => {
    const moved = tensor(a.values, { shape: inputs[a.k]!.shape, dtype: 'float64', device: 'cpu', requiresGrad: true });
    const y = fn(...inputs.map((input, i) => (i === a.k ? moved : input)));
    return y.mul(a.v).sum().item();
  });
}
