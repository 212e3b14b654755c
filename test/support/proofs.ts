/**
 * Long proofs and what is known of them. A proof that passed under `--store` leaves a row in bench/results/cuda_proofs.jsonl
 * with a digest of its variant's kernels, so that later runs, days apart or on other machines, go on with what those rows
 * do not hold (`--missing`), and anybody can see which proofs are of the kernels of now.
 */

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { keepEach, readRows } from '../../bench/row.js';
import { kept } from '../../codegen/kept.js';
import { isOperation } from '../../codegen/kernel.js';
import { isKernelName, PRESETS, specFor } from '../../codegen/presets.js';
import type { Problem } from '../../codegen/problem.js';
import { parseProblem } from '../../codegen/problem_text.js';
import { renderKernel } from '../../codegen/render.js';
import { candidates, kernelName, type Spec } from '../../codegen/spec.js';
import type { Target } from '../../codegen/target.js';
import { REAL_DEVICE } from './simulated.js';

/** What a proof that passed leaves behind. */
export interface ProofRow {
  readonly proof: string;
  /** Digest of the variant's kernels that were proven. */
  readonly kernels: string;
  readonly seconds: number;
  readonly date: string;
  readonly commit: string | null;
}

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const FILE = join(ROOT, 'bench/results/cuda_proofs.jsonl');
const TARGET: Target = { kind: 'cuda', arch: 90 };
const variantOf = new Map<string, string>();

/** Titles of the proofs that were declared, in their order, and the variant that each is about. */
export const proofs: ReadonlyMap<string, string> = variantOf;

/** A test whose `work` throws or returns what it counted. With `--missing` it is left out where its row is of these kernels. */
export function proof(title: string, variant: string, work: () => Promise<Readonly<Record<string, unknown>>>): void {
  variantOf.set(title, variant);
  it(title, async function () {
    if (process.argv.includes('--missing') && storedProofs().get(title)?.kernels === digestOf(variant)) this.skip();
    const started = performance.now();
    const counted = await work();
    const seconds = Math.round((performance.now() - started) / 1000);
    console.log(`      ${JSON.stringify(counted)}`);
    // What ran on a GPU is no row of the simulator's.
    if (REAL_DEVICE) return;
    const row = { proof: title, kernels: digestOf(variant), seconds, ...counted };
    keepEach('cuda_proofs', [row], (each) => each.proof);
  });
}

/** The rows by their titles. */
export function storedProofs(): ReadonlyMap<string, ProofRow> {
  return new Map(readRows<ProofRow>(FILE).map((row) => [row.proof, row]));
}

/**
 * A digest of the texts of all kernels that a variant has in the full preset: every layer, pass, type, layout and tile. A
 * variant of a library has no texts; there it is of the sources that call it.
 */
export const digestOf = kept(
  (variant: string) => variant,
  (variant) => {
    const hash = createHash('sha256');
    for (const text of variant === 'cudnn' ? librarySources() : kernelTexts(variant)) hash.update(text);
    return hash.digest('hex').slice(0, 16);
  },
);

function kernelTexts(variant: string): string[] {
  const own = new Map(convolutions().flatMap((spec) => (spec.variant === variant ? [[kernelName(spec), spec]] : [])));
  return [...own].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, spec]) => renderKernel(spec));
}

/** Every variant's kernels for the full preset. */
const convolutions = kept(
  () => 'full',
  (): readonly Spec[] =>
    PRESETS.full!.flatMap((item) => {
      if (!isKernelName(item)) return tilesFor(parseProblem(item));
      const spec = specFor(item, TARGET);
      return isOperation(spec) ? [] : [spec];
    }),
);

/** What every variant offers for a problem. */
function tilesFor(problem: Problem): Spec[] {
  const offered = (['exact', 'tf32'] as const).flatMap((products) =>
    candidates(problem, TARGET, undefined, { products }),
  );
  return offered.flatMap(({ spec }) => spec ?? []);
}

function librarySources(): string[] {
  const folder = join(ROOT, 'cuda');
  const names = readdirSync(folder).filter((name) => name.startsWith('cudnn'));
  return names.sort().map((name) => readFileSync(join(folder, name), 'utf8'));
}
