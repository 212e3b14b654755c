/** The unit of the Winograd kernels: one generated file an instruction set, with the transforms of every F(m, r). */

import { type DrivenKernel, drivenKernel, engineName, vectorContext } from './cpu_engine.js';
import type { CpuUnit } from './cpu_unit.js';
import { wgradEngineName } from './cpu_wgrad.js';
import { LAYOUTS } from './problem.js';
import { type CpuIsa, cpuTileOf, DTYPE_TABLE } from './target.js';
import { isGenerated, WINOGRAD_OUTPUTS, WINOGRAD_TAPS, winogradWords } from './variants_winograd.js';
import { type Matrix, transformProgram, transposed, winograd } from './winograd.js';

export const WINOGRAD_UNIT: CpuUnit = {
  what: 'winograd',
  template: 'winograd.cpp.njk',
  context: winogradContext,
  kernels: winogradKernels,
};

/** Element types that are computed with in float. */
const STORAGES = Object.values(DTYPE_TABLE).filter((row) => row.accumulator === 'float');
const FORMS = ['expand', 'contract', 'wgrad'] as const;

const winogradEngine = (short: string) => `WINOGRAD_${short.toUpperCase()}`;

function winogradKernels(isa: CpuIsa): DrivenKernel[] {
  const { rows, lanes } = cpuTileOf(isa, 'float');
  return FORMS.flatMap((form) =>
    STORAGES.flatMap((storage) =>
      LAYOUTS.flatMap((layout) =>
        winogradWords(form).map((word) => {
          const how = `winograd_${word}_t${rows}x${lanes}`;
          const rest = `, ${word[1]}${form === 'expand' ? `, ${word.endsWith('s')}` : ''}`;
          const [driver, engine] = [`winograd_${form}`, winogradEngine(storage.short)];
          const table = form === 'wgrad' ? 'general' : 'packing';
          return drivenKernel({ form, storage, layout, how, isa, table, driver, engine, rest });
        }),
      ),
    ),
  );
}

const filterName = (outputs: number, taps: number) => `F_${outputs}_${taps}`;

function winogradContext(isa: CpuIsa): Record<string, unknown> {
  const { rows, lanes, width } = cpuTileOf(isa, 'float');
  const sizes = WINOGRAD_OUTPUTS.flatMap((outputs) => WINOGRAD_TAPS.map((taps) => ({ outputs, taps })));
  const table = (what: string) =>
    WINOGRAD_OUTPUTS.map((outputs) =>
      WINOGRAD_TAPS.map((h) =>
        WINOGRAD_TAPS.map((w) => {
          const there = isGenerated(outputs, h) && isGenerated(outputs, w);
          return there ? `transform_${what}<${filterName(outputs, h)}, ${filterName(outputs, w)}>` : 'nullptr';
        }).join(', '),
      ),
    );
  return {
    rows,
    lanes,
    width,
    ...vectorContext(width, 'float'),
    filters: sizes.filter(({ outputs, taps }) => isGenerated(outputs, taps)).map(filterContext),
    tables: ['input', 'output', 'weight', 'outward', 'taps'].map(table),
    engines: STORAGES.map(({ short }) => ({
      name: winogradEngine(short),
      product: engineName(isa, short),
      gradient: wgradEngineName(isa, short),
      storage: short.toUpperCase(),
    })),
    kernels: winogradKernels(isa),
  };
}

function filterContext({ outputs, taps }: { outputs: number; taps: number }) {
  const { points, at, g, bt } = winograd(outputs, taps);
  // The weight's gradient takes outputs to points by A, and points to taps by Gᵀ.
  const matrices = { input: bt, weight: g, output: at, outward: transposed(at), taps: transposed(g) };
  const transforms = Object.entries(matrices);
  return {
    name: filterName(outputs, taps),
    outputs,
    taps,
    points,
    transforms: transforms.map(([name, matrix]) => ({ name, lines: linesOf(matrix) })),
  };
}

/** A transform from array x to array y. */
function linesOf(matrix: Matrix): string[] {
  const { inputs, steps } = transformProgram(matrix);
  const reads = Array.from({ length: inputs }, (_, i) => `const Vector x${i} = x[${i}]`);
  const makes = steps.map(({ name, text }) => {
    const output = /^y(\d+)$/.exec(name);
    return output === null ? `const Vector ${name} = ${text}` : `y[${output[1]}] = ${text}`;
  });
  return [...reads, ...makes];
}
