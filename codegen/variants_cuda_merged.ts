/**
 * The CUDA rows of `merged` and `mmamerged`: expand by the kernels of `igemm` and `mma` with the residues of outputs as
 * columns of one product (codegen/merged.ts). Neighbours in memory are neighbours among the columns, and few channels fill
 * a tile.
 */

import { WARP } from './gpu_work.js';
import { isAsynchronous, PITCH_MULTIPLE, parseGemmTile } from './igemm_tiles.js';
import { mergedProblem, mergedReason } from './merged.js';
import { chunkOf } from './mma_tiles.js';
import { bytes } from './passes.js';
import type { PointwiseDim } from './pointwise.js';
import type { Layout, Problem } from './problem.js';
import type { Target } from './target.js';
import { modelled, type Packing, type Tunables, type Variant } from './variant.js';
import { shapeReason } from './variants_cuda.js';
import { IGEMM_VARIANTS } from './variants_cuda_igemm.js';
import { MMA_VARIANTS } from './variants_cuda_mma.js';

/** How far packed weights of neighbouring inputs and columns lie apart, and those of a tap from the next tap's. */
interface Pitches {
  readonly input: number;
  readonly column: number;
  readonly tap: number;
}

/** Bytes of what a block knows of a position and of a column: where its outputs lie, and what is added to them. */
const TABLE_BYTES = { position: 8, column: 12 } as const;

/** Rows and columns of outputs, and of those that are cut off, are told by 16 bits. */
const MOST_EXTENT = 0x7f00;
const TOO_LARGE = `it takes outputs of at most ${MOST_EXTENT} rows and columns`;

export const MERGED_VARIANTS: readonly Variant[] = [
  ...IGEMM_VARIANTS.map((row) => merged('merged', row, igemmPitches)).map(inFloat32),
  ...MMA_VARIANTS.map((row) => merged('mmamerged', row, mmaPitches)),
];

function merged(name: string, row: Variant, pitches: (problem: Problem) => Pitches): Variant {
  const { restated: _, ...rest } = row;
  return {
    ...rest,
    name,
    forms: ['expand'],
    merges: true,
    packs: (problem, form, tunables, target) => {
      const packing = row.packs!(mergedProblem(problem), form, tunables, target);
      return { ...packing, ...copying(problem, pitches(mergedProblem(problem))) };
    },
    legal: (problem, form, tunables, place) =>
      mergedReason(problem.geometry) ??
      shapeReason(problem.geometry) ??
      (Math.max(problem.geometry.hl, problem.geometry.wl) > MOST_EXTENT ? TOO_LARGE : null) ??
      row.legal(mergedProblem(problem), form, tunables, place),
    ...modelled((problem, form, tunables, target) => {
      const works = row.work!(mergedProblem(problem), form, tunables, target);
      return works.map((work) => ({
        ...work,
        instructions: work.instructions + storing(problem, tunables),
        dramBytes: bytes(problem),
      }));
    }),
    launch: (problem, form, tunables, target) => row.launch(mergedProblem(problem), form, tunables, target),
  };
}

/**
 * Instructions of an output's sum, beyond those of kernels without merged residues: whether it lies inside, where its column's
 * outputs lie, where one is alone its place among its neighbours.
 */
const PLACED = { nchw: 8, nhwc: 4, alone: 24 } as const;

/** Warp instructions of a block that stores residues among one another. */
function storing({ layout, dtype, geometry: g }: Problem, tunables: Tunables): number {
  const { m, n } = parseGemmTile(tunables);
  const columns = Math.min(n, g.cl * g.stride[0] * g.stride[1]);
  const alone = layout === 'nhwc' && g.cl % chunkOf(dtype) !== 0;
  return ((m * columns) / WARP) * PLACED[alone ? 'alone' : layout];
}

/** What is different where products are of igemm. */
function inFloat32(row: Variant): Variant {
  return {
    ...row,
    tunables: (problem, form, target) =>
      row.tunables(problem, form, target).filter((tunables) => hasRegisters(problem.layout, tunables, target)),
    // Where sums pass through all the shared memory of two stages, what tells where they go lies behind it.
    launch: (problem, form, tunables, target) => {
      const { sharedBytes, ...rest } = row.launch(problem, form, tunables, target);
      const { m, n } = parseGemmTile(tunables);
      return {
        ...rest,
        sharedBytes: sharedBytes + (isAsynchronous(target) ? 0 : m * TABLE_BYTES.position + n * TABLE_BYTES.column),
      };
    },
  };
}

/** The largest tile in NCHW is short of two registers on compute capability 9.0 (8 bytes spilled, found by `npm run resources`). */
function hasRegisters(layout: Layout, tunables: Tunables, target: Target): boolean {
  const { m, n } = parseGemmTile(tunables);
  return layout === 'nhwc' || m * n < 128 * 128 || target.kind !== 'cuda' || target.arch !== 90;
}

function igemmPitches({ geometry: { cs, cl } }: Problem): Pitches {
  const pitch = Math.ceil(cl / PITCH_MULTIPLE) * PITCH_MULTIPLE;
  return { input: pitch, column: 1, tap: cs * pitch };
}

function mmaPitches({ geometry: { cs, cl }, dtype }: Problem): Pitches {
  const pitch = Math.ceil(cs / chunkOf(dtype)) * chunkOf(dtype);
  return { input: 1, column: pitch, tap: cl * pitch };
}

/**
 * [taps of the merged kernel][columns][inputs] or [taps][inputs][columns], made of [Cs, Cl, R, S]. Columns are (residue of rows,
 * residue of columns, channel) in NHWC, and (residue of rows, channel, residue of columns) in NCHW.
 */
function copying({ geometry: g, layout }: Problem, pitches: Pitches): Pick<Packing, 'copy' | 'key'> {
  const [high, wide] = [g.r / g.stride[0], g.s / g.stride[1]];
  const columns = columnPitches(layout, g.cl, g.stride[1]);
  const copy: PointwiseDim[] = [
    { size: high, strides: [wide * pitches.tap, g.stride[0] * g.s] },
    { size: wide, strides: [pitches.tap, g.stride[1]] },
    { size: g.stride[0], strides: [g.cl * g.stride[1] * pitches.column, g.s] },
    { size: g.stride[1], strides: [columns.residue * pitches.column, 1] },
    { size: g.cl, strides: [columns.channel * pitches.column, g.r * g.s] },
    { size: g.cs, strides: [pitches.input, g.cl * g.r * g.s] },
  ];
  return { copy, key: [high, wide, ...g.stride, g.cl, g.cs].join(' ') };
}

function columnPitches(layout: Layout, channels: number, stride: number): { residue: number; channel: number } {
  return layout === 'nhwc' ? { residue: channels, channel: 1 } : { residue: 1, channel: stride };
}
