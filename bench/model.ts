/**
 * What the model of codegen/gpu_work.ts says of well-known layers, beside the roofline. A model, no measurement: the kernel
 * that would be chosen, its modelled time, the floor that no kernel goes below (each tensor once at the speed of memory,
 * or the taps that exist at the peak of the arithmetic), and what bounds the kernel.
 *
 *   node dist/bench/model.js [--every] [--store] ['<problem>' …]     --every: both layouts of both types, not only their own
 *
 * Problems named after the options stand in for the layers.
 */

import { table } from '../codegen/cli/table.js';
import { GPUS, type Gpu } from '../codegen/gpu.js';
import { seconds, terms, type Work } from '../codegen/gpu_work.js';
import { bytes, usefulFlops } from '../codegen/passes.js';
import type { Layout } from '../codegen/problem.js';
import { parseProblem } from '../codegen/problem_text.js';
import { choose, kernelName, workOf } from '../codegen/spec.js';
import type { CudaArchitecture, Dtype } from '../codegen/target.js';
import { layersCommandLine } from './command_line.js';
import { geometricMean, keepOnly } from './row.js';

const MACHINES: readonly { readonly gpu: Gpu; readonly arch: CudaArchitecture }[] = [
  { gpu: GPUS.H100, arch: 90 },
  { gpu: GPUS.A100, arch: 80 },
  { gpu: GPUS.RTX4090, arch: 89 },
];
const { asked, layers } = layersCommandLine('bench:model', {
  every: { about: 'both layouts of both types, not only their own' },
  store: { about: 'keep the rows in bench/results' },
});
const PASSES = ['fwd', 'dgrad', 'wgrad'] as const;
/** Types in the layout that their kernels are made for, and in the other one. */
const OWN: readonly [Dtype, Layout][] = [
  ['float32', 'nchw'],
  ['bfloat16', 'nhwc'],
];
const OTHER: readonly [Dtype, Layout][] = [
  ['float32', 'nhwc'],
  ['bfloat16', 'nchw'],
];

interface Row {
  readonly source: 'model, not measured';
  readonly gpu: string;
  readonly layer: string;
  readonly pass: (typeof PASSES)[number];
  readonly dtype: Dtype;
  readonly layout: Layout;
  readonly kernel: string;
  readonly launches: number;
  readonly model_us: number;
  readonly floor_us: number;
  readonly floor_bound: 'memory' | 'arithmetic';
  /** model ÷ floor, and ÷ what the floor is with one launch before it. */
  readonly ratio: number;
  readonly ratio_with_launch: number;
  /** The term that takes longest, `wait` where blocks wait for themselves or multiprocessors idle. */
  readonly bound: string;
}

const short = (value: number): number => Number(value.toPrecision(4));

function rowOf(machine: (typeof MACHINES)[number], setting: [Dtype, Layout], layer: string, pass: Row['pass']): Row {
  const { gpu, arch } = machine;
  const [dtype, layout] = setting;
  const problem = parseProblem(`${layers[layer]} pass=${pass} dtype=${dtype} layout=${layout}`);
  const spec = choose(problem, { kind: 'cuda', arch });
  const works = workOf(spec, problem)!;
  const model = seconds(works, gpu);
  const memory = bytes(problem) / gpu.dramBytes;
  const arithmetic = usefulFlops(problem) / (dtype === 'float32' ? gpu.peaks.float32 : gpu.peaks.float16);
  const floor = Math.max(memory, arithmetic);
  return {
    source: 'model, not measured',
    ...{ gpu: gpu.name, layer, pass, dtype, layout, kernel: kernelName(spec), launches: works.length },
    ...{ model_us: short(1e6 * model), floor_us: short(1e6 * floor) },
    floor_bound: memory > arithmetic ? 'memory' : 'arithmetic',
    ...{ ratio: short(model / floor), ratio_with_launch: short(model / (floor + gpu.launch)) },
    bound: boundOf(works, gpu),
  };
}

/** Of the launch that takes longest. */
function boundOf(works: readonly Work[], gpu: Gpu): string {
  const [work] = [...works].sort((a, b) => seconds([b], gpu) - seconds([a], gpu));
  const { launch, waves, l2, dram, ...busy } = terms(work!, gpu);
  const [what, time] = Object.entries(busy).sort((a, b) => b[1] - a[1])[0]!;
  const largest = Math.max(launch, waves, l2, dram);
  if (largest === launch) return 'launch';
  if (largest === l2) return 'l2';
  if (largest === dram) return 'dram';
  return time > 0.7 * waves ? what : 'wait';
}

const settings = asked.every ? [...OWN, ...OTHER] : OWN;
const rows = MACHINES.flatMap((machine) =>
  settings.flatMap((setting) =>
    Object.keys(layers).flatMap((layer) => PASSES.map((pass) => rowOf(machine, setting, layer, pass))),
  ),
);
keepOnly('gpu_model', rows);

const columns = MACHINES.flatMap(({ gpu }) => settings.map(([dtype, layout]) => ({ gpu: gpu.name, dtype, layout })));
const inColumn = ({ gpu, dtype, layout }: (typeof columns)[number]) => {
  return rows.filter((row) => row.gpu === gpu && row.dtype === dtype && row.layout === layout);
};
const cellsOf = (pick: (of: readonly Row[]) => string) => columns.map((column) => pick(inColumn(column)));
const lines = Object.keys(layers).map((layer) => [
  layer,
  ...cellsOf((own) => {
    return own
      .filter((row) => row.layer === layer)
      .map(({ ratio }) => ratio.toFixed(ratio < 10 ? 2 : 0).padStart(4))
      .join(' ');
  }),
]);
const means = (title: string, keep: (row: Row) => boolean, value: (row: Row) => number) => [
  title,
  ...cellsOf((own) => geometricMean(own.filter(keep).map(value)).toFixed(2)),
];
const head = columns.map(({ gpu, dtype, layout }) => `${gpu.split(' ').slice(0, 2).join(' ')} ${dtype} ${layout}`);
console.log('Modelled time ÷ floor (fwd dgrad wgrad). A model, not measured.\n');
console.log(
  table(
    ['layer', ...head],
    [
      ...lines,
      ...PASSES.map((pass) =>
        means(
          `geometric mean, ${pass}`,
          (row) => row.pass === pass,
          (row) => row.ratio,
        ),
      ),
      means(
        'geometric mean',
        () => true,
        (row) => row.ratio,
      ),
      means(
        '… floor + one launch',
        () => true,
        (row) => row.ratio_with_launch,
      ),
    ],
  ),
);
const all = geometricMean(rows.map(({ ratio }) => ratio));
const withLaunch = geometricMean(rows.map((row) => row.ratio_with_launch));
console.log(
  `\nall: ${all.toFixed(2)} (bar 1.35), against the floor and one launch ${withLaunch.toFixed(2)}; the worst:`,
);
for (const row of [...rows].sort((a, b) => b.ratio - a.ratio).slice(0, 6)) {
  const { gpu, kernel, layer, model_us, floor_us, ratio, bound } = row;
  console.log(`  ${ratio} ${gpu} ${layer}: ${kernel} ${model_us} µs, floor ${floor_us} µs, bound by ${bound}`);
}
