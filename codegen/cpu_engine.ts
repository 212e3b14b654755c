/**
 * The units of the convolution engine: one generated file an accumulator type and instruction set, with its
 * micro-kernels, its packing and stores for every element type of that accumulator, and the entries of its kernels.
 */

import { microKernels } from './cpu_micro.js';
import type { CpuKernel, CpuUnit } from './cpu_unit.js';
import { contractionExtents, extentsText } from './extents.js';
import { kindsOf } from './operations.js';
import { argumentTable } from './passes.js';
import type { Contraction, Layout } from './problem.js';
import { LAYOUTS } from './problem.js';
import { ACCUMULATOR_BYTES, CPU_TILES, type CpuIsa, cpuTileOf, DTYPE_TABLE, type DtypeRow } from './target.js';

export type Accumulator = DtypeRow['accumulator'];

/** The first zone of each contraction's kernels. */
export const PASS_NAMES: Readonly<Record<Contraction, string>> = {
  expand: 'ct2d_fwd',
  contract: 'ct2d_dgrad',
  wgrad: 'ct2d_wgrad',
  bgrad: 'ct2d_bgrad',
};

export const ENGINE_UNITS = familyUnits('igemm', engineKernels, engineContext);

type UnitKernels = (isa: CpuIsa, accumulator: Accumulator) => DrivenKernel[];
type UnitContext = (isa: CpuIsa, accumulator: Accumulator) => Record<string, unknown>;

/** A family of kernels in one file an accumulator and instruction set, from the template of its name. */
export function familyUnits(family: string, kernels: UnitKernels, context: UnitContext): CpuUnit[] {
  return (['float', 'double'] as const).map((accumulator) => familyUnit(family, accumulator, kernels, context));
}

/** The same of one accumulator. */
export function familyUnit(
  family: string,
  accumulator: Accumulator,
  kernels: UnitKernels,
  context: UnitContext,
): CpuUnit {
  return {
    what: `${family}_${accumulator}`,
    template: `${family}.cpp.njk`,
    kernels: (isa) => kernels(isa, accumulator),
    context: (isa) => ({
      accumulator,
      engines: storages(accumulator).map(({ short }) => short.toUpperCase()),
      kernels: kernels(isa, accumulator),
      ...vectorContext(cpuTileOf(isa, accumulator).width, accumulator),
      ...context(isa, accumulator),
    }),
  };
}

/** The engine of an element type, for every generated file of the instruction set. */
export function engineName(isa: CpuIsa, short: string): string {
  return `ENGINE_${short.toUpperCase()}_${isa}`;
}

/** A kernel whose entry is one call of a driver. */
export interface DrivenKernel extends CpuKernel {
  readonly call: string;
}

/** The kernel of a contraction in a type and layout; `how` is the middle zone of its name. */
export function drivenKernel(a: {
  readonly form: Contraction;
  readonly storage: DtypeRow;
  readonly layout: Layout;
  readonly how: string;
  readonly isa: CpuIsa;
  readonly table: 'general' | 'packing';
  /** The driver and its engine, and what follows the layout in its call. */
  readonly driver: string;
  readonly engine: string;
  readonly rest?: string;
}): DrivenKernel {
  const { form, storage, layout, how, isa, table, driver, engine, rest = '' } = a;
  const args = argumentTable(form, table);
  return {
    name: `${PASS_NAMES[form]}_${storage.short}_${layout}__${how}__${isa}`,
    kinds: kindsOf(args),
    extents: extentsText(args, contractionExtents(form, storage.bytes)),
    call: `${driver}(params, ${engine}, ${layout.toUpperCase()}${rest})`,
  };
}

/** A kernel for each of these contractions, element type and layout. */
export function drivenKernels(
  accumulator: Accumulator,
  forms: readonly Contraction[],
  make: (form: Contraction, storage: DtypeRow, layout: Layout) => DrivenKernel,
): DrivenKernel[] {
  return storages(accumulator).flatMap((storage) =>
    LAYOUTS.flatMap((layout) => forms.map((form) => make(form, storage, layout))),
  );
}

function engineKernels(isa: CpuIsa, accumulator: Accumulator): DrivenKernel[] {
  return storages(accumulator).flatMap((row) => LAYOUTS.flatMap((layout) => kernelsOf(isa, row, layout)));
}

function kernelsOf(isa: CpuIsa, storage: DtypeRow, layout: Layout): DrivenKernel[] {
  const tile = `t${CPU_TILES[isa][storage.accumulator].join('x')}`;
  const engine = engineName(isa, storage.short);
  const kernel = (form: Contraction, table: 'general' | 'packing', how: string, rest = '', driver = `conv_${form}`) =>
    drivenKernel({ form, storage, layout, how, isa, table, driver, engine, rest });
  const inTiles = (form: Contraction, how: string, lanes: readonly string[], driver?: string) =>
    lanes.map((each) => kernel(form, 'packing', `${how}_${each}_${tile}`, `, LANES_${each.toUpperCase()}`, driver));
  return [
    ...(['expand', 'contract'] as const).flatMap((form) => inTiles(form, 'igemm', ['px', 'ch'])),
    ...(['expand', 'contract'] as const).map((form) => kernel(form, 'packing', 'tapwise', '', `conv_tapwise_${form}`)),
    ...inTiles('expand', 'gemm', ['ch'], 'conv_gemm_expand'),
    ...inTiles('contract', 'gemm', ['px', 'ch'], 'conv_gemm_contract'),
    kernel('bgrad', 'general', 'rowsum'),
  ];
}

/** The element types that are computed in this accumulator. */
export function storages(accumulator: Accumulator): DtypeRow[] {
  return Object.values(DTYPE_TABLE).filter((row) => row.accumulator === accumulator);
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Kinds of micro-kernels that products use. */
const PRODUCT_KINDS = ['by_k', 'by_row', 'direct'] as const;
/** Depth of one K block: a panel of B then is half of a 32 KiB first-level cache, or a little more. */
const BLOCK_DEPTH = 256;

function engineContext(isa: CpuIsa, accumulator: Accumulator): Record<string, unknown> {
  const sizes = cpuTileOf(isa, accumulator);
  const { lanes, width } = sizes;
  const tile = { ...sizes, k_pitch: BLOCK_DEPTH + width };
  const [byK, byRow, direct] = PRODUCT_KINDS.map((kind) => microKernels(tile, kind));
  const names = (halves: typeof byK) => halves!.map((kernels) => kernels.map((kernel) => kernel.name).join(', '));
  return {
    ...tile,
    half_vectors: 1,
    counts: range(lanes).map((i) => i + 1),
    micro: [byK, byRow, direct].flat(2),
    direct_tables: names(direct),
    tables: [names(byK), names(byRow)],
  };
}

/** What lib/conv_vector.cpp.njk prints. */
export function vectorContext(width: number, accumulator: Accumulator): Record<string, unknown> {
  // Lanes of two vectors a and b, of b from `width` on, in the order a0 b0 a1 b1 …: the first half, then the second.
  const zipped = range(2 * width).map((i) => (i >> 1) + (i % 2) * width);
  // The same within each block of 16 bytes, and every second block of both: what instructions do without crossing blocks.
  const block = 16 / ACCUMULATOR_BYTES[accumulator];
  const unpacked = (first: number) =>
    range(width).map((i) => i - (i % block) + first + ((i % block) >> 1) + (i % 2) * width);
  const blocks = (first: number) => range(width).map((i) => (2 * Math.floor(i / block) + first) * block + (i % block));
  // Of three vectors in the order a0 b0 c0 a1 …: vector by vector, the lanes of a and b, then of those and c.
  const thirds = range(3).map((third) => {
    const places = range(width).map((lane) => third * width + lane);
    const place = (i: number) => ({ from: i % 3, lane: Math.floor(i / 3) });
    return {
      two: places.map((i) => (place(i).from === 1 ? width : 0) + place(i).lane).join(', '),
      all: places.map((i, lane) => (place(i).from === 2 ? width + place(i).lane : lane)).join(', '),
    };
  });
  return {
    thirds,
    zip_low: zipped.slice(0, width).join(', '),
    zip_high: zipped.slice(width).join(', '),
    // And back: every second lane of both, from the first on and from the second on.
    even_lanes: range(width)
      .map((i) => 2 * i)
      .join(', '),
    odd_lanes: range(width)
      .map((i) => 2 * i + 1)
      .join(', '),
    block,
    unpack_low: unpacked(0).join(', '),
    unpack_high: unpacked(block / 2).join(', '),
    even_blocks: blocks(0).join(', '),
    odd_blocks: blocks(1).join(', '),
    lane_integer: accumulator === 'float' ? 'int32_t' : 'int64_t',
  };
}
