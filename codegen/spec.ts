/**
 * Spec: which kernel computes a problem. Chosen from the catalogue, frozen, and equal to its name.
 *
 *     ct2d_<pass>_<dtype>_<layout>[_k4s2p1[d2][g4]][_bias][_<activation>]__<variant>[_<tunables>]__<target>
 */

import { FracstrideError, show } from './errors.js';
import type { Work } from './gpu_work.js';
import { type Arg, argumentTable, OPERANDS } from './passes.js';
import { type Activation, type Contraction, contraction, type Layout, type Problem } from './problem.js';
import { formatSpecName, parseSpecName, type SpecName } from './spec_name.js';
import { type Dtype, type Target, targetName } from './target.js';
import type { BakedShape } from './tiles.js';
import {
  type LaunchGeometry,
  type LibraryUse,
  NO_LIBRARY,
  type Packing,
  type Parting,
  type Place,
  type Tunables,
  type Variant,
  variantsFor,
} from './variants.js';

export { wordsOf } from './spec_name.js';
export { type LaunchGeometry, type LibraryUse, NO_LIBRARY } from './variants.js';

/** What a specialised kernel's text holds. */
export interface Baked extends BakedShape {
  readonly bias: boolean;
  readonly activation: Activation;
}

export interface Spec {
  readonly form: Contraction;
  readonly dtype: Dtype;
  readonly layout: Layout;
  readonly variant: string;
  readonly tunables: Tunables;
  /** Null for what takes the shape, the bias and the activation at run time. */
  readonly baked: Baked | null;
  readonly target: Target;
}

/** A row of the catalogue against a problem: `spec` and `cost`, or the `reason` it is refused. */
export interface Candidate {
  readonly variant: string;
  readonly tunables: Tunables;
  readonly spec: Spec | null;
  readonly cost: number | null;
  readonly reason: string | null;
}

/** Every row of the catalogue that could serve: its cost, or the reason it is refused. */
export function candidates(
  problem: Problem,
  target: Target,
  library: LibraryUse = NO_LIBRARY,
  { winograd, products }: Pick<Place, 'winograd' | 'products'> = {},
): Candidate[] {
  const form = contraction(problem.op, problem.pass);
  const place = { target, library, winograd: winograd ?? 'accurate', products: products ?? 'exact' };
  return variantsFor(form, target).flatMap((row) =>
    row.tunables(problem, form, target).map((tunables) => candidate(problem, { form, row, tunables, place })),
  );
}

/** The cheapest legal candidate; gather and igemm are always legal. */
export function choose(problem: Problem, target: Target, library: LibraryUse = NO_LIBRARY): Spec {
  let best: Candidate | undefined;
  for (const row of candidates(problem, target, library))
    if (row.cost !== null && row.cost < (best?.cost ?? Infinity)) best = row;
  if (best?.spec) return best.spec;
  const sentence = `choose: some variant must be legal, got none for ${show(targetName(target))}`;
  throw new FracstrideError('ERR_KERNEL_COMPILE', sentence);
}

interface Option {
  readonly form: Contraction;
  readonly row: Variant;
  readonly tunables: Tunables;
  readonly place: Place;
}

function candidate(asked: Problem, { form, row, tunables, place }: Option): Candidate {
  const problem = restated(row, asked, { form, tunables });
  const reason = row.legal(problem, form, tunables, place);
  if (reason !== null) return { variant: row.name, tunables, spec: null, cost: null, reason };
  const { dtype, layout } = problem;
  const baked = row.kind === 'specialised' ? bakedOf(problem) : null;
  const spec = freeze({ form, dtype, layout, variant: row.name, tunables, baked, target: place.target });
  return { variant: row.name, tunables, spec, cost: row.cost(problem, form, tunables, place), reason: null };
}

function restated(row: Variant, problem: Problem, { form, tunables }: Pick<Spec, 'form' | 'tunables'>): Problem {
  return row.restated?.(problem, form, tunables) ?? problem;
}

function bakedOf({ geometry: g, bias, activation }: Problem): Baked {
  const { r, s, stride, padding, dilation, groups } = g;
  return { r, s, stride, padding, dilation, groups, bias, activation };
}

function freeze(spec: Spec): Spec {
  if (spec.baked !== null) Object.freeze(spec.baked);
  Object.freeze(spec.tunables);
  Object.freeze(spec.target);
  return Object.freeze(spec);
}

/** The name that is the file, the symbol and the cache folder of a kernel; `parseKernelName` reads it back. */
export function kernelName(spec: Spec): string {
  return formatSpecName(spec);
}

/**
 * The spec that a kernel name stands for.
 *
 * @throws FracstrideError ERR_ARGUMENT when the name does not have three zones of the catalogue's words
 */
export function parseKernelName(name: string): Spec {
  const parsed = parseSpecName(name);
  const spec = parsed === null ? null : specOf(parsed);
  if (spec !== null && kernelName(spec) === name) return freeze(spec);
  const rule = 'ct2d_<pass>_<dtype>_<layout>[_<shape>]__<variant>__<target> in the words of the catalogue';
  throw new FracstrideError('ERR_ARGUMENT', `kernel name: the name must be ${rule}, got ${show(name)}`);
}

function specOf({ form, dtype, layout, baked, variant, tunables: words, target }: SpecName): Spec | null {
  for (const row of variantsFor(form, target)) {
    if (row.name !== variant || (row.kind === 'specialised') !== (baked !== null)) continue;
    const known = [...row.tunables({ dtype, layout }, form, target), ...(row.settled?.(form) ?? [])];
    const tunables = known.find((offered) => Object.values(offered).join('_') === words);
    if (tunables !== undefined && fits(form, baked)) return { form, dtype, layout, variant, tunables, baked, target };
  }
  return null;
}

/** Gradients of the weight and the bias have neither a bias nor an activation of their own. */
function fits(form: Contraction, baked: Baked | null): boolean {
  return form === 'expand' || form === 'contract' || baked === null || (!baked.bias && baked.activation === 'none');
}

/** The row of the catalogue that a spec is of. */
export function variantOf(spec: Spec): Variant {
  const row = variantsFor(spec.form, spec.target).find((variant) => variant.name === spec.variant);
  if (row !== undefined) return row;
  throw new FracstrideError(
    'ERR_ARGUMENT',
    `spec: variant must be one of the catalogue for ${spec.form}, got ${show(spec.variant)}`,
  );
}

/** Whether a library computes it: there is nothing to render, compile or load. */
export function isLibrary(spec: Spec): boolean {
  return variantOf(spec).kind === 'library';
}

/**
 * The spec with the settings that a library settled on, for its name.
 *
 * @throws FracstrideError ERR_ARGUMENT for settings that the catalogue does not know
 */
export function settled(spec: Spec, words: string): Spec {
  const { name, settled: known } = variantOf(spec);
  const tunables = known?.(spec.form).find((offered) => Object.values(offered).join('_') === words);
  if (tunables !== undefined) return freeze({ ...spec, tunables });
  throw new FracstrideError(
    'ERR_ARGUMENT',
    `spec: ${name} must settle on settings of the catalogue, got ${show(words)}`,
  );
}

/** The argument list that a kernel is launched with; of a library, the operands. */
export function specArguments(spec: Spec): readonly Arg[] {
  const { kind, packs, parting } = variantOf(spec);
  if (kind === 'library') return OPERANDS[spec.form];
  if (parting !== undefined) return argumentTable(spec.form, packs === undefined ? 'parted' : 'packed parted');
  if (packs === undefined) return argumentTable(spec.form, kind);
  return argumentTable(spec.form, kind === 'specialised' ? 'packed' : 'packing');
}

/** How a spec re-orders the weight of a problem that it was chosen for; null for what reads it where it lies. */
export function packingOf(spec: Spec, problem: Problem): Packing | null {
  const row = variantOf(spec);
  return row.packs?.(restated(row, problem, spec), spec.form, spec.tunables, spec.target) ?? null;
}

/** The parts into which a spec's kernel cuts the sums of a problem that it was chosen for; null where there is one. */
export function partingOf(spec: Spec, problem: Problem): Parting | null {
  const row = variantOf(spec);
  return row.parting?.(restated(row, problem, spec), spec.form, spec.tunables, spec.target) ?? null;
}

/** The launch of a spec for a problem that it was chosen for. */
export function launchGeometry(spec: Spec, problem: Problem): LaunchGeometry {
  const row = variantOf(spec);
  return row.launch(restated(row, problem, spec), spec.form, spec.tunables, spec.target);
}

/** What each launch of a spec has to do for a problem that it was chosen for; null where that is not counted. */
export function workOf(spec: Spec, problem: Problem): readonly Work[] | null {
  const row = variantOf(spec);
  return row.work?.(restated(row, problem, spec), spec.form, spec.tunables, spec.target) ?? null;
}
