/**
 * Initialisation in place, as torch.nn.init has it; every function returns its tensor. Numbers come from the device's
 * random stream (`manualSeed`).
 */

import { checkTensor, checkWord, fail, options as readOptions } from '../checks.js';
import { drawCounters } from '../random.js';
import { Tensor } from '../tensor.js';
import { checkRule, FINITE, NOT_NEGATIVE } from './arguments.js';
import { checkOwnElements, writeWith } from './in_place.js';

const NONLINEARITIES = ['linear', 'conv2d', 'convTranspose2d', 'sigmoid', 'tanh', 'relu', 'leakyRelu', 'selu'] as const;
export type Nonlinearity = (typeof NONLINEARITIES)[number];
export type FanMode = 'fanIn' | 'fanOut';

export interface KaimingOptions {
  /** Negative slope of the leaky ReLU that follows; used with that nonlinearity only. Default 0. */
  readonly a?: number;
  /** Which of the two is kept: the variance forward, or backward. Default 'fanIn'. */
  readonly mode?: FanMode;
  /** Default 'leakyRelu'. */
  readonly nonlinearity?: Nonlinearity;
}

/** Uniform in [a, b). */
export function uniform_(value: Tensor, a = 0, b = 1): Tensor {
  return random('uniform', value, a, b);
}

/** Normal of a mean and a deviation. */
export function normal_(value: Tensor, mean = 0, std = 1): Tensor {
  return random('normal', value, mean, checkRule('normal_', 'std', std, NOT_NEGATIVE));
}

export function constant_(value: Tensor, constant: number): Tensor {
  checkOwnElements('constant_', 'tensor', checkTensor('constant_', 'tensor', value));
  writeWith('fill', value, [checkRule('constant_', 'value', constant, FINITE)]);
  return value;
}

export function zeros_(value: Tensor): Tensor {
  return constant_(value, 0);
}

export function ones_(value: Tensor): Tensor {
  return constant_(value, 1);
}

/** U(−b, b) with b = gain · √(6 / (fan in + fan out)) (Glorot & Bengio, 2010). */
export function xavierUniform_(value: Tensor, gain = 1): Tensor {
  const bound = Math.sqrt(3) * xavierDeviation('xavierUniform_', value, gain);
  return uniform_(value, -bound, bound);
}

/** Normal of deviation gain · √(2 / (fan in + fan out)) (Glorot & Bengio, 2010). */
export function xavierNormal_(value: Tensor, gain = 1): Tensor {
  return normal_(value, 0, xavierDeviation('xavierNormal_', value, gain));
}

/** U(−b, b) with b = gain · √(3 / fan) (He et al., 2015). A tensor of no elements stays as it is. */
export function kaimingUniform_(value: Tensor, options: KaimingOptions = {}): Tensor {
  if (checkTensor('kaimingUniform_', 'tensor', value).numel() === 0) return value;
  const bound = Math.sqrt(3) * kaimingDeviation('kaimingUniform_', value, options);
  return uniform_(value, -bound, bound);
}

/** Normal of deviation gain / √fan (He et al., 2015). A tensor of no elements stays as it is. */
export function kaimingNormal_(value: Tensor, options: KaimingOptions = {}): Tensor {
  if (checkTensor('kaimingNormal_', 'tensor', value).numel() === 0) return value;
  return normal_(value, 0, kaimingDeviation('kaimingNormal_', value, options));
}

/**
 * Fan in = size(1) · receptive field, fan out = size(0) · receptive field: of a transposed convolution's weight
 * (Cin, Cout/G, R, S) the fan in is therefore Cout/G · R · S.
 *
 * @throws FracstrideError ERR_SHAPE for fewer than 2 dimensions
 */
export function calculateFanInAndFanOut(value: Tensor): [fanIn: number, fanOut: number] {
  const { shape } = checkTensor('calculateFanInAndFanOut', 'tensor', value);
  if (shape.length < 2) fail('ERR_SHAPE', 'calculateFanInAndFanOut', 'tensor', 'of at least 2 dimensions', shape);
  const field = shape.slice(2).reduce((product, size) => product * size, 1);
  return [shape[1]! * field, shape[0]! * field];
}

/** The factor by which a nonlinearity shrinks deviations, to be made up for; `slope` is leakyRelu's. */
export function calculateGain(nonlinearity: Nonlinearity, slope = 0.01): number {
  checkWord('calculateGain', 'nonlinearity', nonlinearity, NONLINEARITIES);
  if (nonlinearity === 'tanh') return 5 / 3;
  if (nonlinearity === 'relu') return Math.SQRT2;
  if (nonlinearity === 'selu') return 3 / 4;
  if (nonlinearity === 'leakyRelu') return Math.sqrt(2 / (1 + slope ** 2));
  return 1;
}

function xavierDeviation(where: string, value: Tensor, gain: number): number {
  const [fanIn, fanOut] = calculateFanInAndFanOut(value);
  return checkRule(where, 'gain', gain, FINITE) * Math.sqrt(2 / (fanIn + fanOut));
}

function kaimingDeviation(where: string, value: Tensor, options: KaimingOptions): number {
  const { a = 0, mode = 'fanIn', nonlinearity = 'leakyRelu' } = readKaiming(where, options);
  const [fanIn, fanOut] = calculateFanInAndFanOut(value);
  const fan = checkWord(where, 'mode', mode, ['fanIn', 'fanOut']) === 'fanIn' ? fanIn : fanOut;
  return calculateGain(nonlinearity, checkRule(where, 'a', a, FINITE)) / Math.sqrt(fan);
}

function random(kind: 'uniform' | 'normal', value: Tensor, a: number, b: number): Tensor {
  const where = `${kind}_`;
  const { dtype, storage } = Tensor.window(checkTensor(where, 'tensor', value));
  if (dtype === 'int32') fail('ERR_DTYPE', where, 'tensor', 'of a float type', dtype);
  checkOwnElements(where, 'tensor', value);
  const range = [checkRule(where, 'a', a, FINITE), checkRule(where, 'b', b, FINITE)];
  const { seed, offset } = drawCounters(storage.device, value.numel());
  writeWith(kind, value, [seed, offset, ...range]);
  return value;
}

function readKaiming(where: string, value: KaimingOptions): KaimingOptions {
  return readOptions(where, value, ['a', 'mode', 'nonlinearity']) as KaimingOptions;
}
