/**
 * The CUDA row of `mmafolded`: contract on tensor cores with the channels of all taps as one list of k. Where the large side has few
 * channels (the input gradient of an image head) a tap of its own is mostly the zeros that fill a step of k.
 */

import { gemmPlan, mostTaps, TAP_BYTES } from './igemm_tiles.js';
import { chunkOf, isRoomy, mmaMemory, mmaTiles, parseMmaTile, tensorCoreReason } from './mma_tiles.js';
import { bytes } from './passes.js';
import type { Geometry, Problem } from './problem.js';
import { DTYPE_TABLE, type Target } from './target.js';
import { modelled, type Packing, type Place, type Tunables, type Variant } from './variant.js';
import { shapeReason } from './variants_cuda.js';
import { blocksOf, productReason } from './variants_cuda_igemm.js';
import { mmaWork } from './variants_cuda_mma.js';

/** What a kernel knows of a term, in shared memory. */
const ENTRY_BYTES = 8;
/** Terms of a sum. */
const MOST_TERMS = 256;
/** Rows, or columns, of taps: a bit of half a word each, and one for what is nowhere. */
const MOST_AXIS_TAPS = 15;

export const FOLDED_VARIANT: Variant = {
  name: 'mmafolded',
  device: 'cuda',
  forms: ['contract'],
  template: 'mma.cu.njk',
  kind: 'specialised',
  folds: true,
  tunables: ({ dtype }, _, target) =>
    dtype === 'float32'
      ? []
      : mmaTiles(dtype, target)
          .map((tile) => ({ ...tile, read: 'r2' }))
          .filter(isRoomy),
  packs: packing,
  legal: reason,
  ...modelled((problem, _, tunables, target) => [work(problem, tunables, target)]),
  launch: (problem, _, tunables, target) => {
    const tile = parseMmaTile(tunables);
    const { m, n } = blocksOf(foldedProblem(problem), 'contract', tile);
    const sharedBytes = memoryOf(problem, tunables, target).bytes;
    return { grid: [m, n, 1], block: [tile.threads, 1, 1], sharedBytes };
  },
};

const termsOf = ({ cl, groups, r, s }: Geometry): number => (cl / groups) * r * s;

/** A 1×1 convolution of the small side's positions, with (channel, tap) for a channel. */
function foldedProblem(problem: Problem): Problem {
  const { geometry: g } = problem;
  return { ...problem, geometry: { ...g, cl: termsOf(g) * g.groups, r: 1, s: 1, padding: [0, 0], dilation: [1, 1] } };
}

function memoryOf({ geometry: g, dtype }: Problem, tunables: Tunables, target: Target) {
  const { k } = parseMmaTile(tunables);
  const entries = Math.ceil(termsOf(g) / k) * k;
  return mmaMemory(tunables, dtype, target, (entries * ENTRY_BYTES) / TAP_BYTES);
}

/** [group][output][k], k in the order of the large side's memory, followed by zeros up to a whole chunk. */
function packing({ geometry: g, layout, dtype }: Problem): Packing {
  const [taps, channels] = [g.r * g.s, g.cl / g.groups];
  const terms = termsOf(g);
  const pitch = Math.ceil(terms / chunkOf(dtype)) * chunkOf(dtype);
  const [ofTap, ofChannel] = layout === 'nhwc' ? [channels, 1] : [1, taps];
  const copy = [
    { size: g.cs, strides: [pitch, terms] },
    { size: taps, strides: [ofTap, 1] },
    { size: channels, strides: [ofChannel, taps] },
  ];
  const elements = g.cs * pitch;
  const zeros = pitch === terms ? 0 : elements;
  return { bytes: elements * DTYPE_TABLE[dtype].bytes, key: [g.cs, taps, channels].join(' '), copy, zeros };
}

function reason(problem: Problem, _: unknown, tunables: Tunables, place: Place): string | null {
  const { geometry: g, dtype } = problem;
  const early = tensorCoreReason(dtype, place) ?? shapeReason(g);
  if (early !== null) return early;
  if (g.r * g.s === 1) return 'it takes the channels of several taps together, and here is one';
  const { rows, columns } = gemmPlan('contract', g);
  if (Math.max(mostTaps(rows), mostTaps(columns)) > MOST_AXIS_TAPS)
    return `it takes at most ${MOST_AXIS_TAPS} taps on an axis`;
  if (termsOf(g) > MOST_TERMS) return `it sums at most ${MOST_TERMS} channels times taps`;
  if (memoryOf(problem, tunables, place.target).resident === 0) return 'its tiles are larger than shared memory';
  return productReason(foldedProblem(problem), 'contract', packing(problem), parseMmaTile(tunables));
}

/** Pixels that neighbouring positions and their taps read, for each position and pixel of the stride. */
const HALO = 1.3;
/** Instructions of a thread for an entry of the list. */
const ENTRY = 10;

function work(problem: Problem, tunables: Tunables, target: Target) {
  const { geometry: g, dtype } = problem;
  const { m, n, k, threads } = parseMmaTile(tunables);
  const product = mmaWork(foldedProblem(problem), 'contract', tunables, target)(1);
  const element = DTYPE_TABLE[dtype].bytes;
  const steps = Math.ceil(termsOf(g) / k);
  const pixels = Math.min(g.r * g.s, HALO * g.stride[0] * g.stride[1]);
  const read = m * pixels * (g.cl / g.groups) * element;
  return {
    ...product,
    resident: memoryOf(problem, tunables, target).resident,
    instructions: product.instructions + (threads / 32) * steps * chunkOf(dtype) * ENTRY,
    l2Bytes: read + (steps * k + m) * n * element,
    dramBytes: bytes(problem),
  };
}
