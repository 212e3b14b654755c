/**
 * Stochastic gradient descent with momentum, as torch.optim.SGD:
 *
 *   g ← ±∇ + λ·p        b ← μ·b + (1 − τ)·g  (b ← g the first time)        g ← g + μ·b (nesterov) or b
 *   p ← p − γ·g
 */

import { fail } from '../checks.js';
import { checkRule, FINITE } from '../nn/arguments.js';
import type { Parameter } from '../nn/parameter.js';
import { Tensor } from '../tensor.js';
import { flag, type HyperTable, notNegative } from './hyper.js';
import { Optimizer, type ParamGroup, type ParamsOrGroups } from './optimizer.js';
import { stateLike } from './state.js';
import { runStep } from './step.js';

export interface SGDOptions {
  /** Learning rate γ. Default 0.001. */
  lr: number;
  /** μ. Default 0. */
  momentum: number;
  /** τ. Default 0. */
  dampening: number;
  /** λ. Default 0. */
  weightDecay: number;
  nesterov: boolean;
  /** Ascends instead of descending. */
  maximize: boolean;
}

const TABLE: HyperTable<SGDOptions> = {
  lr: notNegative('lr', 1e-3),
  momentum: notNegative('momentum', 0),
  dampening: { default: 0, stateName: 'dampening', check: (where, what, v) => checkRule(where, what, v, FINITE) },
  weightDecay: notNegative('weight_decay', 0),
  nesterov: flag('nesterov'),
  maximize: flag('maximize'),
};

/** State a parameter: `momentum_buffer`, where there is momentum. */
export class SGD extends Optimizer<SGDOptions> {
  /** @throws FracstrideError ERR_ARGUMENT */
  constructor(params: ParamsOrGroups<SGDOptions>, options: Partial<SGDOptions> = {}) {
    super('SGD', params, options, TABLE);
  }

  protected override validate(values: SGDOptions): void {
    if (!values.nesterov || (values.momentum > 0 && values.dampening === 0)) return;
    const got = `momentum ${values.momentum}, dampening ${values.dampening}`;
    fail('ERR_ARGUMENT', 'SGD', 'nesterov', 'with a momentum and zero dampening', got);
  }

  protected override update(value: Parameter, gradient: Tensor, group: ParamGroup<SGDOptions>): void {
    const { lr, momentum, dampening, weightDecay, nesterov, maximize } = group;
    const kept = this.state.get(value)?.momentum_buffer;
    const first = !Tensor.isTensor(kept);
    const buffer = momentum === 0 ? null : first ? stateLike(value) : kept;
    if (buffer !== null && first) this.state.set(value, { momentum_buffer: buffer });
    const flags = [Number(nesterov), Number(maximize), Number(first)];
    runStep('sgd', { value, gradient, state: [buffer] }, [lr, momentum, dampening, weightDecay, ...flags]);
  }
}
