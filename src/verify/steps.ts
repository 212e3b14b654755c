/**
 * Optimiser steps. Each is compared with the formula applied to what the device itself held before it, so the bound is
 * that of one step in every element type.
 */

import { lastKernel } from '../kernels.js';
import { parameter } from '../nn/parameter.js';
import { Adam, type AdamOptions, AdamW, SGD, type SGDOptions } from '../optim/index.js';
import { Tensor } from '../tensor.js';
import type { Check, Place, Result } from './check.js';
import { input } from './inputs.js';
import { afterRoundings } from './rounded.js';

interface Settings extends Partial<Omit<SGDOptions, 'lr'>>, Partial<Omit<AdamOptions, 'lr'>> {
  readonly lr: number;
}

/** A parameter of one element and its state before a step; undefined where there is none yet. */
interface Before {
  readonly p: number;
  readonly g: number;
  readonly state: Readonly<Record<string, number | undefined>>;
  /** Steps that are done with this one. */
  readonly step: number;
}

type After = Readonly<Record<string, number>>;

interface Kind {
  readonly name: 'SGD' | 'Adam' | 'AdamW';
  readonly settings: Settings;
}

const STEPS = 3;
/** One length for each way through a kernel: less than a vector, and more than a block. */
const LENGTHS = [5, 1037];

const KINDS: readonly Kind[] = [
  { name: 'SGD', settings: { lr: 0.1 } },
  { name: 'SGD', settings: { lr: 0.1, momentum: 0.9, dampening: 0.3, weightDecay: 0.1 } },
  { name: 'SGD', settings: { lr: 0.1, momentum: 0.8, nesterov: true, maximize: true } },
  { name: 'Adam', settings: { lr: 0.05, weightDecay: 0.1 } },
  { name: 'Adam', settings: { lr: 0.05, betas: [0.5, 0.9], amsgrad: true } },
  { name: 'AdamW', settings: { lr: 0.05, weightDecay: 0.2 } },
];

export const OPTIMIZERS: readonly Check[] = KINDS.map((kind) => {
  const { lr, ...rest } = kind.settings;
  const settings = [`lr ${lr}`, ...Object.entries(rest).map(([name, value]) => `${name} ${value}`)].join(', ');
  const facts = { operation: kind.name, layout: null };
  return {
    ...facts,
    problem: settings,
    run: (place, tell) =>
      walk(kind, place, (what, part) => tell({ ...facts, problem: `${settings}: ${what}`, ...part })),
  };
});

type Part = Omit<Result, 'operation' | 'layout' | 'problem'>;

function walk({ name, settings }: Kind, place: Place, tell: (what: string, part: Part) => void): void {
  const params = LENGTHS.map((length, i) =>
    parameter(
      input(place, [length], 10 + i)
        .tensor.detach()
        .clone(),
    ),
  );
  const classes = { SGD, Adam, AdamW };
  const optimizer = new classes[name](params, settings as object);
  try {
    for (let step = 1; step <= STEPS; step++) {
      const gradients = LENGTHS.map((length, i) => input(place, [length], 20 * step + i, { low: 0.5, high: 1.5 }));
      params.forEach((param, i) => {
        param.grad = gradients[i]!.tensor.detach();
      });
      const before = params.map((param, i) => ({ p: param.dataSync(), state: stateOf(optimizer, i) }));
      optimizer.step();
      const kernel = lastKernel();
      params.forEach((param, i) => {
        const { p, state } = before[i]!;
        const exact = Array.from(p, (value, k) => {
          const own = Object.fromEntries(Object.entries(state).map(([key, values]) => [key, values[k]]));
          const given = { p: value, g: gradients[i]!.values[k]!, state: own, step };
          return name === 'SGD' ? sgd(given, settings) : adam(given, settings, name === 'AdamW');
        });
        const allowed = afterRoundings({ dtype: place.dtype, stored: 1, computed: 40, size: () => 3 });
        const after = { p: param.dataSync(), ...stateOf(optimizer, i) };
        for (const [key, got] of Object.entries(after)) {
          const wanted = exact.map((each) => each[key]!);
          tell(`step ${step}, ${key} of ${p.length}`, { kernel, shape: param.shape, got, exact: wanted, allowed });
        }
      });
    }
  } finally {
    optimizer.dispose();
    for (const param of params) param.dispose();
  }
}

function stateOf(optimizer: SGD | Adam | AdamW, index: number): Record<string, ArrayLike<number>> {
  const entry = Object.entries(optimizer.stateDict().state[index] ?? {});
  return Object.fromEntries(entry.flatMap(([key, value]) => (Tensor.isTensor(value) ? [[key, value.dataSync()]] : [])));
}

function sgd({ p, g, state }: Before, settings: Settings): After {
  const { lr, momentum = 0, dampening = 0, weightDecay = 0, nesterov = false, maximize = false } = settings;
  const d = (maximize ? -g : g) + weightDecay * p;
  if (momentum === 0) return { p: p - lr * d };
  const old = state.momentum_buffer;
  const b = old === undefined ? d : momentum * old + (1 - dampening) * d;
  return { p: p - lr * (nesterov ? d + momentum * b : b), momentum_buffer: b };
}

function adam({ p, g, state, step }: Before, settings: Settings, decoupled: boolean): After {
  const { lr, betas = [0.9, 0.999], eps = 1e-8, weightDecay = decoupled ? 0.01 : 0, amsgrad = false } = settings;
  const d = g + (decoupled ? 0 : weightDecay * p);
  const mean = betas[0] * (state.exp_avg ?? 0) + (1 - betas[0]) * d;
  const square = betas[1] * (state.exp_avg_sq ?? 0) + (1 - betas[1]) * d * d;
  const largest = amsgrad ? Math.max(state.max_exp_avg_sq ?? 0, square) : square;
  const root = Math.sqrt(largest) / Math.sqrt(1 - betas[1] ** step) + eps;
  const shrunk = decoupled ? p * (1 - lr * weightDecay) : p;
  const moved = shrunk - (lr / (1 - betas[0] ** step)) * (mean / root);
  return { p: moved, exp_avg: mean, exp_avg_sq: square, ...(amsgrad ? { max_exp_avg_sq: largest } : {}) };
}
