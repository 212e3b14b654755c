/**
 * Adam (Kingma & Ba, 2015) and AdamW (Loshchilov & Hutter, 2019), as torch.optim.Adam and AdamW:
 *
 *   g ← ±∇ + λ·p   (Adam)     or     p ← p − γ·λ·p   (AdamW)
 *   m ← β1·m + (1 − β1)·g     v ← β2·v + (1 − β2)·g²
 *   p ← p − γ/(1 − β1ᵗ) · m / (√v̂ / √(1 − β2ᵗ) + ε)      v̂ = v, or with amsgrad the largest v so far
 */

import { fail } from '../checks.js';
import { readData } from '../host.js';
import { fillInPlace } from '../nn/in_place.js';
import type { Parameter } from '../nn/parameter.js';
import { fillOrDispose } from '../pointwise.js';
import { allocateTensor, keep, Tensor } from '../tensor.js';
import { decayPair, flag, type HyperTable, notNegative } from './hyper.js';
import { Optimizer, type ParamGroup, type ParamsOrGroups, type ValueAndGradient } from './optimizer.js';
import { type ParameterState, stateLike } from './state.js';
import { countsSteps, isRecorded, refuseFirstInGraph, runStep } from './step.js';

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
  /** Counts steps on the device, so that a graph can record them; CUDA only. */
  capturable: boolean;
}

function table(weightDecay: number): HyperTable<AdamOptions> {
  return {
    lr: notNegative('lr', 1e-3),
    betas: decayPair('betas', [0.9, 0.999]),
    eps: notNegative('eps', 1e-8),
    weightDecay: notNegative('weight_decay', weightDecay),
    amsgrad: flag('amsgrad'),
    maximize: flag('maximize'),
    capturable: flag('capturable'),
  };
}

const ADAM = { name: 'Adam', table: table(0), decoupled: 0 };
const ADAMW = { name: 'AdamW', table: table(1e-2), decoupled: 1 };

abstract class AdamFamily extends Optimizer<AdamOptions> {
  readonly #name: string;
  readonly #decoupled: number;

  protected constructor(kind: typeof ADAM, params: ParamsOrGroups<AdamOptions>, options: Partial<AdamOptions>) {
    super(kind.name, params, options, kind.table);
    this.#name = kind.name;
    this.#decoupled = kind.decoupled;
  }

  protected override update(pairs: readonly ValueAndGradient[], group: ParamGroup<AdamOptions>): void {
    this.#checkCapturable(pairs, group);
    const { lr, betas, eps, weightDecay, maximize } = group;
    const flags = [this.#decoupled, Number(maximize)];
    for (const [step, members] of this.#bySteps(pairs, group)) {
      const corrections = step === null ? [1, 1] : betas.map((beta) => 1 - beta ** step);
      const operands = members.map(({ value, gradient, entry }) => {
        const state = [
          entry.exp_avg,
          entry.exp_avg_sq,
          group.amsgrad ? entry.max_exp_avg_sq : null,
        ] as (Tensor | null)[];
        return { value, gradient, state, ...(Tensor.isTensor(entry.step) ? { count: entry.step } : {}) };
      });
      runStep('adam_group', operands, [lr, ...betas, eps, weightDecay, ...corrections, ...flags]);
      if (step !== null) for (const { entry } of members) entry.step = step;
    }
  }

  /** Members by the number of the step they are about to take; null where the device counts it. */
  #bySteps(pairs: readonly ValueAndGradient[], group: ParamGroup<AdamOptions>): Map<number | null, Member[]> {
    const members = new Map<number | null, Member[]>();
    for (const pair of pairs) {
      const entry = this.#entry(pair.value, group);
      const step = typeof entry.step === 'number' ? entry.step + 1 : null;
      members.set(step, [...(members.get(step) ?? []), { ...pair, entry }]);
    }
    return members;
  }

  /** What a graph replays must not come from the host. */
  #checkCapturable(pairs: readonly ValueAndGradient[], { capturable, amsgrad }: ParamGroup<AdamOptions>): void {
    for (const pair of pairs) {
      const { value } = pair;
      const { device } = Tensor.window(value).storage;
      if (capturable && !countsSteps(device))
        fail('ERR_ARGUMENT', this.#name, 'capturable', 'false on a device that records no graphs', device.name);
      if (!isRecorded(value)) continue;
      if (!capturable)
        fail('ERR_ARGUMENT', this.#name, 'capturable', 'true for a step that a graph records', capturable);
      const { step, ...rest } = this.state.get(value) ?? {};
      const names = stateNames(amsgrad);
      const complete = Tensor.isTensor(step) && names.every((name) => Tensor.isTensor(rest[name]));
      if (!complete) refuseFirstInGraph(this.#name, [pair]);
    }
  }

  /** The state of a parameter, zeros the first time. */
  #entry(value: Parameter, { amsgrad, capturable }: ParamGroup<AdamOptions>): ParameterState {
    const entry = this.state.get(value) ?? { step: 0 };
    this.state.set(value, entry);
    for (const name of stateNames(amsgrad)) if (!Tensor.isTensor(entry[name])) entry[name] = zerosLike(value);
    const { step } = entry;
    if (!Tensor.isTensor(step)) entry.step = capturable ? stepOn(value, step ?? 0) : (step ?? 0);
    else if (!capturable) {
      entry.step = readData(step)[0]!;
      step.dispose();
    }
    return entry;
  }
}

interface Member extends ValueAndGradient {
  readonly entry: ParameterState;
}

function stateNames(amsgrad: boolean): string[] {
  return amsgrad ? ['exp_avg', 'exp_avg_sq', 'max_exp_avg_sq'] : ['exp_avg', 'exp_avg_sq'];
}

/** A number of steps on the value's device: a float32, as in PyTorch. It belongs to no scope. */
function stepOn(value: Parameter, done: number): Tensor {
  const made = keep(allocateTensor({ shape: [], dtype: 'float32', device: Tensor.window(value).storage.device }));
  fillOrDispose(made, () => fillInPlace(made, done));
  return made;
}

function zerosLike(value: Parameter): Tensor {
  const made = stateLike(value);
  fillOrDispose(made, () => fillInPlace(made, 0));
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
