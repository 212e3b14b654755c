/** The CPU row of kernels for few output channels: neighbouring positions in the lanes, all column phases in one tile. */

import { withOverheads } from './cpu_overheads.js';
import type { Contraction, Problem } from './problem.js';
import { cpuTileOf, DTYPE_TABLE } from './target.js';
import { ONE_LAUNCH, type Place, type Tunables, type Variant } from './variant.js';

export const SLIDE_VARIANT: Variant = {
  name: 'slide',
  device: 'cpu',
  forms: ['expand'],
  template: 'slide.cpp.njk',
  kind: 'general',
  tunables: () => [{}],
  legal: slideLegal,
  cost: withOverheads('slide', slideCost),
  launch: () => ONE_LAUNCH,
};

/** What it is built for: it was measured to be faster nowhere else. */
export const [SLIDE_ISA, SLIDE_ACCUMULATOR] = ['avx512', 'float'] as const;

/** Neighbouring shifts of the input that each column phase reads: `taps` from `first` on, `window` in all. */
export interface SlidePattern {
  readonly phases: readonly { readonly first: number; readonly taps: number }[];
  readonly window: number;
}

/** Widths of kernels by their stride along w. */
const WIDTHS: Readonly<Record<number, readonly number[]>> = {
  1: [3, 5, 7, 9],
  2: [2, 3, 4, 5, 6],
  3: [3, 6, 9],
  4: [4, 8],
};

/** Every pattern that is generated. */
export const SLIDE_PATTERNS: readonly SlidePattern[] = Object.entries(WIDTHS).flatMap(([stride, widths]) =>
  widths.flatMap((width) => {
    const found = Array.from({ length: Number(stride) }, (_, padding) => patternOf(width, Number(stride), padding));
    return found.filter((one, i) => found.findIndex((other) => keyOf(other) === keyOf(one)) === i);
  }),
);

/** Output column f + stride·q of tap k reads position q + (f + padding − k) / stride, where that is whole. */
function patternOf(width: number, stride: number, padding: number): SlidePattern {
  const shifts = Array.from({ length: stride }, (_, f) =>
    Array.from({ length: width }, (_, k) => (f + padding - k) / stride).filter(Number.isInteger),
  );
  const all = shifts.flat();
  const low = Math.min(...all);
  const phases = shifts.map((of) => ({ first: Math.min(...of) - low, taps: of.length }));
  return { phases, window: Math.max(...all) - low + 1 };
}

function keyOf({ phases }: SlidePattern): string {
  return phases.map(({ first, taps }) => `${first}+${taps}`).join(' ');
}

/** Output channels of one tile, about. */
const MOST_OUTPUTS = 6;

function slideLegal({ geometry: g, dtype }: Problem, _: Contraction, __: Tunables, { target }: Place): string | null {
  if (target.kind !== 'cpu' || target.isa !== SLIDE_ISA) return `it is built for ${SLIDE_ISA}`;
  if (DTYPE_TABLE[dtype].accumulator !== SLIDE_ACCUMULATOR) return 'it sums in float32';
  const [stride, outputs] = [g.stride[1], g.cl / g.groups];
  if (outputs > MOST_OUTPUTS) return `it takes at most ${MOST_OUTPUTS} output channels of a group, got ${outputs}`;
  if (g.dilation[1] !== 1) return 'it takes kernels without dilation along w';
  if (!WIDTHS[stride]?.includes(g.s)) return `it takes kernels ${widthsText()} wide, got ${g.s} with stride ${stride}`;
  return g.wl >= stride ? null : `it takes outputs at least as wide as the stride ${stride}, got ${g.wl}`;
}

const widthsText = (): string =>
  Object.entries(WIDTHS)
    .map(([stride, widths]) => `${widths.join(', ')} (stride ${stride})`)
    .join(', ');

/** Fewest input channels that it was measured with, and the cost of what was not. */
const [LEAST_INPUTS, NOT_MEASURED] = [32, 10];

/**
 * By measurement, in the unit of the others: lanes that hold nothing, and rows that are copied. It was measured in float32,
 * beside `scatter`, which is faster in planes with 128 input channels.
 */
function slideCost({ geometry: g, layout, dtype }: Problem): number {
  const { width } = cpuTileOf(SLIDE_ISA, SLIDE_ACCUMULATOR);
  const positions = Math.ceil(g.wl / g.stride[1]);
  const filled = Math.max(0.01, positions / (Math.ceil(positions / width) * width));
  const measured = dtype === 'float32' && g.groups === 1 && g.cs >= LEAST_INPUTS;
  return (measured ? (layout === 'nchw' ? 1.12 + 2 / g.cs : 1.35) : NOT_MEASURED) / filled;
}
