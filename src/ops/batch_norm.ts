/**
 * Batch normalisation (Ioffe & Szegedy, 2015; torch.nn.functional.batch_norm) of x (N, C, …), channel by channel:
 *
 *   x̂ = (x − μ) · r,   r = 1 / √(σ² + ε),   z = w·x̂ + b,   y = act(z)
 *   g = act'(z)·gy,   gw = Σ g·x̂,   gb = Σ g
 *   gx = w·r·(g − gb/M − x̂·gw/M)   with the batch's own μ and σ²     gx = w·r·g   with running ones
 *
 * with M = N·H·W values a channel. μ and σ² (biased) are held in the accumulator's type. On a CPU all of a direction is
 * one launch, with the bits of several.
 */

import { type FUSED_WITH_NORM, hasOperation } from '../../codegen/operations.js';
import { ACTIVATIONS } from '../../codegen/problem.js';
import { mode } from '../context.js';
import { targetOf } from '../device.js';
import { fillWith } from '../fill.js';
import { compute } from '../pointwise.js';
import { record, Tensor, tidy } from '../tensor.js';
import {
  accumulator,
  apply,
  batchStatistics,
  dense,
  like,
  perChannel,
  run,
  type Statistics,
  wideStatistics,
  zerosLike,
} from './batch_norm_kernels.js';
import { cast } from './convert.js';
import { ACTIVATION_GRADIENTS, add, leakyRelu, mul, reciprocal, relu, sqrt, square, sub } from './elementwise.js';
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
  /** Called with the batch's own μ and biased σ², for running averages. They are gone afterwards. */
  readonly observe: ((mean: Tensor, variance: Tensor) => void) | null;
}

/** y as above. Arguments are checked by the caller: x has a channel dimension, and all are of one dtype and device. */
export function normalise(x: Tensor, a: Normalisation): Tensor {
  if (isTogether('bn_forward', x)) return tidy(() => normaliseAs(contiguous(x, x.layout), a, together));
  return tidy(() => {
    const z = normaliseAs(contiguous(x, x.layout), { ...a, activation: 'none' }, apart);
    if (a.activation === 'none') return z;
    return a.activation === 'relu' ? relu(z) : leakyRelu(z, a.slope);
  });
}

/** Whether one launch does all of a direction. */
function isTogether(name: 'bn_forward' | 'bn_backward', x: Tensor): boolean {
  return x.numel() > 0 && hasOperation(name, targetOf(Tensor.window(x).storage.device));
}

interface Forward {
  readonly out: Tensor;
  readonly center: Tensor;
  readonly scale: Tensor;
}

function normaliseAs(x: Tensor, a: Normalisation, forward: (x: Tensor, a: Normalisation) => Forward): Tensor {
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
      return [gradients.x, ...(weight === null ? [] : [gradients.weight]), ...(bias === null ? [] : [gradients.bias])];
    },
  });
}

function together(x: Tensor, a: Normalisation): Forward {
  const own = a.running === null;
  const { mean: center, variance } = own
    ? { mean: perChannel(x), variance: perChannel(x) }
    : wideStatistics(x, a.running);
  const scale = perChannel(x);
  const out = like(x);
  const scalars = [a.eps, a.slope, Number(own), ACTIVATIONS.indexOf(a.activation)];
  run('bn_forward', x, [x, dense(a.weight), dense(a.bias), center, variance, scale, out], scalars);
  if (own) a.observe?.(center, variance);
  return { out, center, scale };
}

function apart(x: Tensor, a: Normalisation): Forward {
  const { mean: center, variance } = a.running === null ? batchStatistics(x) : wideStatistics(x, a.running);
  if (a.running === null) a.observe?.(center, variance);
  const scale = compute('reciprocal', [compute('sqrt', [compute('affine', [variance], [1, a.eps])])]);
  return { out: apply(x, { mean: center, scale, weight: a.weight, bias: a.bias }), center, scale };
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
  if (isTogether('bn_backward', x)) {
    const gx = wantsInput ? like(x) : null;
    const scalars = [a.slope, Number(a.own), ACTIVATIONS.indexOf(a.activation)];
    run('bn_backward', x, [g, x, center, scale, dense(a.weight), dense(a.bias), ...sums, gx], scalars);
    return results(gx);
  }
  if (x.numel() === 0) for (const value of sums) fillWith('fill', value, [0]);
  else run('bn_backward_stats', x, [g, x, center, scale, ...sums]);
  if (!wantsInput) return results(null);
  if (!a.own) return results(apply(g, { mean: zerosLike(center), scale, weight: a.weight, bias: null }));
  const gx = like(x);
  if (x.numel() > 0) run('bn_backward_input', x, [g, x, center, scale, dense(a.weight), bias, weightSum, gx]);
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
  const g = cast(gated(a), wide.dtype);
  const centered = sub(wide, a.own ? average(wide) : spread(a.mean));
  const scale = a.own ? reciprocal(sqrt(add(average(square(centered)), a.eps))) : spread(a.scale);
  const normal = mul(centered, scale);
  const inner = a.own ? sub(sub(g, average(g)), mul(normal, average(mul(g, normal)))) : g;
  const scaled = mul(inner, scale);
  const gx = a.weight === null ? scaled : mul(scaled, spread(cast(a.weight, wide.dtype)));
  const weight = sum(mul(g, normal), { dim: dims });
  return { x: cast(gx, x.dtype), weight: cast(weight, x.dtype), bias: cast(sum(g, { dim: dims }), x.dtype) };
}

/** The gradient of z. */
function gated(a: Parts): Tensor {
  if (a.activation === 'none') return a.g;
  return ACTIVATION_GRADIENTS[a.activation](a.g, apply(a.x, a), a.slope);
}
