/**
 * The determinism contract: while it holds, whatever runs gives the same bits from run to run and from process to
 * process. Kernels of this package always do; what a library computes is chosen so, and refused where somebody insists
 * on another choice.
 */

import { changeChoice } from './device.js';
import { FracstrideError } from './errors.js';

const state = { on: false, warnOnly: false };
const warned = new Set<string>();
let ran: string | null = null;

/** Begins or ends the contract; with `warnOnly` what it forbids warns, once each. */
export function holdContract({ on, warnOnly }: { on: boolean; warnOnly: boolean }): void {
  state.on = on;
  state.warnOnly = warnOnly;
  changeChoice();
}

/** Whether the contract holds. */
export function contractHolds(): boolean {
  return state.on;
}

/** What is about to run although its result may differ from run to run. */
export interface Nondeterminism {
  /** What was asked for. */
  readonly where: string;
  /** The kernel or algorithm. */
  readonly got: string;
  /** What to do about it. */
  readonly advice: string;
}

/** @throws FracstrideError ERR_NONDETERMINISTIC unless the contract only warns */
export function refuseNondeterminism({ where, got, advice }: Nondeterminism): void {
  const asked = state.on ? 'useDeterministicAlgorithms is on' : 'only deterministic algorithms are asked for';
  const sentence = `${where}: the algorithm must be deterministic as ${asked}, got ${got}; ${advice}`;
  if (!(state.on && state.warnOnly)) throw new FracstrideError('ERR_NONDETERMINISTIC', sentence);
  if (warned.has(sentence)) return;
  warned.add(sentence);
  process.emitWarning(sentence, { type: 'NondeterminismWarning', code: 'ERR_NONDETERMINISTIC' });
}

/** Says that something ran whose result may differ from run to run. */
export function noteNondeterminism(kernel: string): void {
  ran = kernel;
}

/** What of that kind ran since the last call, or null: what a recorded graph is asked about. */
export function takeNondeterminism(): string | null {
  const found = ran;
  ran = null;
  return found;
}
