/**
 * What a call of a CPU variant costs besides its products. The variants' own costs are those of large layers; what is
 * here decides between them where products are few: small maps, few channels, single images.
 */

import { existingTaps } from './passes.js';
import type { Contraction, Layout, Problem } from './problem.js';
import { CPU_VECTOR_BYTES, type Target } from './target.js';
import type { Tunables, Variant } from './variant.js';

/**
 * Each in multiply-adds of float32 at the peak, of which a core with two 512-bit units does 32 a cycle. Fitted to the times
 * of random problems and of the layers of `fracstride bench`: terms that are not negative by relative error, then each row
 * scaled so that the chosen kernels lose least (docs/decisions.md; `npm run bench:choice` measures the loss).
 */
export interface Overhead {
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

/** A cost for each product that a result depends on, and what a call costs besides, shared by its products. */
export function withOverheads(cost: Variant['cost'], overheads: (words: Tunables) => Overheads): Variant['cost'] {
  return (problem, form, tunables, place) => {
    const { absent = 0, ...each } = overheads(tunables)[`${form} ${problem.layout}`] ?? {};
    const { absent: missing, products, ...counts } = countsOf(problem);
    let besides = 0;
    for (const [name, count] of Object.entries(counts)) besides += count * (each[name as keyof typeof each] ?? 0);
    const total = besides * peakShare(place.target) + missing * absent;
    return cost(problem, form, tunables, place) + total / Math.max(1, products);
  };
}

/** How often a problem has what an overhead is of, and the products that its result depends on. */
function countsOf({ geometry: g }: Problem): Required<Overhead> & { readonly products: number } {
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

/** Products that narrower vectors do in the time of one of those that overheads were measured beside. */
function peakShare(target: Target): number {
  return target.kind === 'cpu' ? CPU_VECTOR_BYTES[target.isa] / CPU_VECTOR_BYTES.avx512 : 1;
}
