/**
 * The CUDA rows of `diagonal` and `mmadiagonal`: the kernels of `igemm` and `mma` where groups have few channels. Several
 * groups that stand together are one, whose packed weight has theirs along its diagonal and zeros elsewhere: products
 * with zeros are cheaper than tiles that are mostly empty, and a position's channels are read in longer runs.
 */

import { onDiagonals, together, togetherOf, togetherReason } from './diagonal.js';
import { parseGemmTile } from './igemm_tiles.js';
import { isRoomy, parseMmaTile } from './mma_tiles.js';
import type { Contraction, Problem } from './problem.js';
import { DTYPE_TABLE } from './target.js';
import { sidesOf } from './tiles.js';
import { modelled, type Packing, type Tunables, type Variant } from './variant.js';
import type { Volume } from './variants_cuda.js';
import { IGEMM_VARIANTS, igemmWork } from './variants_cuda_igemm.js';
import { MMA_VARIANTS, mmaWork } from './variants_cuda_mma.js';

/** How many groups become one. */
const TOGETHER = ['d4', 'd8', 'd16', 'd32'];
/** Output channels of the tiles that are offered: more would be zeros for the most part, fewer do not hold four groups. */
const MOST_OUTPUTS = 64;
const LEAST_OUTPUTS = 32;

export const DIAGONAL_VARIANTS: readonly Variant[] = [
  ...IGEMM_VARIANTS.map((row) => diagonal('diagonal', row, (tunables) => parseGemmTile(tunables).n, igemmWork)),
  ...MMA_VARIANTS.map((row) =>
    diagonal('mmadiagonal', row, (tunables) => (isRoomy(tunables) ? parseMmaTile(tunables).n : Infinity), mmaWork),
  ),
];

function diagonal(
  name: string,
  row: Variant,
  outputs: (tunables: Tunables) => number,
  work: typeof mmaWork | typeof igemmWork,
): Variant {
  return {
    ...row,
    name,
    tunables: (...asked) =>
      onDiagonals(
        row
          .tunables(...asked)
          .filter((tunables) => outputs(tunables) >= LEAST_OUTPUTS && outputs(tunables) <= MOST_OUTPUTS),
        TOGETHER,
      ),
    restated: (problem, form, tunables) => together(row.restated?.(problem, form, tunables) ?? problem, tunables),
    packs: (...asked) => onDiagonal(row.packs!(...asked), asked[0], togetherOf(asked[2])),
    legal: (problem, form, tunables, place) =>
      reason(problem, form, tunables, outputs(tunables)) ?? row.legal(problem, form, tunables, place),
    ...modelled((problem, form, tunables, target) => [work(problem, form as Volume, tunables, target)(1)]),
  };
}

function reason(problem: Problem, form: Contraction, tunables: Tunables, tile: number): string | null {
  const { geometry: g } = problem;
  const early = togetherReason(problem, tunables);
  if (early !== null) return early;
  const outputs = sidesOf(form, g).output.channels / g.groups;
  return outputs > tile
    ? `its tiles hold ${tile} output channels, and ${togetherOf(tunables)} groups have ${outputs}`
    : null;
}

/**
 * The weight of `count` groups along the diagonal of a packed matrix, from how the row packs a group as large as they are
 * together. Dimensions are [group][tap] and two of channels; in the weight, [Cs, Cl/G, R, S], the channels of one side
 * stand R·S apart and those of the other as far as the whole of the first side's, of which only one group's is there.
 */
function onDiagonal({ copy, ...packing }: Packing, { geometry: g, dtype }: Problem, count: number): Packing {
  const [group, tap, rows, columns] = copy!;
  const taps = g.r * g.s;
  const block = group!.strides[1]! / count ** 2;
  const part = ({ size, strides: [to, from] }: (typeof copy & object)[number]) => ({
    size: size / count,
    strides: [to!, from === taps ? taps : from! / count],
  });
  const [inner, outer] = [part(columns!), part(rows!)];
  const along = outer.size * outer.strides[0]! + inner.size * inner.strides[0]!;
  return {
    ...packing,
    key: `${packing.key} ${count}`,
    copy: [
      { size: group!.size, strides: [group!.strides[0]!, block * count] },
      { size: count, strides: [along, block] },
      ...[tap!, outer, inner],
    ],
    zeros: packing.bytes / DTYPE_TABLE[dtype].bytes,
  };
}
