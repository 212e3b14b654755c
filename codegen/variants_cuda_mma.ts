/**
 * The tensor-core rows: expand and contract in float16, in bfloat16 and, where it is allowed, in TF32, as a matrix product
 * for each residue class, all in one launch. Sums are float32. The weight is packed by a copy, once for every change of it.
 */

import { WARP } from './gpu_work.js';
import { apartMargin, gemmPlan, pixelsRead, sectorsStored } from './igemm_tiles.js';
import {
  chunkOf,
  isRoomy,
  MATRICES,
  mmaMemory,
  mmaTiles,
  PRODUCT,
  parseMmaTile,
  parseReading,
  readings,
  TF32_ROUNDING,
  tensorCoreReason,
  widestPiece,
} from './mma_tiles.js';
import { bytes } from './passes.js';
import type { Contraction, Problem } from './problem.js';
import { DTYPE_TABLE, type Target } from './target.js';
import { oneTapEach, sidesOf } from './tiles.js';
import {
  type LaunchGeometry,
  modelled,
  type Packing,
  type Place,
  type Tunables,
  type Variant,
  type WorkInParts,
} from './variant.js';
import type { Volume } from './variants_cuda.js';
import { blocksOf, productReason } from './variants_cuda_igemm.js';

export const MMA_VARIANTS: readonly Variant[] = [
  {
    name: 'mma',
    device: 'cuda',
    forms: ['expand', 'contract'],
    template: 'mma.cu.njk',
    kind: 'specialised',
    tunables: (problem, _, target) =>
      mmaTiles(problem.dtype, target)
        .flatMap((tile) => readings(problem, target).map((read) => ({ ...tile, read })))
        // Element by element takes most registers.
        .filter((tunables) => tunables.read !== 'r2' || isRoomy(tunables)),
    packs: packing,
    restated: oneTapEach,
    legal: (problem, form, tunables, place) => reason(problem, form as Volume, tunables, place),
    ...modelled(
      (problem, form, tunables, target) => [mmaWork(problem, form as Volume, tunables, target)(1)],
      (problem, form) => apartMargin(problem, form as Volume),
    ),
    launch: (problem, form, tunables, target) => launch(problem, form as Volume, tunables, target),
  },
];

/** [group][tap][output][input], the inputs followed by zeros up to a whole chunk: what a copy makes of [Cs, Cl/G, R, S]. */
function packing({ geometry: g, dtype }: Problem, form: Contraction): Packing {
  const taps = g.r * g.s;
  const [small, large] = [g.cs / g.groups, g.cl / g.groups];
  const [inputs, outputs] = form === 'expand' ? [small, large] : [large, small];
  const [ofInput, ofOutput] = form === 'expand' ? [large * taps, taps] : [taps, large * taps];
  const pitch = Math.ceil(inputs / chunkOf(dtype)) * chunkOf(dtype);
  const copy = [
    { size: g.groups, strides: [taps * outputs * pitch, inputs * outputs * taps] },
    { size: taps, strides: [outputs * pitch, 1] },
    { size: outputs, strides: [pitch, ofOutput] },
    { size: inputs, strides: [1, ofInput] },
  ];
  const elements = g.groups * taps * outputs * pitch;
  const key = [g.groups, taps, outputs, inputs].join(' ');
  const zeros = pitch === inputs ? 0 : elements;
  const made = { bytes: elements * DTYPE_TABLE[dtype].bytes, key, copy, zeros };
  return dtype === 'float32' ? { ...made, divisor: 1 / TF32_ROUNDING } : made;
}

function launch(problem: Problem, form: Volume, tunables: Tunables, target: Target): LaunchGeometry {
  const tile = parseMmaTile(tunables);
  const { m, n } = blocksOf(problem, form, tile);
  const memory = mmaMemory(tunables, problem.dtype, target, gemmPlan(form, problem.geometry).mostTaps);
  return { grid: [m, n, 1], block: [tile.threads, 1, 1], sharedBytes: memory.bytes };
}

function reason(problem: Problem, form: Volume, tunables: Tunables, place: Place): string | null {
  const { geometry: g, dtype, layout } = problem;
  const early =
    tensorCoreReason(dtype, place) ?? productReason(problem, form, packing(problem, form), parseMmaTile(tunables));
  if (early !== null) return early;
  if (mmaMemory(tunables, dtype, place.target, gemmPlan(form, g).mostTaps).resident === 0)
    return 'its tiles are larger than shared memory';
  const widest = widestPiece(sidesOf(form, g).source.channels / g.groups, dtype);
  const piece = parseReading(tunables).bytes;
  if (piece === widest || layout === 'nchw') return null;
  return `it reads ${piece} bytes at a time, and the channels of a position come in pieces of ${widest}`;
}

/** Instructions of a thread: once, around a step of k, for a position of A, for a piece that it copies or carries, for an output. */
const START = 300;
const STEP = 40;
const PLACE = 75;
const COPY = 3;
const CARRY = 4;
/** More for a piece of two bytes, which is put into its half of a word. */
const PACK = 3;
const OUTPUT = 5;
/** Cycles that a block waits: until the first tiles are there and the last outputs gone, at the barrier of a step, for loads. */
const ENDS_LATENCY = 2500;
const STEP_LATENCY = 60;
const LOAD_LATENCY = 600;

/** Of a launch whose blocks take a part each of the steps of k: a function of the number of parts. */
export function mmaWork(problem: Problem, form: Volume, tunables: Tunables, target: Target): WorkInParts {
  const { geometry: g, dtype, layout } = problem;
  const tile = parseMmaTile(tunables);
  const { staged, bytes: piece } = parseReading(tunables);
  const blocks = blocksOf(problem, form, tile);
  const element = DTYPE_TABLE[dtype].bytes;
  const plan = gemmPlan(form, g);
  const taps = (g.r * g.s) / plan.phases;
  const slabs = Math.ceil(sidesOf(form, g).source.channels / g.groups / tile.k);
  const row = tile.k * element;
  const [warps, rows] = [tile.threads / WARP, tile.m + tile.n];
  const fragments = (tile.warpM / 16 + tile.warpN / 16) * (row / PRODUCT.bytes);
  const products = (tile.warpM / PRODUCT.rows) * (tile.warpN / PRODUCT.columns) * (row / PRODUCT.bytes);
  const copies =
    ((tile.m * row) / piece) * (staged ? CARRY + (piece === 2 ? PACK : 0) : COPY) + ((tile.n * row) / 16) * COPY;
  const step = products + fragments + copies / tile.threads + STEP;
  const outputs = (tile.m * tile.n) / tile.threads;
  const places = (tile.m * row) / 16 / tile.threads + tile.m / tile.threads;
  const pixels = pixelsRead(form, g, taps);
  const { resident } = mmaMemory(tunables, dtype, target, plan.mostTaps);
  const stored = (size: number) => size * sectorsStored(plan, layout, size);
  const dramBytes = bytes(problem);
  return (parts) => {
    const steps = (slabs * taps) / parts;
    return {
      blocks: blocks.m * blocks.n * parts,
      threads: tile.threads,
      resident,
      instructions: warps * (START + places * PLACE + steps * step + outputs * (layout === 'nchw' ? 2 : 1) * OUTPUT),
      fma: 0,
      mma: { type: dtype === 'float32' ? 'tf32' : 'f16', multiplyAdds: steps * tile.m * tile.n * tile.k },
      sharedBytes: steps * (warps * fragments * MATRICES + rows * row) + 2 * tile.m * tile.n * 4,
      l2Bytes: steps * row * ((tile.m / taps) * pixels + tile.n) + tile.m * tile.n * stored(parts > 1 ? 4 : element),
      dramBytes,
      latency: ENDS_LATENCY + steps * (staged ? LOAD_LATENCY : STEP_LATENCY),
    };
  };
}
