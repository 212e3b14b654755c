/**
 * The CUDA rows of `splitk` and `mmasplitk`: the kernels of `igemm` and `mma` where there are fewer tiles than
 * multiprocessors and many channels. Blocks take parts of the steps of k, and a second launch adds up their sums, float32
 * in the output's own layout, in order.
 */

import { gpuOf } from './gpu.js';
import type { Work } from './gpu_work.js';
import { gemmPlan, parseGemmTile } from './igemm_tiles.js';
import { isRoomy, parseMmaTile } from './mma_tiles.js';
import type { Contraction, Problem } from './problem.js';
import { DTYPE_TABLE, type Target } from './target.js';
import { sidesOf } from './tiles.js';
import { modelled, type Tunables, type Variant, type WorkInParts } from './variant.js';
import type { Volume } from './variants_cuda.js';
import { IGEMM_VARIANTS, igemmWork } from './variants_cuda_igemm.js';
import { MMA_VARIANTS, mmaWork } from './variants_cuda_mma.js';
import { bestParts, inParts, MOST_BYTES } from './work_parts.js';

/** Parts that there are at least: one is what the rows without parts compute. */
const FEWEST = 2;

/** A row of the catalogue, to be launched in parts. */
interface Whole {
  readonly row: Variant;
  /** Which of its settings are offered in parts. */
  readonly keeps: (tunables: Tunables) => boolean;
  /** Channels of a step of k. */
  readonly depth: (tunables: Tunables) => number;
  /** Of the first launch. */
  readonly work: (problem: Problem, form: Volume, tunables: Tunables, target: Target) => WorkInParts;
}

const IGEMM = { depth: (tunables: Tunables) => parseGemmTile(tunables).k, keeps: () => true, work: igemmWork };
const MMA = { depth: (tunables: Tunables) => parseMmaTile(tunables).k, keeps: isRoomy, work: mmaWork };

export const SPLIT_VARIANTS: readonly Variant[] = [
  ...IGEMM_VARIANTS.map((row) => split('splitk', { row, ...IGEMM })),
  ...MMA_VARIANTS.map((row) => split('mmasplitk', { row, ...MMA })),
];

function split(name: string, whole: Whole): Variant {
  const parts: Ask<number> = (...asked) => partsOf(whole, asked);
  return {
    ...whole.row,
    name,
    tunables: (...asked) => whole.row.tunables(...asked).filter(whole.keeps),
    parting: (...asked) => ({ parts: parts(...asked), elements: outputsOf(asked[0], asked[1]) }),
    legal: (problem, form, tunables, place) =>
      whole.row.legal(problem, form, tunables, place) ?? reason(problem, form, stepsOf(whole, problem, form, tunables)),
    ...modelled((...asked) => launches(whole, asked)(parts(...asked))),
    launch: (...asked) => {
      const { grid, ...rest } = whole.row.launch(...asked);
      return { ...rest, grid: [grid[0], grid[1], parts(...asked)] };
    },
  };
}

type Asked = readonly [problem: Problem, form: Contraction, tunables: Tunables, target: Target];
type Ask<Answer> = (...asked: Asked) => Answer;

function outputsOf({ geometry: g }: Problem, form: Contraction): number {
  const { channels, height, width } = sidesOf(form, g).output;
  return g.n * channels * height * width;
}

/** Steps of k of the residue that has most. */
function stepsOf({ depth }: Whole, { geometry: g }: Problem, form: Contraction, tunables: Tunables): number {
  const inputs = sidesOf(form, g).source.channels / g.groups;
  return Math.ceil(inputs / depth(tunables)) * gemmPlan(form as Volume, g).mostTaps;
}

/** A function of the problem and the target alone. */
function partsOf(whole: Whole, asked: Asked): number {
  const [problem, form, tunables, target] = asked;
  const steps = stepsOf(whole, problem, form, tunables);
  const work = launches(whole, asked);
  return bestParts({ steps, least: 1, elements: outputsOf(problem, form), work }, gpuOf(target), FEWEST);
}

/** Outputs leave as sums of parts, and are written by the second launch. */
function launches({ work }: Whole, [problem, form, tunables, target]: Asked): (parts: number) => Work[] {
  const results = { elements: outputsOf(problem, form), size: DTYPE_TABLE[problem.dtype].bytes };
  const products = work(problem, form as Volume, tunables, target);
  return (parts) => inParts(products(parts), results, parts);
}

function reason(problem: Problem, form: Contraction, steps: number): string | null {
  if (steps < FEWEST) return 'it cuts channels and taps into parts, and these are few';
  const elements = outputsOf(problem, form);
  if (elements === 0) return 'it adds up parts of outputs, and here are none';
  return FEWEST * elements * 4 > MOST_BYTES ? 'its parts are larger than its workspace may be' : null;
}
