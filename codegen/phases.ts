/**
 * Residue classes ("phases") of a contraction's output, one axis at a time, all of it known when a kernel is generated.
 *
 * In expand, tap k carries S[i] to L[o] exactly when o + p = i·s + k·d. Write o = q·s + r with 0 ≤ r < s: the tap belongs
 * to phase r when (r + p − k·d) mod s = 0, and then i = q + δ with δ = (r + p − k·d) / s. With gcd(s, d) > 1 some phases
 * have no tap at all: their outputs are the bias alone. In contract every output uses every tap: one phase, i·s + k·d − p.
 */

import { kept } from './kept.js';
import type { Contraction } from './problem.js';

/** One tap of the kernel, and the source position it reads: `q · sourceStep + delta`. */
export interface Tap {
  readonly tap: number;
  readonly delta: number;
}

/** The outputs `q · outputStep + residue`, and the taps that reach them, by ascending tap. */
export interface AxisPhase {
  readonly residue: number;
  readonly taps: readonly Tap[];
}

export interface Axis {
  readonly outputStep: number;
  readonly sourceStep: number;
  readonly phases: readonly AxisPhase[];
}

export interface AxisShape {
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
  readonly dilation: number;
}

/** The phases of one axis of expand or contract. */
export const axisPhases = kept(
  (form: Extract<Contraction, 'expand' | 'contract'>, { kernel, stride, padding, dilation }: AxisShape) =>
    `${form} ${kernel} ${stride} ${padding} ${dilation}`,
  phasesOf,
);

function phasesOf(form: Extract<Contraction, 'expand' | 'contract'>, shape: AxisShape): Axis {
  const taps = Array.from({ length: shape.kernel }, (_, tap) => tap);
  if (form === 'contract') {
    const all = taps.map((tap) => ({ tap, delta: tap * shape.dilation - shape.padding }));
    return { outputStep: 1, sourceStep: shape.stride, phases: [{ residue: 0, taps: all }] };
  }
  const residues = Array.from({ length: shape.stride }, (_, residue) => residue);
  const phases = residues.map((residue) => ({ residue, taps: tapsOf(residue, shape, taps) }));
  return { outputStep: shape.stride, sourceStep: 1, phases };
}

function tapsOf(residue: number, shape: AxisShape, taps: readonly number[]): Tap[] {
  return taps.flatMap((tap) => {
    const distance = residue + shape.padding - tap * shape.dilation;
    return distance % shape.stride === 0 ? [{ tap, delta: distance / shape.stride }] : [];
  });
}

/** Output positions q of an axis: as many as its most populous phase has. */
export function positionsOf(size: number, outputStep: number): number {
  return Math.ceil(size / outputStep);
}
