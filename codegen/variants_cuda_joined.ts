/**
 * The CUDA rows of `joined` and `mmajoined`: the kernels of `igemm` and `mma` where there are fewer tiles than multiprocessors.
 * Blocks take parts of the steps of k, and the last of a tile's blocks to finish adds up the sums of all, in order: one launch.
 */

import { gpuOf } from './gpu.js';
import type { Work } from './gpu_work.js';
import { blocksInMemory, gemmPlan, isAsynchronous, parseGemmTile } from './igemm_tiles.js';
import { isRoomy, parseMmaTile } from './mma_tiles.js';
import { parseMmaWgradTile } from './mma_wgrad_tiles.js';
import type { Contraction, Layout, Problem } from './problem.js';
import type { Target } from './target.js';
import { sidesOf } from './tiles.js';
import { type LaunchGeometry, modelled, type Parting, type Tunables, type Variant } from './variant.js';
import type { Volume } from './variants_cuda.js';
import { IGEMM_VARIANTS, igemmWork } from './variants_cuda_igemm.js';
import { MMA_VARIANTS, mmaWork } from './variants_cuda_mma.js';
import { MMA_WGRAD_VARIANT } from './variants_cuda_mma_wgrad.js';
import { IGEMM_WGRAD_VARIANT } from './variants_cuda_wgrad.js';
import { mmaWgradProducts } from './work_mma_wgrad.js';
import { bestParts, joined, MOST_BYTES, MOST_TILES, type Tiles } from './work_parts.js';
import { wgradProducts } from './work_wgrad.js';

/** Parts that there are at least: one is what the rows without parts compute. */
const FEWEST = 2;

/** How many times faster than without parts: what they read and write is more than the tensors, and the end is a wait that nothing hides. */
const MARGIN = 1.15;

/** A row of the catalogue whose blocks take parts. */
interface Whole {
  readonly row: Variant;
  /** Which of its settings are offered in parts. */
  readonly keeps: (tunables: Tunables, layout: Layout, target: Target) => boolean;
  readonly tile: (tunables: Tunables) => { readonly m: number; readonly n: number; readonly k: number };
  /** Of k, and how many of them a part has at least. */
  readonly steps: (problem: Problem, form: Contraction, k: number) => number;
  readonly least: number;
  /** What the blocks do until they have the sums of their parts. */
  readonly products: (problem: Problem, form: Contraction, tunables: Tunables, target: Target, parts: number) => Work;
}

/** Taps of a residue, by slabs of channels. */
const VOLUME = {
  least: 1,
  steps: (problem: Problem, form: Contraction, k: number) => {
    const inputs = sidesOf(form, problem.geometry).source.channels / problem.geometry.groups;
    return Math.ceil(inputs / k) * gemmPlan(form as Volume, problem.geometry).mostTaps;
  },
};
/** Positions. */
const WGRAD = {
  least: 2,
  steps: ({ geometry: g }: Problem, _: Contraction, k: number) => Math.ceil((g.n * g.hs * g.ws) / k),
};

export const JOINED_VARIANTS: readonly Variant[] = [
  ...IGEMM_VARIANTS.map((row) =>
    joining('joined', {
      ...{ row, ...VOLUME, keeps: () => true, tile: parseGemmTile },
      products: (problem, form, tunables, target, parts) => igemmWork(problem, form as Volume, tunables, target)(parts),
    }),
  ),
  ...MMA_VARIANTS.map((row) =>
    joining('mmajoined', {
      ...{ row, ...VOLUME, keeps: isRoomy, tile: parseMmaTile },
      products: (problem, form, tunables, target, parts) => mmaWork(problem, form as Volume, tunables, target)(parts),
    }),
  ),
  joining('joined', {
    ...{ row: IGEMM_WGRAD_VARIANT, ...WGRAD, tile: parseGemmTile, keeps: hasRegisters },
    products: (problem, _, tunables, target, parts) => wgradProducts(problem, parseGemmTile(tunables), target, parts),
  }),
  joining('mmajoined', {
    ...{ row: MMA_WGRAD_VARIANT, ...WGRAD, tile: parseMmaWgradTile, keeps: () => true },
    products: (problem, _, tunables, target, parts) => mmaWgradProducts(problem, tunables, target, parts),
  }),
];

function joining(name: string, whole: Whole): Variant {
  const { row } = whole;
  return {
    ...row,
    name,
    joins: true,
    tunables: (problem, form, target) =>
      row.tunables(problem, form, target).filter((tunables) => whole.keeps(tunables, problem.layout, target)),
    parting: (...asked) => partingOf(whole, asked),
    legal: (problem, form, tunables, place) =>
      row.legal(problem, form, tunables, place) ?? reason(whole, [problem, form, tunables, place.target]),
    ...modelled((...asked) => [launched(whole, asked)(partsOf(whole, asked))], MARGIN),
    launch: (...asked) => {
      const { grid, ...rest } = row.launch(...asked);
      return { ...rest, grid: [grid[0], grid[1], partsOf(whole, asked)] };
    },
  };
}

/**
 * In NCHW the largest tile of a weight gradient in float32 is short of registers on compute capability 7.5, and from 10 on
 * (12 bytes spilled, found by `npm run resources`).
 */
function hasRegisters({ tile }: Tunables, layout: Layout, target: Target): boolean {
  if (layout === 'nhwc' || !String(tile).startsWith('m128n128')) return true;
  return isAsynchronous(target) && target.kind === 'cuda' && target.arch < 100;
}

type Asked = readonly [problem: Problem, form: Contraction, tunables: Tunables, target: Target];

/** Its tiles, and what each block has of shared memory besides what is static. */
function tilesOf({ row, tile }: Whole, asked: Asked): Tiles & Pick<LaunchGeometry, 'sharedBytes'> {
  const { grid, sharedBytes } = row.launch(...asked);
  const { m, n } = tile(asked[2]);
  return { tiles: grid[0] * grid[1], sums: m * n, sharedBytes };
}

function stepsOf({ steps, tile }: Whole, [problem, form, tunables]: Asked): number {
  return steps(problem, form, tile(tunables).k);
}

/** Of shared memory: whether a block is the last one of its tile, and what lets tiles begin at a multiple of this. */
const LAST_BYTES = 128;

function launched(whole: Whole, asked: Asked): (parts: number) => Work {
  const tiles = tilesOf(whole, asked);
  const room = Math.max(1, blocksInMemory(asked[3], tiles.sharedBytes + LAST_BYTES));
  return (parts) => {
    const products = whole.products(...asked, parts);
    return joined({ ...products, resident: Math.min(products.resident, room) }, tiles, parts);
  };
}

/** A function of the problem and the target alone. */
function partsOf(whole: Whole, asked: Asked): number {
  const { tiles, sums } = tilesOf(whole, asked);
  const work = launched(whole, asked);
  const cut = { steps: stepsOf(whole, asked), least: whole.least, elements: tiles * sums };
  return bestParts({ ...cut, work: (parts) => [work(parts)] }, gpuOf(asked[3]), FEWEST);
}

/** Sums are left tile by tile, as threads have them, whether they are outputs or not. */
function partingOf(whole: Whole, asked: Asked): Parting {
  const { tiles, sums } = tilesOf(whole, asked);
  return { parts: partsOf(whole, asked), elements: tiles * sums, joined: true };
}

function reason(whole: Whole, asked: Asked): string | null {
  if (stepsOf(whole, asked) < FEWEST * whole.least) return 'it cuts sums into parts, and these are short';
  const { tiles, sums } = tilesOf(whole, asked);
  if (tiles > MOST_TILES) return `it has counters for ${MOST_TILES} tiles, and these are more`;
  return FEWEST * tiles * sums * 4 > MOST_BYTES ? 'its parts are larger than its workspace may be' : null;
}
