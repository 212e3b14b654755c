/**
 * The CUDA rows of `folded` and `mmafolded`: contract by the kernels of `igemm` and `mma` with the channels of all taps as one list
 * of k. Where the large side has few channels (the input gradient of an image head) a tap of its own is mostly the zeros that
 * fill a step of k.
 */

import { WARP, type Work } from './gpu_work.js';
import {
  gemmMemory,
  gemmPlan,
  gemmResident,
  mostTaps,
  PITCH_MULTIPLE,
  parseGemmTile,
  TAP_BYTES,
} from './igemm_tiles.js';
import { chunkOf, isRoomy, mmaMemory, mmaTiles, parseMmaTile, tensorCoreReason } from './mma_tiles.js';
import { bytes } from './passes.js';
import type { Geometry, Layout, Problem } from './problem.js';
import { DTYPE_TABLE, type Target } from './target.js';
import { modelled, type Packing, type Place, type Tunables, type Variant } from './variant.js';
import { shapeReason } from './variants_cuda.js';
import { blocksOf, IGEMM_VARIANTS, igemmWork, productReason } from './variants_cuda_igemm.js';
import { mmaWork } from './variants_cuda_mma.js';

/** What a kernel knows of a term, in shared memory. */
const ENTRY_BYTES = 8;
/** Terms of a sum. */
const MOST_TERMS = 512;
/** Rows, or columns, of taps: a bit of half a word each, and one for what is nowhere. */
const MOST_AXIS_TAPS = 15;

/** Pixels that neighbouring positions and their taps read, for each position and pixel of the stride. */
const HALO = 1.3;
/** Instructions of a thread for an entry of the list, and for an element that it reads, beyond those of a copy. */
const ENTRY = 10;
const ENTRY_ALONE = 2;
const ELEMENT = 2;

/** What the two rows differ in. */
interface Product {
  readonly tunables: Variant['tunables'];
  readonly tile: (tunables: Tunables) => {
    readonly m: number;
    readonly n: number;
    readonly k: number;
    readonly threads: number;
  };
  readonly packs: (problem: Problem) => Packing;
  /** Why its cores do not multiply a type; null where they do. */
  readonly refuses: (problem: Problem, place: Place) => string | null;
  /** Shared memory with a list as long as that of so many taps. */
  readonly memory: (
    problem: Problem,
    tunables: Tunables,
    target: Target,
    taps: number,
  ) => { readonly bytes: number; readonly resident: number };
  readonly work: (problem: Problem, tunables: Tunables, target: Target) => Work;
  /** Instructions of a thread for the list in a step of k, beyond those of copies. */
  readonly lookups: (problem: Problem, tunables: Tunables, target: Target) => number;
}

const ON_TENSOR_CORES: Product = {
  tunables: ({ dtype }, _, target) =>
    dtype === 'float32'
      ? []
      : mmaTiles(dtype, target)
          .map((tile) => ({ ...tile, read: 'r2' }))
          .filter(isRoomy),
  tile: parseMmaTile,
  packs: mmaPacking,
  refuses: ({ dtype }, place) => tensorCoreReason(dtype, place),
  memory: ({ dtype }, tunables, target, taps) => mmaMemory(tunables, dtype, target, taps),
  work: (problem, tunables, target) => mmaWork(problem, 'contract', tunables, target)(1),
  lookups: ({ dtype }) => chunkOf(dtype) * ENTRY,
};

const IN_FLOAT32: Product = {
  tunables: IGEMM_VARIANTS[0]!.tunables,
  tile: parseGemmTile,
  packs: igemmPacking,
  refuses: () => null,
  memory: ({ layout }, tunables, target, taps) => {
    const tile = parseGemmTile(tunables);
    const memory = gemmMemory(tile, layout, target, taps);
    return { bytes: memory.bytes, resident: gemmResident(tile, target, { layout, phases: 1, split: false }, memory) };
  },
  work: (problem, tunables, target) => igemmWork(problem, 'contract', tunables, target)(1),
  lookups: ({ layout }, tunables, target) => {
    const tile = parseGemmTile(tunables);
    const { lanes } = gemmMemory(tile, layout, target, 1);
    return (tile.k / lanes) * ENTRY_ALONE + ((tile.m * tile.k) / tile.threads) * ELEMENT;
  },
};

export const FOLDED_VARIANTS: readonly Variant[] = [
  folded('folded', 'igemm.cu.njk', IN_FLOAT32),
  folded('mmafolded', 'mma.cu.njk', ON_TENSOR_CORES),
];

function folded(name: string, template: string, product: Product): Variant {
  const memoryOf = (problem: Problem, tunables: Tunables, target: Target) => {
    const { k } = product.tile(tunables);
    const entries = Math.ceil(termsOf(problem.geometry) / k) * k;
    return product.memory(problem, tunables, target, (entries * ENTRY_BYTES) / TAP_BYTES);
  };
  return {
    name,
    device: 'cuda',
    forms: ['contract'],
    template,
    kind: 'specialised',
    folds: true,
    tunables: product.tunables,
    packs: product.packs,
    legal: (problem, _, tunables, place) =>
      product.refuses(problem, place) ??
      reason(problem.geometry) ??
      (memoryOf(problem, tunables, place.target).resident === 0 ? 'its tiles are larger than shared memory' : null) ??
      productReason(foldedProblem(problem), 'contract', product.packs(problem), product.tile(tunables)),
    ...modelled((problem, _, tunables, target) => {
      const { resident } = memoryOf(problem, tunables, target);
      return [{ ...workOf(product, problem, tunables, target), resident }];
    }),
    launch: (problem, _, tunables, target) => {
      const tile = product.tile(tunables);
      const { m, n } = blocksOf(foldedProblem(problem), 'contract', tile);
      const sharedBytes = memoryOf(problem, tunables, target).bytes;
      return { grid: [m, n, 1], block: [tile.threads, 1, 1], sharedBytes };
    },
  };
}

const termsOf = ({ cl, groups, r, s }: Geometry): number => (cl / groups) * r * s;

/** A 1×1 convolution of the small side's positions, with (channel, tap) for a channel. */
function foldedProblem(problem: Problem): Problem {
  const { geometry: g } = problem;
  return { ...problem, geometry: { ...g, cl: termsOf(g) * g.groups, r: 1, s: 1, padding: [0, 0], dilation: [1, 1] } };
}

/** [group][output][k], k in the order of the large side's memory, followed by zeros up to a whole chunk. */
function mmaPacking({ geometry: g, layout, dtype }: Problem): Packing {
  const { taps, channels, terms, ofTap, ofChannel } = listOf(g, layout);
  const pitch = Math.ceil(terms / chunkOf(dtype)) * chunkOf(dtype);
  const copy = [
    { size: g.cs, strides: [pitch, terms] },
    { size: taps, strides: [ofTap, 1] },
    { size: channels, strides: [ofChannel, taps] },
  ];
  const elements = g.cs * pitch;
  const zeros = pitch === terms ? 0 : elements;
  return { bytes: elements * DTYPE_TABLE[dtype].bytes, key: [g.cs, taps, channels].join(' '), copy, zeros };
}

/** [group][k][output], outputs in whole fours. */
function igemmPacking({ geometry: g, layout }: Problem): Packing {
  const { taps, channels, terms, ofTap, ofChannel } = listOf(g, layout);
  const outputs = g.cs / g.groups;
  const pitch = Math.ceil(outputs / PITCH_MULTIPLE) * PITCH_MULTIPLE;
  const copy = [
    { size: g.groups, strides: [terms * pitch, outputs * terms] },
    { size: taps, strides: [ofTap * pitch, 1] },
    { size: channels, strides: [ofChannel * pitch, taps] },
    { size: outputs, strides: [1, terms] },
  ];
  return { bytes: g.groups * terms * pitch * 4, key: [g.groups, taps, channels, outputs].join(' '), copy };
}

/** The list of k: how many taps and channels are in it, and how far from one to the next. */
function listOf(g: Geometry, layout: Layout) {
  const [taps, channels] = [g.r * g.s, g.cl / g.groups];
  const [ofTap, ofChannel] = layout === 'nhwc' ? [channels, 1] : [1, taps];
  return { taps, channels, terms: termsOf(g), ofTap, ofChannel };
}

function reason(g: Geometry): string | null {
  const early = shapeReason(g);
  if (early !== null) return early;
  if (g.r * g.s === 1) return 'it takes the channels of several taps together, and here is one';
  const { rows, columns } = gemmPlan('contract', g);
  if (Math.max(mostTaps(rows), mostTaps(columns)) > MOST_AXIS_TAPS)
    return `it takes at most ${MOST_AXIS_TAPS} taps on an axis`;
  return termsOf(g) > MOST_TERMS ? `it sums at most ${MOST_TERMS} channels times taps` : null;
}

function workOf(product: Product, problem: Problem, tunables: Tunables, target: Target): Work {
  const { geometry: g, dtype } = problem;
  const { m, n, k, threads } = product.tile(tunables);
  const work = product.work(foldedProblem(problem), tunables, target);
  const element = DTYPE_TABLE[dtype].bytes;
  const steps = Math.ceil(termsOf(g) / k);
  const pixels = Math.min(g.r * g.s, HALO * g.stride[0] * g.stride[1]);
  const read = m * pixels * (g.cl / g.groups) * element;
  return {
    ...work,
    instructions: work.instructions + (threads / WARP) * steps * product.lookups(problem, tunables, target),
    l2Bytes: read + (steps * k + m) * n * element,
    dramBytes: bytes(problem),
  };
}
