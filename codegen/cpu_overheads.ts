/**
 * What a call of a CPU variant costs besides its products. The variants' own costs are those of large layers; what is
 * here decides between them where products are few: small maps, few channels, single images.
 */

import { MEASURED } from './cpu_measured.js';
import { existingTaps } from './passes.js';
import type { Contraction, Layout, Problem } from './problem.js';
import type { CpuIsa, Target } from './target.js';
import type { Tunables, Variant } from './variant.js';

/**
 * Each in multiply-adds of float32 at the peak of the instruction set, of which a core with two 512-bit units does 32 a cycle.
 * Fitted to the times of random problems and of the layers of `fracstride bench` (docs/decisions.md; `npm run bench:overheads`
 * fits, `npm run bench:choice` measures what is lost by choosing with them).
 */
export interface Overhead {
  /** What the row's own cost is multiplied by; 1 where there is none. */
  readonly own?: number;
  readonly call?: number;
  readonly image?: number;
  /** A pair of a position of the small side and a tap whose element of the large side exists. */
  readonly pair?: number;
  /** Such a pair in one channel of the large side: an element that is gathered, or that a product is added to. */
  readonly gathered?: number;
  /** An element of the small side, of the large side, of the weight. */
  readonly small?: number;
  readonly large?: number;
  readonly weight?: number;
  /** A product with an element that does not exist. */
  readonly absent?: number;
}

export type Overheads = Readonly<Partial<Record<`${Contraction} ${Layout}`, Overhead>>>;

/** By row: its variant, and the lanes of its tiles where there is a choice (`igemm_px`). */
export const OVERHEADS: Readonly<Record<CpuIsa, Readonly<Record<string, Overheads>>>> = MEASURED;

/** A cost for each product that a result depends on, and what a call costs besides, shared by its products. */
export function withOverheads(variant: string, cost: Variant['cost']): Variant['cost'] {
  return (problem, form, tunables, place) => {
    const { own = 1, ...each } = overheadOf(overheadRow(variant, tunables), problem, form, place.target);
    const { products, ...counts } = countsOf(problem);
    let besides = 0;
    for (const [name, count] of Object.entries(counts)) besides += count * (each[name as keyof typeof counts] ?? 0);
    return own * cost(problem, form, tunables, place) + besides / Math.max(1, products);
  };
}

export function overheadRow(variant: string, { lanes }: Tunables): string {
  return lanes === undefined ? variant : `${variant}_${lanes}`;
}

export function overheadOf(row: string, { layout }: Problem, form: Contraction, target: Target): Overhead {
  const isa = target.kind === 'cpu' ? target.isa : 'baseline';
  return OVERHEADS[isa][row]?.[`${form} ${layout}`] ?? {};
}

/** How often a problem has what an overhead is of, and the products that its result depends on: with elements that exist. */
export function countsOf({ geometry: g }: Problem): Required<Omit<Overhead, 'own'>> & { readonly products: number } {
  const pairs = g.n * existingTaps(g);
  const perPair = (g.cs * g.cl) / g.groups;
  return {
    call: 1,
    image: g.n,
    pair: pairs,
    gathered: pairs * g.cl,
    small: g.n * g.cs * g.hs * g.ws,
    large: g.n * g.cl * g.hl * g.wl,
    weight: perPair * g.r * g.s,
    absent: (g.n * g.hs * g.ws * g.r * g.s - pairs) * perPair,
    products: pairs * perPair,
  };
}
