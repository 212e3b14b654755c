/**
 * Batch normalisation (Ioffe & Szegedy, 2015; torch.nn.functional.batch_norm) of x (N, C, …), channel by channel:
 *
 *   x̂ = (x − μ) · r,   r = 1 / √(σ² + ε),   y = w·x̂ + b
 *   gw = Σ g·x̂,   gb = Σ g
 *   gx = w·r·(g − gb/M − x̂·gw/M)   with the batch's own μ and σ²     gx = w·r·g   with running ones
 *
 * with M = N·H·W values a channel. μ and σ² (biased) are held in the accumulator's type.
 */

import { mode } from '../context.js';
import type { Dtype } from '../dtype.js';
import { shortName } from '../dtype.js';
import { fillWith } from '../fill.js';
import { NULL, runOperation } from '../kernels.js';
import { compute, pointer } from '../pointwise.js';
import { elementCount } from '../shape.js';
import { allocateTensor, record, Tensor, tidy } from '../tensor.js';
import { cast } from './convert.js';
import { add, mul, reciprocal, sqrt, square, sub } from './elementwise.js';
import { mean } from './reduce.js';
import { sum } from './sum.js';
import { contiguous, reshape } from './views.js';

/** What a normalised batch needs: statistics of each channel, and what is done after. */
export interface Normalisation {
  /** μ and σ² that are used as they are; null: the batch's own. */
  readonly running: { readonly mean: Tensor; readonly variance: Tensor } | null;
  readonly weight: Tensor | null;
  readonly bias: Tensor | null;
  readonly eps: number;
  /** Called with the batch's own μ and biased σ², for running averages. They are gone afterwards. */
  readonly observe: ((mean: Tensor, variance: Tensor) => void) | null;
}

/** y as above. Arguments are checked by the caller: x has a channel dimension, and all are of one dtype and device. */
export function normalise(x: Tensor, a: Normalisation): Tensor {
  return tidy(() => {
    const dense = contiguous(x, x.layout);
    const { mean: center, variance } = a.running === null ? batchStatistics(dense) : wideStatistics(dense, a.running);
    if (a.running === null) a.observe?.(center, variance);
    const scale = compute('reciprocal', [compute('sqrt', [compute('affine', [variance], [1, a.eps])])]);
    const out = apply(dense, { mean: center, scale, weight: a.weight, bias: a.bias });
    const own = a.running === null;
    const affine = [a.weight, a.bias].filter((value) => value !== null);
    const saved = [dense, center, scale, ...(a.weight === null ? [] : [a.weight])];
    return record(out, {
      name: 'batchNorm',
      inputs: [dense, ...affine],
      saved,
      backward: (g, [x0, m, r, w], needed) => {
        const parts = { g, x: x0!, mean: m!, scale: r!, weight: w ?? null, own, eps: a.eps };
        const gradients = mode().recording ? composedGradients(parts) : fusedGradients(parts, needed[0] === true);
        return [
          gradients.x,
          ...(a.weight === null ? [] : [gradients.weight]),
          ...(a.bias === null ? [] : [gradients.bias]),
        ];
      },
    });
  });
}

interface Parts {
  readonly g: Tensor;
  readonly x: Tensor;
  readonly mean: Tensor;
  readonly scale: Tensor;
  readonly weight: Tensor | null;
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
  const { x, mean: center, scale, weight } = a;
  const g = contiguous(a.g, x.layout);
  const sums = [perChannel(x), perChannel(x)] as const;
  if (x.numel() === 0) for (const value of sums) fillWith('fill', value, [0]);
  else run('bn_backward_stats', x, [g, x, center, scale, ...sums]);
  const [bias, weightSum] = sums;
  const gradients = { weight: cast(weightSum, x.dtype), bias: cast(bias, x.dtype) };
  if (!wantsInput) return { x: null, ...gradients };
  if (!a.own) return { x: apply(g, { mean: zerosLike(center), scale, weight, bias: null }), ...gradients };
  const { shape, strides, dtype, storage } = Tensor.window(x);
  const gx = allocateTensor({ shape, strides, dtype, device: storage.device });
  if (x.numel() > 0)
    run('bn_backward_input', x, [g, x, center, scale, weight && contiguous(weight), bias, weightSum, gx]);
  return { x: gx, ...gradients };
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
  const g = cast(a.g, wide.dtype);
  const centered = sub(wide, a.own ? average(wide) : spread(a.mean));
  const scale = a.own ? reciprocal(sqrt(add(average(square(centered)), a.eps))) : spread(a.scale);
  const normal = mul(centered, scale);
  const inner = a.own ? sub(sub(g, average(g)), mul(normal, average(mul(g, normal)))) : g;
  const scaled = mul(inner, scale);
  const gx = a.weight === null ? scaled : mul(scaled, spread(cast(a.weight, wide.dtype)));
  const weight = sum(mul(g, normal), { dim: dims });
  return { x: cast(gx, x.dtype), weight: cast(weight, x.dtype), bias: cast(sum(g, { dim: dims }), x.dtype) };
}

/** μ and the biased σ² of each channel. */
function batchStatistics(x: Tensor): { mean: Tensor; variance: Tensor } {
  const found = { mean: perChannel(x), variance: perChannel(x) };
  if (x.numel() > 0) run('bn_stats', x, [x, found.mean, found.variance]);
  else for (const value of Object.values(found)) fillWith('fill', value, [0]);
  return found;
}

function wideStatistics(x: Tensor, running: { mean: Tensor; variance: Tensor }): { mean: Tensor; variance: Tensor } {
  const wide = (value: Tensor): Tensor => contiguous(cast(value, accumulator(x.dtype)));
  return { mean: wide(running.mean), variance: wide(running.variance) };
}

function apply(x: Tensor, a: { mean: Tensor; scale: Tensor; weight: Tensor | null; bias: Tensor | null }): Tensor {
  const { shape, strides, dtype, storage } = Tensor.window(x);
  const out = allocateTensor({ shape, strides, dtype, device: storage.device });
  const affine = [a.weight, a.bias].map((value) => (value === null ? null : contiguous(value)));
  if (x.numel() > 0) run('bn_apply', x, [x, a.mean, a.scale, ...affine, out]);
  return out;
}

/** Launches a kernel over x's planes: pointers, then N, C, H·W and the layout. */
function run(name: string, x: Tensor, tensors: readonly (Tensor | null)[]): void {
  const { shape, dtype, storage } = Tensor.window(x);
  const pointers = tensors.map((value) => (value === null ? NULL : pointer(Tensor.window(value))));
  const sizes = [shape[0]!, shape[1]!, elementCount(shape.slice(2)), x.layout === 'nhwc' ? 1 : 0];
  runOperation(storage.device, { name, type: shortName(dtype) }, pointers, sizes);
}

function perChannel(x: Tensor): Tensor {
  const { shape, dtype, storage } = Tensor.window(x);
  return allocateTensor({ shape: [shape[1]!], dtype: accumulator(dtype), device: storage.device });
}

function zerosLike(value: Tensor): Tensor {
  const { shape, dtype, storage } = Tensor.window(value);
  const zeros = allocateTensor({ shape, dtype, device: storage.device });
  fillWith('fill', zeros, [0]);
  return zeros;
}

function accumulator(dtype: Dtype): Dtype {
  return dtype === 'float64' ? 'float64' : 'float32';
}
