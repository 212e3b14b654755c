/** Holds the choice of kernels to one variant, and checks for every problem that comes up which kernel was chosen. */

import { backends } from 'fracstride';
import type { Problem } from '../../codegen/problem.js';
import type { Device } from '../../src/device.js';
import { candidatesOn, observeKernels, preferVariant } from '../../src/kernels.js';

export interface VariantReport {
  /** Contractions by the variant that ran them. */
  readonly ran: Readonly<Record<string, number>>;
  /** Those that the wanted variant refuses, by the reason. */
  readonly refused: Readonly<Record<string, number>>;
  /** Those that ran another variant although the wanted one is legal. */
  readonly wrong: readonly string[];
}

/**
 * From now on, contractions run `variant` wherever it is legal and elsewhere `gather`, whose few kernels serve every shape;
 * null: what is chosen by cost.
 */
export function watchVariant(variant: string | null): () => VariantReport {
  const ran: Record<string, number> = {};
  const refused: Record<string, number> = {};
  const wrong: string[] = [];
  const count = (table: Record<string, number>, key: string) => {
    table[key] = (table[key] ?? 0) + 1;
  };
  preferVariant(variant, variant === null ? null : 'gather');
  observeKernels((asked, device, kernel) => {
    if (!('geometry' in asked)) return;
    const chosen = kernel.split('__')[1]!.split('_')[0]!;
    count(ran, chosen);
    if (variant === null || chosen === variant) return;
    const reason = refusal(asked, variant, device);
    if (reason === null) wrong.push(`${kernel} ran where ${variant} is legal`);
    else count(refused, reason);
  });
  return () => ({ ran, refused, wrong });
}

/** Why a variant does not take a problem, or null when it does. */
function refusal(problem: Problem, variant: string, device: Device): string | null {
  const rows = candidatesOn(device, problem).filter((row) => row.variant === variant);
  if (rows.some((row) => row.spec !== null)) return null;
  return rows[0]?.reason ?? 'is in no catalogue for this contraction';
}

/**
 * Settings of the library by their names with commas between, such as `deterministic,benchmark`. Its TF32, the default, is
 * switched off: ten bits of each factor are not what bounds for float32 are made for.
 */
export function setLibrary(words: string | undefined): void {
  backends.cudnn.allowTf32 = false;
  for (const word of words?.split(',') ?? []) {
    if (word === 'tf32') {
      backends.cuda.matmul.allowTf32 = true;
      continue;
    }
    if (word !== 'deterministic' && word !== 'benchmark')
      throw new Error(`--settings must be deterministic, benchmark or tf32, got ${word}`);
    backends.cudnn[word] = true;
  }
}
