/**
 * Batch normalisation (Ioffe & Szegedy, 2015; torch.nn.functional.batch_norm) of x (N, C, …), channel by channel:
 *
 *   x̂ = (x − μ) · r,   r = 1 / √(σ² + ε),   z = w·x̂ + b,   y = act(z)
 *   g = act'(z)·gy,   gw = Σ g·x̂,   gb = Σ g
 *   gx = w·r·(g − gb/M − x̂·gw/M)   with the batch's own μ and σ²     gx = w·r·g   with running ones
 *
 * with M = N·H·W values a channel. μ and σ² (biased) are held in the accumulator's type. A direction is one launch on a
 * CPU, and on other devices where each of their blocks can have channels of its own; else it is one for the sums, which
 * also moves running averages on, and one for the elements.
 */

import { isNormTogether } from '../../codegen/kernel.js';
import type { FUSED_WITH_NORM } from '../../codegen/operations.js';
import { ACTIVATIONS } from '../../codegen/problem.js';
import { mode } from '../context.js';
import { targetOf } from '../device.js';
import { elementBytes } from '../dtype.js';
import { fillWith } from '../fill.js';
import { pointwise } from '../pointwise.js';
import { record, Tensor, tidy, unrecorded } from '../tensor.js';
import {
  type Averages,
  accumulator,
  dense,
  like,
  perChannel,
  planesOf,
  run,
  type Statistics,
  wideStatistics,
  withAverages,
} from './batch_norm_kernels.js';
import { cast } from './convert.js';
import { ACTIVATION_GRADIENTS, add, mul, reciprocal, sqrt, square, sub } from './elementwise.js';
import { mean } from './reduce.js';
import { sum } from './sum.js';
import { contiguous, reshape } from './views.js';

/** What comes behind a normalisation. */
export interface Activated {
  readonly activation: (typeof FUSED_WITH_NORM)[number];
  /** Negative slope of leaky_relu. */
  readonly slope: number;
}

/** What a normalised batch needs: statistics of each channel, and what is done after. */
export interface Normalisation extends Activated {
  /** μ and σ² that are used as they are; null: the batch's own. */
  readonly running: Statistics | null;
  readonly weight: Tensor | null;
  readonly bias: Tensor | null;
  readonly eps: number;
  /** Where the batch's own μ and σ² go. */
  readonly averages: Averages | null;
}

/** y as above. Arguments are checked by the caller: x has a channel dimension, and all are of one dtype and device. */
export function normalise(input: Tensor, a: Normalisation): Tensor {
  return tidy(() => {
    const x = contiguous(input, input.layout);
    const { out, center, scale } = forward(x, a);
    const { weight, bias, activation, slope, eps } = a;
    const own = a.running === null;
    const affine = [weight, bias].filter((value) => value !== null);
    // The activation's derivative is one of z, for which the bias is needed.
    const kept = [weight, activation === 'none' ? null : bias];
    return record(out, {
      name: 'batchNorm',
      inputs: [x, ...affine],
      saved: [x, center, scale, ...kept.filter((value) => value !== null)],
      backward: (g, [x0, m, r, ...rest], needed) => {
        const [w, b] = kept.map((value) => (value === null ? null : rest.shift()!));
        const parts = { g, x: x0!, mean: m!, scale: r!, weight: w!, bias: b!, own, eps, activation, slope };
        const gradients = mode().recording ? composedGradients(parts) : fusedGradients(parts, needed[0] === true);
        return [
          gradients.x,
          ...(weight === null ? [] : [gradients.weight]),
          ...(bias === null ? [] : [gradients.bias]),
        ];
      },
    });
  });
}

/** Whether one launch does all of a direction. */
function isTogether(x: Tensor): boolean {
  const { dtype, storage } = Tensor.window(x);
  return isNormTogether(targetOf(storage.device), elementBytes(dtype), planesOf(x));
}

interface Forward {
  readonly out: Tensor;
  readonly center: Tensor;
  readonly scale: Tensor;
}

function forward(x: Tensor, a: Normalisation): Forward {
  const own = a.running === null;
  const { mean: center, variance } = own
    ? { mean: perChannel(x), variance: perChannel(x) }
    : wideStatistics(x, a.running);
  const found = { out: like(x), center, scale: perChannel(x) };
  // Statistics that are given may be the caller's own memory.
  if (x.numel() === 0)
    for (const value of own ? [center, variance, found.scale] : [found.scale]) fillWith('fill', value, [0]);
  else if (a.averages === null) launchForward(x, a, { ...found, variance, averages: [null, null, null] });
  else withAverages(a.averages, (averages) => launchForward(x, a, { ...found, variance, averages }));
  return found;
}

interface Launched extends Forward {
  readonly variance: Tensor;
  readonly averages: readonly (Tensor | null)[];
}

function launchForward(x: Tensor, a: Normalisation, { out, center, variance, scale, averages }: Launched): void {
  const own = a.running === null;
  const affine = [dense(a.weight), dense(a.bias)];
  const averaging = [a.eps, a.averages?.momentum ?? 0, a.averages?.unbias ?? 0];
  const activated = [a.slope, ACTIVATIONS.indexOf(a.activation)];
  if (isTogether(x)) {
    const tensors = [x, ...affine, center, variance, scale, out, ...averages];
    run('bn_forward', x, tensors, [...averaging, Number(own), ...activated]);
    return;
  }
  if (own) run('bn_stats', x, [x, center, variance, scale, ...averages], averaging);
  else pointwise('inverse_deviation', Tensor.window(scale), [Tensor.window(variance)], [a.eps]);
  run('bn_apply', x, [x, center, scale, ...affine, out], activated);
}

interface Parts extends Activated {
  readonly g: Tensor;
  readonly x: Tensor;
  readonly mean: Tensor;
  readonly scale: Tensor;
  readonly weight: Tensor | null;
  /** Only where there is an activation. */
  readonly bias: Tensor | null;
  /** Whether μ and r depend on x. */
  readonly own: boolean;
  readonly eps: number;
}

interface Gradients {
  readonly x: Tensor | null;
  readonly weight: Tensor;
  readonly bias: Tensor;
}

/** Two passes over memory: the sums, then the input's gradient. */
function fusedGradients(a: Parts, wantsInput: boolean): Gradients {
  const { x, mean: center, scale } = a;
  const g = contiguous(a.g, x.layout);
  const sums = [perChannel(x), perChannel(x)] as const;
  const [bias, weightSum] = sums;
  const results = (gx: Tensor | null): Gradients => ({
    x: gx,
    weight: cast(weightSum, x.dtype),
    bias: cast(bias, x.dtype),
  });
  if (x.numel() === 0) {
    for (const value of sums) fillWith('fill', value, [0]);
    return results(wantsInput ? like(x) : null);
  }
  const given = [g, x, center, scale, dense(a.weight), dense(a.bias)];
  const activated = [a.slope, ACTIVATIONS.indexOf(a.activation)];
  const gx = wantsInput ? like(x) : null;
  if (isTogether(x)) {
    run('bn_backward', x, [...given, ...sums, gx], [Number(a.own), ...activated]);
    return results(gx);
  }
  run('bn_backward_stats', x, [...given, ...sums], activated);
  if (gx !== null) run('bn_backward_input', x, [...given, ...sums, gx], [Number(a.own), ...activated]);
  return results(gx);
}

/** The same by operations that are recorded, so that gradients have gradients. */
function composedGradients(a: Parts): Gradients {
  const { x } = a;
  const dims = x.shape.map((_, i) => i).filter((i) => i !== 1);
  const spread = (value: Tensor): Tensor =>
    reshape(
      value,
      x.shape.map((_, i) => (i === 1 ? -1 : 1)),
    );
  const average = (value: Tensor): Tensor => mean(value, { dim: dims, keepdim: true });
  const wide = cast(x, accumulator(x.dtype));
  const g = cast(gated(a, spread), wide.dtype);
  const centered = sub(wide, a.own ? average(wide) : spread(a.mean));
  const scale = a.own ? reciprocal(sqrt(add(average(square(centered)), a.eps))) : spread(a.scale);
  const normal = mul(centered, scale);
  const inner = a.own ? sub(sub(g, average(g)), mul(normal, average(mul(g, normal)))) : g;
  const scaled = mul(inner, scale);
  const gx = a.weight === null ? scaled : mul(scaled, spread(cast(a.weight, wide.dtype)));
  const weight = sum(mul(g, normal), { dim: dims });
  return { x: cast(gx, x.dtype), weight: cast(weight, x.dtype), bias: cast(sum(g, { dim: dims }), x.dtype) };
}

/** The gradient of z, whose gate does not change with x. */
function gated(a: Parts, spread: (value: Tensor) => Tensor): Tensor {
  if (a.activation === 'none') return a.g;
  const wide = (value: Tensor): Tensor => spread(cast(value, a.mean.dtype));
  const z = unrecorded(() => {
    const normal = mul(sub(cast(a.x, a.mean.dtype), spread(a.mean)), spread(a.scale));
    const scaled = a.weight === null ? normal : mul(normal, wide(a.weight));
    return cast(a.bias === null ? scaled : add(scaled, wide(a.bias)), a.x.dtype);
  });
  return ACTIVATION_GRADIENTS[a.activation](a.g, z, a.slope);
}
