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
import { Optimizer, type ParamGroup, type ParamsOrGroups, type ValueAndGradient } from './optimizer.js';
import { stateLike } from './state.js';
import { refuseFirstInGraph, runStep } from './step.js';

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
  /** Momentum buffers that no step has written yet. */
  readonly #unwritten = new WeakSet<Tensor>();

  /** @throws FracstrideError ERR_ARGUMENT */
  constructor(params: ParamsOrGroups<SGDOptions>, options: Partial<SGDOptions> = {}) {
    super('SGD', params, options, TABLE);
  }

  protected override validate(values: SGDOptions): void {
    if (!values.nesterov || (values.momentum > 0 && values.dampening === 0)) return;
    const got = `momentum ${values.momentum}, dampening ${values.dampening}`;
    fail('ERR_ARGUMENT', 'SGD', 'nesterov', 'with a momentum and zero dampening', got);
  }

  protected override update(pairs: readonly ValueAndGradient[], group: ParamGroup<SGDOptions>): void {
    const { lr, momentum, dampening, weightDecay, nesterov, maximize } = group;
    const scalars = [lr, momentum, dampening, weightDecay, Number(nesterov), Number(maximize)];
    if (momentum === 0) {
      const operands = pairs.map((pair) => ({ ...pair, state: [null] }));
      runStep('sgd_group', operands, [...scalars, 0]);
      return;
    }
    const operands = pairs.map((pair) => ({ ...pair, state: [this.#buffer(pair.value)] as const }));
    const isFirst = ({ state: [buffer] }: (typeof operands)[number]): boolean => this.#unwritten.has(buffer);
    const first = operands.filter(isFirst);
    const later = operands.filter((a) => !isFirst(a));
    if (first.length > 0) refuseFirstInGraph('SGD', first);
    runStep('sgd_group', first, [...scalars, 1]);
    for (const { state } of first) this.#unwritten.delete(state[0]);
    runStep('sgd_group', later, [...scalars, 0]);
  }

  #buffer(value: Parameter): Tensor {
    const kept = this.state.get(value)?.momentum_buffer;
    if (Tensor.isTensor(kept)) return kept;
    const made = stateLike(value);
    this.state.set(value, { momentum_buffer: made });
    this.#unwritten.add(made);
    return made;
  }
}
