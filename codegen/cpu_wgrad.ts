/**
 * The units of the weight gradient: one generated file an accumulator type and instruction set, with its micro-kernels
 * over segments of positions, its packing and stores, and the entries of its kernels.
 */

import { type Accumulator, type DrivenKernel, drivenKernel, drivenKernels, familyUnits } from './cpu_engine.js';
import { microKernels } from './cpu_micro.js';
import { type CpuIsa, cpuTileOf } from './target.js';

/** The engine of an element type, for every generated file of the instruction set. */
export function wgradEngineName(isa: CpuIsa, short: string): string {
  return `WGRAD_${short.toUpperCase()}_${isa}`;
}

export const WGRAD_UNITS = familyUnits('wgrad', wgradKernels, wgradContext);

/** Positions of one product: a panel of each operand then stays in a first-level cache. */
const BLOCK_DEPTH = 128;

/** Planes of columns that lie in turn in memory and are packed together; as many as MAX_PACKED_PLANES. */
const TURNED_PLANES = [2, 4];

function wgradContext(isa: CpuIsa, accumulator: Accumulator): Record<string, unknown> {
  const sizes = cpuTileOf(isa, accumulator);
  const micro = microKernels({ ...sizes, k_pitch: 0 }, 'segments');
  return {
    ...sizes,
    depth: BLOCK_DEPTH,
    turned_planes: TURNED_PLANES.filter((planes) => sizes.width % planes === 0),
    micro: micro.flat(),
    ...tilesContext(isa),
    tables: micro.map((kernels) => kernels.map((kernel) => kernel.name).join(', ')),
  };
}

/** Sums over positions in lanes, as many as registers hold beside a column of each operand. */
const DOT_TILES: Readonly<Record<CpuIsa, readonly [rows: number, columns: number]>> = {
  avx512: [4, 6],
  avx2: [3, 4],
  baseline: [3, 4],
};

/** Sums of elements of patches in lanes, as many as registers hold beside a patch's vectors and what they are multiplied by. */
const PATCH_TILES: Readonly<Record<CpuIsa, readonly [rows: number, vectors: number]>> = {
  avx512: [8, 3],
  avx2: [4, 3],
  baseline: [4, 2],
};

function tilesContext(isa: CpuIsa): Record<string, unknown> {
  const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);
  const table = (name: string, first: number, second: number) =>
    upTo(first).map((i) =>
      upTo(second)
        .map((j) => `${name}<${i}, ${j}>`)
        .join(', '),
    );
  const [[dot_rows, dot_columns], [sum_rows, sum_vectors]] = [DOT_TILES[isa], PATCH_TILES[isa]];
  return {
    dot_rows,
    dot_columns,
    dots: table('dots', dot_rows, dot_columns),
    sum_rows,
    sum_vectors,
    patch_sums: table('patch_sums', sum_vectors, sum_rows),
  };
}

function wgradKernels(isa: CpuIsa, accumulator: Accumulator): DrivenKernel[] {
  const { rows, lanes } = cpuTileOf(isa, accumulator);
  const how = `igemm_t${rows}x${lanes}`;
  return drivenKernels(accumulator, ['wgrad'], (form, storage, layout) => {
    const engine = wgradEngineName(isa, storage.short);
    return drivenKernel({ form, storage, layout, how, isa, table: 'general', driver: 'conv_wgrad', engine });
  });
}
