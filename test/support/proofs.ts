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
import { LAYERS } from '../../codegen/presets.js';
import { LAYOUTS, PASSES } from '../../codegen/problem.js';
import { parseProblem } from '../../codegen/problem_text.js';
import { renderKernel } from '../../codegen/render.js';
import { candidates, kernelName } from '../../codegen/spec.js';
import { DTYPES, type Target } from '../../codegen/target.js';
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

const digests = new Map<string, string>();

/**
 * A digest of the texts of all kernels that a variant has for the layers of the presets: every pass, type, layout and tile.
 * A variant of a library has no texts; there it is of the sources that call it.
 */
export function digestOf(variant: string): string {
  const known = digests.get(variant);
  if (known !== undefined) return known;
  const hash = createHash('sha256');
  for (const text of variant === 'cudnn' ? librarySources() : kernelTexts(variant)) hash.update(text);
  const digest = hash.digest('hex').slice(0, 16);
  digests.set(variant, digest);
  return digest;
}

function kernelTexts(variant: string): string[] {
  const texts = new Map<string, string>();
  for (const layer of Object.values(LAYERS))
    for (const pass of PASSES)
      for (const dtype of DTYPES)
        for (const layout of LAYOUTS)
          for (const products of ['exact', 'tf32'] as const) {
            const problem = parseProblem(`${layer} pass=${pass} dtype=${dtype} layout=${layout}`);
            for (const row of candidates(problem, TARGET, undefined, { products })) {
              if (row.variant !== variant || row.spec === null) continue;
              const name = kernelName(row.spec);
              if (!texts.has(name)) texts.set(name, renderKernel(row.spec));
            }
          }
  return [...texts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text);
}

function librarySources(): string[] {
  const folder = join(ROOT, 'cuda');
  const names = readdirSync(folder).filter((name) => name.startsWith('cudnn'));
  return names.sort().map((name) => readFileSync(join(folder, name), 'utf8'));
}
