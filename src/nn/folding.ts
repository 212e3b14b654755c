/**
 * A convolution and the normalisation behind it as one convolution, where running averages are what is normalised by
 * and nothing is recorded. With a = w·r and r = 1 / √(σ² + ε), channel by channel of the output:
 *
 *   a·(W ∗ x + c − μ) + b = (a·W) ∗ x + (c − μ)·a + b
 *
 * Computed in the accumulator's type and rounded once. Kept with the memory of W until one of the six was written to.
 */

import { mode } from '../context.js';
import { type Device, isCapturing } from '../device.js';
import { accumulator } from '../ops/batch_norm_kernels.js';
import { cast } from '../ops/convert.js';
import { add, div, mul, sqrt, sub } from '../ops/elementwise.js';
import { contiguous, reshape } from '../ops/views.js';
import { type Derived, distrusted, hold, letGo } from '../packings.js';
import type { Window } from '../storage.js';
import { alias, keep, Tensor, tidy, unrecorded } from '../tensor.js';
import type { ConvBase, ConvParameters } from './conv_base.js';
import type { BatchNorm2d } from './norm.js';

/** What both modules read, in this order. */
type Sources = readonly [
  weight: Tensor,
  bias: Tensor | null,
  scale: Tensor | null,
  shift: Tensor | null,
  mean: Tensor,
  variance: Tensor,
];

/** The product, and of what contents it is one. */
class Folded implements Derived {
  readonly #device: Device;
  readonly #of: readonly Stamp[];
  readonly #eps: number;
  readonly #distrusted = distrusted();
  readonly #bytes: number;
  readonly parameters: { readonly weight: Tensor; readonly bias: Tensor };

  constructor(sources: Sources, eps: number, parameters: { readonly weight: Tensor; readonly bias: Tensor }) {
    const storages = Object.values(parameters).map((value) => Tensor.window(keep(value)).storage);
    this.#device = storages[0]!.device;
    this.#of = sources.map(stamp);
    this.#eps = eps;
    this.#bytes = storages.reduce((sum, { bytes }) => sum + bytes, 0);
    this.parameters = parameters;
    hold(this.#device, this, this.#bytes);
  }

  isOf(sources: Sources, eps: number): boolean {
    if (this.parameters.weight.isDisposed || this.#eps !== eps || this.#distrusted !== distrusted()) return false;
    return sources.every((value, i) => {
      const [now, then] = [stamp(value), this.#of[i]!];
      return now.window === then.window && now.version === then.version;
    });
  }

  free(): void {
    if (this.parameters.weight.isDisposed) return;
    for (const value of Object.values(this.parameters)) value.dispose();
    letGo(this.#device, this, this.#bytes);
  }
}

/** Where a tensor lies and how often that was written to: not the tensor, which may be forgotten meanwhile. */
interface Stamp {
  readonly window: Window | null;
  readonly version: number;
}

function stamp(value: Tensor | null): Stamp {
  if (value === null) return { window: null, version: 0 };
  const window = Tensor.window(value);
  return { window, version: window.storage.version };
}

/**
 * Parameters with which the convolution alone does what both modules do to this input; null where they have to run one
 * after the other. They belong to the scope that is open.
 */
export function folded(input: Tensor, layer: ConvBase, norm: BatchNorm2d): ConvParameters | null {
  const { runningMean: mean, runningVar: variance, eps } = norm;
  // Without ε a channel of no variance would multiply weights of 0 by ∞.
  if (norm.training || mean === null || variance === null || !(eps > 0)) return null;
  const sources: Sources = [layer.weight, layer.bias, norm.weight, norm.bias, mean, variance];
  const present = sources.filter((value) => value !== null);
  if ([input, ...present].some((value) => value.isDisposed)) return null;
  if (mode().recording && [input, ...present].some((value) => value.requiresGrad)) return null;
  const { storage, dtype } = Tensor.window(layer.weight);
  const fits = (value: Tensor): boolean =>
    value.dtype === dtype && Tensor.window(value).storage.device === storage.device;
  const channels = present.slice(1).every((value) => value.ndim === 1 && value.shape[0] === layer.outChannels);
  if (!present.every(fits) || !channels || layer.weight.numel() === 0 || isCapturing(storage.device)) return null;
  let known = storage.derived instanceof Folded ? storage.derived : null;
  if (known === null || !known.isOf(sources, eps)) {
    storage.derived?.free();
    known = new Folded(sources, eps, fold(layer, sources, eps));
    storage.derived = known;
  }
  // Handles of their own: what is kept may go for the memory that the output takes.
  return { weight: alias(known.parameters.weight), bias: alias(known.parameters.bias) };
}

function fold(layer: ConvBase, sources: Sources, eps: number): { weight: Tensor; bias: Tensor } {
  const [weight, bias] = tidy(() =>
    unrecorded(() => {
      const { dtype } = layer.weight;
      const [w, c, scale, shift, mean, variance] = sources.map((value) =>
        value === null ? null : cast(value, accumulator(dtype)),
      );
      const deviation = sqrt(add(variance!, eps));
      const a = scale === null ? div(1, deviation) : div(scale!, deviation);
      const offset = mul(sub(c ?? 0, mean!), a);
      const scaled = reshape(byOutput(layer, w!, a), layer.weight.shape);
      return [
        contiguous(cast(scaled, dtype), layer.weight.layout),
        contiguous(cast(shift === null ? offset : add(offset, shift!), dtype)),
      ] as const;
    }),
  );
  return { weight: weight!, bias: bias! };
}

/** A weight times a number for each channel of the output, group by group. */
function byOutput({ groups, outChannels, outputAxis }: ConvBase, weight: Tensor, a: Tensor): Tensor {
  const [rows, columns, r, s] = weight.shape as readonly [number, number, number, number];
  const each = outChannels / groups;
  const spread = outputAxis === 0 ? [groups, each, 1, 1, 1] : [groups, 1, each, 1, 1];
  return mul(reshape(weight, [groups, rows / groups, columns, r, s]), reshape(a, spread));
}
