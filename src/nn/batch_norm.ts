/** Batch normalisation as a function, with all of its checks. */

import { checkBoolean, checkSameDevice, checkSameDtype, checkTensor, fail, options } from '../checks.js';
import { type Activated, normalise } from '../ops/batch_norm.js';
import type { Tensor } from '../tensor.js';
import { checkRule, FINITE, NOT_NEGATIVE } from './arguments.js';

export interface BatchNormOptions {
  readonly weight?: Tensor | null;
  readonly bias?: Tensor | null;
  /** Use the batch's own statistics, and update the running ones. Default false. */
  readonly training?: boolean;
  /** Share of the batch in the running statistics. Default 0.1. */
  readonly momentum?: number;
  /** Default 1e-5. */
  readonly eps?: number;
}

/**
 * Batch normalisation of (N, C, …). While training, `runningMean` and `runningVar` (of C elements, or null) are updated
 * in place, the variance in its unbiased form; otherwise they are what is normalised by.
 *
 * @throws FracstrideError ERR_SHAPE, ERR_DTYPE, ERR_DEVICE_MISMATCH, ERR_ARGUMENT
 */
export function batchNorm(
  input: Tensor,
  runningMean: Tensor | null,
  runningVar: Tensor | null,
  settings?: BatchNormOptions,
): Tensor {
  return batchNormActivated(input, { runningMean, runningVar }, settings, { activation: 'none', slope: 0 });
}

export interface RunningTensors {
  readonly runningMean: Tensor | null;
  readonly runningVar: Tensor | null;
  /** int32 of no dimensions: one more for each batch that is averaged. */
  readonly tracked?: Tensor | null;
}

/** The same with an activation behind it. */
export function batchNormActivated(
  input: Tensor,
  { runningMean, runningVar, tracked = null }: RunningTensors,
  settings: BatchNormOptions | undefined,
  activated: Activated,
): Tensor {
  const where = 'batchNorm';
  const found = options(where, settings, ['weight', 'bias', 'training', 'momentum', 'eps']);
  const training = checkBoolean(where, 'training', found.training, false);
  const eps = checkRule(where, 'eps', found.eps ?? 1e-5, NOT_NEGATIVE);
  const momentum = checkRule(where, 'momentum', found.momentum ?? 0.1, FINITE);
  const stats = checkChannels(where, input, { runningMean, runningVar, weight: found.weight, bias: found.bias });
  const { runningMean: mean, runningVar: variance, weight, bias } = stats;
  if (!training && (mean === null || variance === null)) {
    fail('ERR_ARGUMENT', where, 'runningMean and runningVar', 'tensors where training is false', null);
  }
  const count = input.shape[1] === 0 ? 0 : input.numel() / input.shape[1]!;
  if (training && count === 1)
    fail('ERR_SHAPE', where, 'input', 'of more than 1 value per channel when training', input.shape);
  const running = training ? null : { mean: mean!, variance: variance! };
  const averages = training ? { mean, variance, tracked, momentum, unbias: count / (count - 1) } : null;
  return normalise(input, { running, weight, bias, eps, averages, ...activated });
}

type ChannelNames = 'runningMean' | 'runningVar' | 'weight' | 'bias';

/** Tensors of one value a channel, or null; of the input's dtype and device. */
function checkChannels(
  where: string,
  input: Tensor,
  values: Readonly<Record<ChannelNames, unknown>>,
): Record<ChannelNames, Tensor | null> {
  const { shape } = checkTensor(where, 'input', input);
  if (shape.length < 2) fail('ERR_SHAPE', where, 'input', 'of shape [N, C, ...]', shape);
  const checked = Object.entries(values).map(([name, value]) => {
    if (value === null || value === undefined) return [name, null] as const;
    const found = checkTensor(where, name, value);
    if (found.ndim !== 1 || found.shape[0] !== shape[1]) {
      fail('ERR_SHAPE', where, name, `of ${shape[1]} elements, one a channel`, found.shape);
    }
    checkSameDevice(where, [input, found]);
    checkSameDtype(where, [input, found]);
    return [name, found] as const;
  });
  return Object.fromEntries(checked) as Record<ChannelNames, Tensor | null>;
}
