/** One row of the catalogue of variants: what a kernel family computes, when it may, what it costs, how it is launched. */

import { gpuOf } from './gpu.js';
import { seconds, type Work } from './gpu_work.js';
import type { PointwiseDim } from './pointwise.js';
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

/** What the library that has a row in the catalogue can do where kernels are chosen, and what is asked of it. */
export interface LibraryUse {
  /** Why it is not to be used; null where it is. */
  readonly reason: string | null;
  readonly deterministic: boolean;
  /** Whether float32 products may be taken in TF32. */
  readonly allowTf32: boolean;
}

/** Kernels that are chosen ahead of time are kernels of this package. */
export const NO_LIBRARY: LibraryUse = Object.freeze({
  reason: 'libraries are chosen on the machine that a program runs on, not ahead of time',
  deterministic: false,
  allowTf32: false,
});

/** Which Winograd kernels may run: 'accurate', only ones as exact as the direct kernel; 'fast', any; 'off', none. */
export const WINOGRAD_MODES = ['accurate', 'fast', 'off'] as const;
export type WinogradMode = (typeof WINOGRAD_MODES)[number];

/** What becomes of float32 factors: 'exact', all of them; 'tf32', ten bits of each where tensor cores multiply them. */
export type Float32Products = 'exact' | 'tf32';

/** Where a kernel is chosen for. */
export interface Place {
  readonly target: Target;
  readonly library: LibraryUse;
  /** 'accurate' where nothing else is said. */
  readonly winograd?: WinogradMode;
  /** 'exact' where nothing else is said. */
  readonly products?: Float32Products;
}

/** A weight as a kernel re-orders it: bytes of the buffer, header included, and what besides the weight decides them. */
export interface Packing {
  readonly bytes: number;
  readonly key: string;
  /** The copy (target first) that makes it before the kernel is launched; without one the kernel packs by itself. */
  readonly copy?: readonly PointwiseDim[];
  /** What each element is divided by as it is copied; 1 where nothing is said. */
  readonly divisor?: number;
  /** Elements that are 0 where the copy writes none: the whole buffer is filled first. */
  readonly zeros?: number;
}

/**
 * Sums that a kernel leaves in parts, [parts][elements] of the accumulator's type, for the operation sum_parts to add up
 * in order.
 */
export interface Parting {
  readonly parts: number;
  readonly elements: number;
  /** Whether the kernel's own blocks add them up, so that one launch is all. */
  readonly joined?: true;
}

/** Bytes before the contents of a packed weight (PackedHeader of cpu/conv_args.h). */
export const PACKED_HEADER = 64;

export interface Variant {
  readonly name: string;
  readonly device: 'cpu' | 'cuda';
  readonly forms: readonly Contraction[];
  /** Template file in templates/; null for what a library computes. */
  readonly template: string | null;
  /** Whether shape, bias and activation are arguments, or part of the text, or nothing is rendered. */
  readonly kind: 'general' | 'specialised' | 'library';
  /** Every setting the variant is offered with. */
  readonly tunables: (
    problem: Pick<Problem, 'dtype' | 'layout'>,
    form: Contraction,
    target: Target,
  ) => readonly Tunables[];
  /** Settings that a library settles on once it was asked: they are in names, and no candidates of their own. */
  readonly settled?: (form: Contraction) => readonly Tunables[];
  /**
   * Of kernels that re-order the weight and keep it so between calls. Problems of one kernel and one key share what was
   * packed.
   */
  readonly packs?: (problem: Problem, form: Contraction, tunables: Tunables, target: Target) => Packing;
  /** Of kernels that may cut their sums into parts, a function of problem and target alone; null where one launch is all. */
  readonly parting?: (problem: Problem, form: Contraction, tunables: Tunables, target: Target) => Parting | null;
  /**
   * The problem that its kernels compute instead, with the same sums of the same tensors: texts, costs and launches are of
   * that one. Where nothing is said, the one that is asked.
   */
  readonly restated?: (problem: Problem, form: Contraction, tunables: Tunables) => Problem;
  /** Whether the last of the blocks that share a tile adds up the parts that they left. */
  readonly joins?: true;
  /** Whether its kernels have the residues of outputs as columns of one product (codegen/merged.ts). */
  readonly merges?: true;
  /** Whether its kernels have the channels of all taps as one list of k. */
  readonly folds?: true;
  /** Null when the variant computes this problem, else the reason it does not, as `<variant>: <reason>` reads well. */
  readonly legal: (problem: Problem, form: Contraction, tunables: Tunables, place: Place) => string | null;
  /** Of CUDA rows of this package: what each launch has to do, the weight being packed already. */
  readonly work?: CountWork;
  /**
   * On CUDA the microseconds that the model of codegen/gpu_work.ts gives; on a CPU relative, where only the order within one
   * problem and target means anything.
   */
  readonly cost: (problem: Problem, form: Contraction, tunables: Tunables, place: Place) => number;
  readonly launch: (problem: Problem, form: Contraction, tunables: Tunables, target: Target) => LaunchGeometry;
}

export type CountWork = (problem: Problem, form: Contraction, tunables: Tunables, target: Target) => readonly Work[];

/** A launch whose blocks take a part each of a sum, by the number of parts. */
export type WorkInParts = (parts: number) => Work;

/** How many times faster sums in parts have to be: a workspace and another launch are not for a few hundredths. */
const PARTS_MARGIN = 1.05;

/** The cost of a CUDA row whose work is counted; `margin` is how many times faster than others it must be to be chosen. */
export function modelled(
  work: CountWork,
  margin: number | ((problem: Problem, form: Contraction) => number) = 1,
): Pick<Variant, 'work' | 'cost'> {
  const cost: Variant['cost'] = (problem, form, tunables, { target }) => {
    const works = work(problem, form, tunables, target);
    const own = typeof margin === 'number' ? margin : margin(problem, form);
    return 1e6 * own * (works.length > 1 ? PARTS_MARGIN : 1) * seconds(works, gpuOf(target));
  };
  return { work, cost };
}

/** The launch of what splits its work itself: CPU kernels and libraries. */
export const ONE_LAUNCH: LaunchGeometry = Object.freeze({ grid: [1, 1, 1], block: [1, 1, 1], sharedBytes: 0 } as const);
