/** One row of the catalogue of variants: what a kernel family computes, when it may, what it costs, how it is launched. */

import type { Contraction, Problem } from './problem.js';
import type { Target } from './target.js';

/** Settings of a variant, in the order of its kernel names. */
export type Tunables = Readonly<Record<string, number | string>>;

/** Grid in blocks, block in threads, dynamic shared memory in bytes. */
export interface LaunchGeometry {
  readonly grid: readonly [x: number, y: number, z: number];
  readonly block: readonly [x: number, y: number, z: number];
  readonly sharedBytes: number;
}

export interface Variant {
  readonly name: string;
  readonly device: 'cpu' | 'cuda';
  readonly forms: readonly Contraction[];
  /** Template file in templates/. */
  readonly template: string;
  /** Whether shape, bias and activation are arguments, or part of the text. */
  readonly kind: 'general' | 'specialised';
  /** Every setting the variant is offered with. */
  readonly tunables: (
    problem: Pick<Problem, 'dtype' | 'layout'>,
    form: Contraction,
    target: Target,
  ) => readonly Tunables[];
  /** Null when the variant computes this problem, else the reason it does not, as `<variant>: <reason>` reads well. */
  readonly legal: (problem: Problem, form: Contraction, tunables: Tunables) => string | null;
  /** Relative cost; only the order within one problem and target means anything. */
  readonly cost: (problem: Problem, form: Contraction, tunables: Tunables) => number;
  readonly launch: (problem: Problem, form: Contraction, tunables: Tunables) => LaunchGeometry;
}
