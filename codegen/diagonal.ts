/**
 * Groups along a diagonal: several groups of few channels that stand together are one larger group, of whose products only
 * those of a group with itself count.
 */

import type { Problem } from './problem.js';
import type { Tunables } from './variant.js';

/** Channels of one group, on the side that has more: beyond, its own tiles are full. */
const MOST_CHANNELS = 32;

/** `d4`: four groups are one. */
export function togetherOf({ diagonal }: Tunables): number {
  return diagonal === undefined ? 1 : Number(String(diagonal).slice(1));
}

/** Each of the tunables with each of the numbers of groups. */
export function onDiagonals(tunables: readonly Tunables[], counts: readonly string[]): Tunables[] {
  return tunables.flatMap((each) => counts.map((diagonal) => ({ ...each, diagonal })));
}

/** The problem of fewer, larger groups, whose number is no integer where they do not come in so many. */
export function together(problem: Problem, tunables: Tunables): Problem {
  const { geometry: g } = problem;
  return { ...problem, geometry: { ...g, groups: g.groups / togetherOf(tunables) } };
}

/** The problem of which such a one is made. */
export function apart(problem: Problem, tunables: Tunables): Problem {
  const { geometry: g } = problem;
  return { ...problem, geometry: { ...g, groups: g.groups * togetherOf(tunables) } };
}

/** Why groups of the larger problem are not that many small ones; null where they are. */
export function togetherReason({ geometry: g }: Problem, tunables: Tunables): string | null {
  const count = togetherOf(tunables);
  if (!Number.isInteger(g.groups)) return `it takes ${count} groups together, and there are ${g.groups * count}`;
  if (Math.max(g.cs, g.cl) / g.groups / count <= MOST_CHANNELS) return null;
  return `it takes groups of at most ${MOST_CHANNELS} channels`;
}
