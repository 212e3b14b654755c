/** Losses as modules: `forward(input, target)`. */

import { checkTensor, checkWord, options } from '../checks.js';
import { detached, type Tensor } from '../tensor.js';
import { REDUCTIONS, type Reduction } from './arguments.js';
import { type BCEOptions, binaryCrossEntropyWithLogits, type LossOptions, l1Loss, mseLoss } from './functional.js';
import { Module } from './module.js';

/** (input − target)² */
export class MSELoss extends Module {
  readonly reduction: Reduction;

  constructor(settings: LossOptions = {}) {
    super();
    this.reduction = readReduction('MSELoss', options('MSELoss', settings, ['reduction']).reduction);
  }

  forward(input: Tensor, target: Tensor): Tensor {
    return mseLoss(input, target, { reduction: this.reduction });
  }
}

/** |input − target| */
export class L1Loss extends Module {
  readonly reduction: Reduction;

  constructor(settings: LossOptions = {}) {
    super();
    this.reduction = readReduction('L1Loss', options('L1Loss', settings, ['reduction']).reduction);
  }

  forward(input: Tensor, target: Tensor): Tensor {
    return l1Loss(input, target, { reduction: this.reduction });
  }
}

/** Binary cross entropy of logits; see `functional.binaryCrossEntropyWithLogits`. */
export class BCEWithLogitsLoss extends Module {
  readonly reduction: Reduction;
  /** Buffers `weight` and `pos_weight`, as in PyTorch. */
  weight: Tensor | null = null;
  posWeight: Tensor | null = null;

  constructor(settings: BCEOptions = {}) {
    super();
    const found = options('BCEWithLogitsLoss', settings, ['weight', 'posWeight', 'reduction']);
    this.reduction = readReduction('BCEWithLogitsLoss', found.reduction);
    this.weight = handle('weight', found.weight);
    this.posWeight = handle('posWeight', found.posWeight);
    this.registerBuffer('weight');
    this.registerBuffer('pos_weight', 'posWeight');
  }

  forward(input: Tensor, target: Tensor): Tensor {
    const { weight, posWeight, reduction } = this;
    return binaryCrossEntropyWithLogits(input, target, { weight, posWeight, reduction });
  }
}

function readReduction(where: string, value: unknown): Reduction {
  return checkWord(where, 'reduction', value ?? 'mean', REDUCTIONS);
}

/** The module's own handle on a tensor that is the caller's. */
function handle(what: string, value: unknown): Tensor | null {
  return value == null ? null : detached(checkTensor('BCEWithLogitsLoss', what, value));
}
