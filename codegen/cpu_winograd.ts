/** The unit of the Winograd kernels: one generated file an instruction set, with the transforms of every F(m, r). */

import { engineName, PASS_NAMES, vectorContext } from './cpu_engine.js';
import type { CpuKernel, CpuUnit } from './cpu_unit.js';
import { contractionExtents, extentsText } from './extents.js';
import { kindsOf } from './operations.js';
import { argumentTable } from './passes.js';
import { LAYOUTS } from './problem.js';
import { type CpuIsa, cpuTileOf, DTYPE_TABLE } from './target.js';
import { isGenerated, WINOGRAD_OUTPUTS, WINOGRAD_TAPS, winogradWords } from './variants_winograd.js';
import { type Matrix, transformProgram, winograd } from './winograd.js';

export const WINOGRAD_UNIT: CpuUnit = {
  what: 'winograd',
  template: 'winograd.cpp.njk',
  context: winogradContext,
  kernels: winogradKernels,
};

/** Element types that are computed with in float. */
const STORAGES = Object.values(DTYPE_TABLE).filter((row) => row.accumulator === 'float');
const FORMS = ['expand', 'contract'] as const;

interface WinogradKernel extends CpuKernel {
  /** The driver's call. */
  readonly call: string;
}

const winogradEngine = (short: string) => `WINOGRAD_${short.toUpperCase()}`;

function winogradKernels(isa: CpuIsa): WinogradKernel[] {
  const { rows, lanes } = cpuTileOf(isa, 'float');
  return FORMS.flatMap((form) =>
    STORAGES.flatMap(({ short, bytes }) =>
      LAYOUTS.flatMap((layout) =>
        winogradWords(form).map((word) => {
          const args = argumentTable(form, 'packing');
          const shared = form === 'expand' ? `, ${word.endsWith('s')}` : '';
          return {
            name: `${PASS_NAMES[form]}_${short}_${layout}__winograd_${word}_t${rows}x${lanes}__${isa}`,
            kinds: kindsOf(args),
            extents: extentsText(args, contractionExtents(form, bytes)),
            call: `winograd_${form}(params, ${winogradEngine(short)}, ${layout.toUpperCase()}, ${word[1]}${shared})`,
          };
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
    tables: ['input', 'output', 'weight'].map(table),
    engines: STORAGES.map(({ short }) => ({
      name: winogradEngine(short),
      product: engineName(isa, short),
      storage: short.toUpperCase(),
    })),
    kernels: winogradKernels(isa),
  };
}

function filterContext({ outputs, taps }: { outputs: number; taps: number }) {
  const { points, at, g, bt } = winograd(outputs, taps);
  const transforms = Object.entries({ input: bt, weight: g, output: at });
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
