/** The rows of the catalogue that compute a problem on a device, and running one of them. */

import { makeProblem, type Problem } from '../../codegen/problem.js';
import { VARIANTS } from '../../codegen/variants.js';
import { resolveDevice } from '../device.js';
import { candidatesOn, preferVariant } from '../kernels.js';

export interface LegalVariant {
  readonly name: string;
  readonly kind: 'general' | 'specialised' | 'library';
}

/** The variants that are legal for a problem on a device, in the catalogue's order. */
export function variantsOf(device: string, problem: Problem): LegalVariant[] {
  const rows = candidatesOn(resolveDevice('verify', device), makeProblem(problem));
  const legal = rows.filter(({ spec }) => spec !== null);
  const kindOf = (name: string) => VARIANTS.find((row) => row.name === name)?.kind ?? 'general';
  return [...new Set(legal.map(({ variant }) => variant))].map((name) => ({ name, kind: kindOf(name) }));
}

/** Runs `fn` while contractions take this variant wherever it is legal. */
export function withVariant(name: string, fn: () => void): void {
  preferVariant(name);
  try {
    fn();
  } finally {
    preferVariant(null);
  }
}
