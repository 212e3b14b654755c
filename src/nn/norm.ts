/**
 * BatchNorm2d (torch.nn.BatchNorm2d): normalises each channel, by the batch while training and by running averages
 * afterwards, then scales and shifts it.
 */

import { checkBoolean, checkPlacement, checkTensor, fail, options, type Placement } from '../checks.js';
import { isCapturing } from '../device.js';
import type { Dtype } from '../dtype.js';
import { readData } from '../host.js';
import type { Activated } from '../ops/batch_norm.js';
import { allocateTensor, Tensor } from '../tensor.js';
import { COUNT, checkRule, FINITE, NOT_NEGATIVE } from './arguments.js';
import { batchNormActivated } from './batch_norm.js';
import { fillInPlace } from './in_place.js';
import { Module } from './module.js';
import { type Parameter, parameter } from './parameter.js';
import { pythonBoolean, pythonFloat } from './repr.js';
import { countOneMore } from './running.js';

export interface BatchNorm2dOptions {
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number;
  /** Share of a batch in the running averages; null: all batches count the same. Default 0.1. */
  readonly momentum?: number | null;
  /** Whether there are a learnable weight and bias. Default true. */
  readonly affine?: boolean;
  /** Whether running averages are kept; without them the batch's own statistics are always used. Default true. */
  readonly trackRunningStats?: boolean;
  /** A float type. Default 'float32'. */
  readonly dtype?: Dtype;
  readonly device?: string;
}

const WHERE = 'BatchNorm2d';
const KEYS = ['eps', 'momentum', 'affine', 'trackRunningStats', 'dtype', 'device'] as const;

export class BatchNorm2d extends Module {
  readonly numFeatures: number;
  readonly eps: number;
  readonly momentum: number | null;
  readonly affine: boolean;
  readonly trackRunningStats: boolean;
  weight: Parameter | null = null;
  bias: Parameter | null = null;
  runningMean: Tensor | null = null;
  runningVar: Tensor | null = null;
  /** int32 of no dimensions: how many batches the averages have seen. */
  numBatchesTracked: Tensor | null = null;
  /** The counter's value as of a version of its memory, to spare reading it back every step. */
  #count = { storage: -1, version: -1, value: 0 };
  /** Whether a graph counts batches: then only the device knows how many. */
  #replayed = false;

  /**
   * @param numFeatures channels of the input
   * @throws FracstrideError ERR_ARGUMENT, ERR_DTYPE, ERR_DEVICE_UNAVAILABLE, ERR_OUT_OF_MEMORY
   */
  constructor(numFeatures: number, settings: BatchNorm2dOptions = {}) {
    super();
    const found = options(WHERE, settings, KEYS);
    this.numFeatures = checkRule(WHERE, 'numFeatures', numFeatures, COUNT);
    this.eps = checkRule(WHERE, 'eps', found.eps ?? 1e-5, NOT_NEGATIVE);
    this.momentum = found.momentum === null ? null : checkRule(WHERE, 'momentum', found.momentum ?? 0.1, FINITE);
    this.affine = checkBoolean(WHERE, 'affine', found.affine, true);
    this.trackRunningStats = checkBoolean(WHERE, 'trackRunningStats', found.trackRunningStats, true);
    const placement = checkPlacement(WHERE, { dtype: found.dtype, device: found.device });
    if (placement.dtype === 'int32') fail('ERR_DTYPE', WHERE, 'dtype', 'a float type', placement.dtype);
    try {
      this.#allocate(placement);
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  #allocate(placement: Placement): void {
    const { dtype, device } = placement;
    const perChannel = (): Tensor => allocateTensor({ shape: [this.numFeatures], dtype, device });
    if (this.affine) {
      this.weight = parameter(perChannel());
      this.bias = parameter(perChannel());
    }
    if (this.trackRunningStats) {
      this.runningMean = perChannel();
      this.registerBuffer('running_mean', 'runningMean');
      this.runningVar = perChannel();
      this.registerBuffer('running_var', 'runningVar');
      this.numBatchesTracked = allocateTensor({ shape: [], dtype: 'int32', device });
      this.registerBuffer('num_batches_tracked', 'numBatchesTracked');
    }
    this.resetParameters();
  }

  /** Running averages of mean 0 and variance 1 over no batch. */
  resetRunningStats(): void {
    if (this.runningMean !== null) fillInPlace(this.runningMean, 0);
    if (this.runningVar !== null) fillInPlace(this.runningVar, 1);
    if (this.numBatchesTracked !== null) fillInPlace(this.numBatchesTracked, 0);
  }

  /** Weight 1, bias 0, and the running averages as new. */
  resetParameters(): void {
    this.resetRunningStats();
    if (this.weight !== null) fillInPlace(this.weight, 1);
    if (this.bias !== null) fillInPlace(this.bias, 0);
  }

  /**
   * @param input (N, C, H, W)
   * @throws FracstrideError ERR_SHAPE for another shape, or one value a channel while training; ERR_DTYPE, …
   */
  forward(input: Tensor): Tensor {
    return this.forwardFused(input, { activation: 'none', slope: 0 });
  }

  /** @internal `forward` and an activation behind it. */
  forwardFused(input: Tensor, activated: Activated): Tensor {
    const { shape } = checkTensor(WHERE, 'input', input);
    if (shape.length !== 4) fail('ERR_SHAPE', WHERE, 'input', '4D (N, C, H, W)', shape);
    const { weight, bias, eps, runningMean, runningVar } = this;
    const training = this.training || runningMean === null;
    const tracked = this.training ? this.numBatchesTracked : null;
    this.#replayed ||= tracked !== null && isCapturing(Tensor.window(tracked).storage.device);
    // Only the average over all batches needs to know how many there were.
    const seen = tracked !== null && this.momentum === null ? this.#readCount(tracked) + 1 : 0;
    const momentum = this.momentum ?? (seen === 0 ? 0 : 1 / seen);
    const running = { runningMean, runningVar, tracked };
    const output = batchNormActivated(input, running, { weight, bias, training, momentum, eps }, activated);
    if (tracked !== null && input.numel() === 0) countOneMore(tracked);
    if (seen > 0) this.#noteCount(tracked!, seen);
    return output;
  }

  override extraRepr(): string {
    const momentum = this.momentum === null ? 'None' : pythonFloat(this.momentum);
    const flags = `affine=${pythonBoolean(this.affine)}, track_running_stats=${pythonBoolean(this.trackRunningStats)}`;
    return `${this.numFeatures}, eps=${pythonFloat(this.eps)}, momentum=${momentum}, ${flags}`;
  }

  #readCount(counter: Tensor): number {
    const { handle, version } = Tensor.window(counter).storage;
    const known = !this.#replayed && this.#count.storage === handle && this.#count.version === version;
    if (known) return this.#count.value;
    return readData(counter)[0]!;
  }

  #noteCount(counter: Tensor, value: number): void {
    const { handle, version } = Tensor.window(counter).storage;
    this.#count = { storage: handle, version, value };
  }
}
