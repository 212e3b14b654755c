/**
 * The units of the depthwise kernels, and the blocks that their templates unroll: for common kernel sizes, the outputs of
 * one block, what is loaded for them, what is multiplied with what.
 *
 * Inputs are staged with zeros around them (cpu/conv_depthwise.h): element [row][remainder][column], where columns with
 * one remainder by the stride are neighbours. A block writes `rows` lines, in each `columns` interleaved vectors.
 */

import { type Accumulator, type DrivenKernel, drivenKernel, drivenKernels, familyUnits } from './cpu_engine.js';
import { ACCUMULATOR_BYTES, CPU_VECTOR_BYTES, type CpuIsa } from './target.js';

export const DEPTHWISE_UNITS = familyUnits('depthwise', depthwiseKernels, depthwiseContext);

function depthwiseKernels(isa: CpuIsa, accumulator: Accumulator): DrivenKernel[] {
  return drivenKernels(accumulator, ['expand', 'contract', 'wgrad'], (form, storage, layout) => {
    const engine = `ENGINE_${storage.short.toUpperCase()}`;
    return drivenKernel({
      form,
      storage,
      layout,
      how: 'depthwise',
      isa,
      table: 'general',
      driver: `depthwise_${form}`,
      engine,
    });
  });
}

/** Square kernels that blocks are made for: size, stride, and in `expand` the remainder of the padding by the stride. */
const EXPANDED = [2, 3, 4, 5].flatMap((kernel) => [0, 1].map((padding) => ({ kernel, stride: 2, padding })));
/** With unit stride, `expand` is `contract` with the kernel turned about. */
const CONTRACTED = [
  ...[3, 5, 7].map((kernel) => ({ kernel, stride: 1 })),
  ...[2, 3, 4, 5].map((kernel) => ({ kernel, stride: 2 })),
];
/** Output rows of a contraction's block: they share input rows. */
const CONTRACTED_ROWS = 2;

/**
 * Channels last, lanes are channels: all forms of one kernel size and stride, whatever the padding. Sums of the outputs of
 * a block fill half of the registers: the more there are, the fewer pixels are read again by the next block, and where
 * maps are large that is what takes the time.
 */
function pixelShapes(isa: CpuIsa) {
  const [rows, columns] = isa === 'avx512' ? [4, 4] : [2, 4];
  return CONTRACTED.map(({ kernel, stride }) => ({
    kernel,
    stride,
    // Positions of a block.
    expanded: { rows: Math.ceil(rows / stride), columns: Math.ceil(columns / stride) },
    contracted: { rows, columns },
  }));
}

interface Product {
  /** Line and vector of the output. */
  readonly line: number;
  readonly column: number;
  /** Index of the weight. */
  readonly weight: number;
  /** What is loaded: row, remainder and column of the staged input. */
  readonly load: readonly [row: number, remainder: number, column: number];
}

/** One tap of one output index on one axis: which tap, and the input index counted from the block's first. */
interface AxisTap {
  readonly output: number;
  readonly tap: number;
  readonly input: number;
}

/** Outputs f = 0 … stride − 1 of position q: o = q·stride + f reads i = ⌊(f + p)/s⌋ − t by tap (f + p) mod s + s·t. */
function expandAxis({ kernel, stride, padding }: (typeof EXPANDED)[number]): AxisTap[] {
  const longest = Math.ceil(kernel / stride);
  return range(stride).flatMap((output) =>
    range(longest)
      .map((t) => ({
        output,
        tap: ((output + padding) % stride) + stride * t,
        input: Math.floor((output + padding) / stride) + longest - 1 - t,
      }))
      .filter(({ tap }) => tap < kernel),
  );
}

function expandBlock(shape: (typeof EXPANDED)[number]) {
  const axis = expandAxis(shape);
  const products = axis.flatMap((h) =>
    axis.map(
      (w): Product => ({
        line: h.output,
        column: w.output,
        weight: h.tap * shape.kernel + w.tap,
        load: [h.input, 0, w.input],
      }),
    ),
  );
  return blockOf({ form: 'expand', ...shape, rows: shape.stride, columns: shape.stride }, products);
}

function contractBlock({ kernel, stride }: (typeof CONTRACTED)[number]) {
  const products = range(CONTRACTED_ROWS).flatMap((line) =>
    range(kernel).flatMap((a) =>
      range(kernel).map(
        (b): Product => ({
          line,
          column: 0,
          weight: a * kernel + b,
          load: [line * stride + a, b % stride, Math.floor(b / stride)],
        }),
      ),
    ),
  );
  const shape = { form: 'contract', kernel, stride, padding: 0, rows: CONTRACTED_ROWS, columns: 1 };
  return blockOf(shape, products);
}

interface BlockShape {
  readonly form: string;
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
  readonly rows: number;
  readonly columns: number;
}

function blockOf(shape: BlockShape, products: readonly Product[]) {
  const loads = [...new Map(products.map(({ load }) => [load.join('_'), load])).entries()].sort((a, b) =>
    a[0].localeCompare(b[0], 'en', { numeric: true }),
  );
  return {
    ...shape,
    name: `${shape.form}_k${shape.kernel}s${shape.stride}p${shape.padding}`,
    weights: range(shape.kernel ** 2),
    lines: range(shape.rows).map((index) => ({
      index,
      parts: range(shape.columns)
        .map((column) => `y${index}_${column}`)
        .join(', '),
    })),
    sums: range(shape.rows).flatMap((line) => range(shape.columns).map((column) => `y${line}_${column}`)),
    loads: loads.map(([key, [row, remainder, column]]) => ({
      name: `x${key}`,
      row,
      remainder,
      column,
      products: products
        .filter(({ load }) => load.join('_') === key)
        .map(({ line, column: part, weight }) => ({ sum: `y${line}_${part}`, weight })),
    })),
  };
}

function depthwiseContext(isa: CpuIsa, accumulator: Accumulator): Record<string, unknown> {
  const width = CPU_VECTOR_BYTES[isa] / ACCUMULATOR_BYTES[accumulator];
  return {
    width,
    pixel_shapes: pixelShapes(isa),
    blocks: [...EXPANDED.map(expandBlock), ...CONTRACTED.map(contractBlock)],
  };
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
