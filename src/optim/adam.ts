/**
 * Adam (Kingma & Ba, 2015) and AdamW (Loshchilov & Hutter, 2019), as torch.optim.Adam and AdamW:
 *
 *   g ← ±∇ + λ·p   (Adam)     or     p ← p − γ·λ·p   (AdamW)
 *   m ← β1·m + (1 − β1)·g     v ← β2·v + (1 − β2)·g²
 *   p ← p − γ/(1 − β1ᵗ) · m / (√v̂ / √(1 − β2ᵗ) + ε)      v̂ = v, or with amsgrad the largest v so far
 */

import { fillInPlace } from '../nn/in_place.js';
import type { Parameter } from '../nn/parameter.js';
import { Tensor } from '../tensor.js';
import { decayPair, flag, type HyperTable, notNegative } from './hyper.js';
import { Optimizer, type ParamGroup, type ParamsOrGroups } from './optimizer.js';
import { type ParameterState, stateLike } from './state.js';
import { runStep } from './step.js';

export interface AdamOptions {
  /** Learning rate γ. Default 0.001. */
  lr: number;
  /** β1 and β2. Default [0.9, 0.999]. */
  betas: readonly [number, number];
  /** ε. Default 1e-8. */
  eps: number;
  /** λ. Default 0 (Adam), 0.01 (AdamW). */
  weightDecay: number;
  amsgrad: boolean;
  /** Ascends instead of descending. */
  maximize: boolean;
}

function table(weightDecay: number): HyperTable<AdamOptions> {
  return {
    lr: notNegative('lr', 1e-3),
    betas: decayPair('betas', [0.9, 0.999]),
    eps: notNegative('eps', 1e-8),
    weightDecay: notNegative('weight_decay', weightDecay),
    amsgrad: flag('amsgrad'),
    maximize: flag('maximize'),
  };
}

const ADAM = { name: 'Adam', table: table(0), decoupled: 0 };
const ADAMW = { name: 'AdamW', table: table(1e-2), decoupled: 1 };

abstract class AdamFamily extends Optimizer<AdamOptions> {
  readonly #decoupled: number;

  protected constructor(kind: typeof ADAM, params: ParamsOrGroups<AdamOptions>, options: Partial<AdamOptions>) {
    super(kind.name, params, options, kind.table);
    this.#decoupled = kind.decoupled;
  }

  protected override update(value: Parameter, gradient: Tensor, group: ParamGroup<AdamOptions>): void {
    const entry = this.#entry(value, group.amsgrad);
    const step = (entry.step as number) + 1;
    const [beta1, beta2] = group.betas;
    const corrections = [1 - beta1 ** step, 1 - beta2 ** step];
    const scalars = [group.lr, beta1, beta2, group.eps, group.weightDecay, ...corrections];
    const state = [entry.exp_avg, entry.exp_avg_sq, entry.max_exp_avg_sq ?? null] as (Tensor | null)[];
    runStep('adam', { value, gradient, state }, [...scalars, this.#decoupled, Number(group.maximize)]);
    entry.step = step;
  }

  /** The state of a parameter, zeros the first time. */
  #entry(value: Parameter, amsgrad: boolean): ParameterState {
    const entry = this.state.get(value) ?? { step: 0 };
    if (typeof entry.step !== 'number') entry.step = 0;
    this.state.set(value, entry);
    const names = amsgrad ? ['exp_avg', 'exp_avg_sq', 'max_exp_avg_sq'] : ['exp_avg', 'exp_avg_sq'];
    for (const name of names) if (!Tensor.isTensor(entry[name])) entry[name] = zerosLike(value);
    return entry;
  }
}

function zerosLike(value: Parameter): Tensor {
  const made = stateLike(value);
  fillInPlace(made, 0);
  return made;
}

/** State a parameter: `step`, `exp_avg`, `exp_avg_sq` and, with amsgrad, `max_exp_avg_sq`. */
export class Adam extends AdamFamily {
  /** @throws FracstrideError ERR_ARGUMENT */
  constructor(params: ParamsOrGroups<AdamOptions>, options: Partial<AdamOptions> = {}) {
    super(ADAM, params, options);
  }
}

/** Adam with decoupled weight decay; the same state. */
export class AdamW extends AdamFamily {
  /** @throws FracstrideError ERR_ARGUMENT */
  constructor(params: ParamsOrGroups<AdamOptions>, options: Partial<AdamOptions> = {}) {
    super(ADAMW, params, options);
  }
}
