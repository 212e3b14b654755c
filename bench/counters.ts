/**
 * What the kernels of well-known layers do, counted by the simulator, against what could not be less, and against what the
 * catalogue's rows say that they have to do (`work`). Counts, no times. Each kernel is the one that is chosen for the layer;
 * it runs on a problem that is cut down: images, rows, then channels and columns.
 *
 *   npm run bench:counters -- [--dtype float32,bfloat16] [--layer REGEX] [--pass fwd,dgrad,wgrad] [--variant NAME] [--gather] [--json]
 *                             [--store] ['<problem>' …]
 *
 * Problems named after the options stand in for the layers, and --variant for the choice. --gather counts the fallback's
 * instructions on the same problems too, and tells how many more it takes for the whole layer: its own a multiply-add, which
 * no size changes, by those that the kernel's row says, corrected by what was counted. Ideals:
 * `shared`, wavefronts without bank conflicts; `loads` and `stores`, the sectors that the distinct bytes of each request would
 * fill; `dram`, each tensor once.
 */

import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { scope } from 'fracstride';
import { table } from '../codegen/cli/table.js';
import { WARP, type Work } from '../codegen/gpu_work.js';
import { bytes, flops } from '../codegen/passes.js';
import { LAYOUTS, PASSES, type Problem } from '../codegen/problem.js';
import { formatProblem, parseProblem } from '../codegen/problem_text.js';
import { candidates, choose, packingOf, type Spec, wordsOf, workOf } from '../codegen/spec.js';
import { DTYPES } from '../codegen/target.js';
import { operands } from '../src/bench/measure.js';
import { resolveDevice, synchronize, targetOf } from '../src/device.js';
import { preferVariant, runProblem } from '../src/kernels.js';
import { areWords, LAYER, layersCommandLine, STORE } from './command_line.js';
import { cutDown } from './cut_down.js';
import { keepEach } from './row.js';

interface Shared {
  readonly wavefronts: number;
  readonly leastWavefronts: number;
}

interface Global {
  readonly requests: number;
  readonly sectors: number;
  readonly leastSectors: number;
}

interface Counters {
  readonly launches: number;
  readonly warpInstructions: Readonly<Record<string, number>>;
  readonly threadInstructions: Readonly<Record<string, number>>;
  readonly multiplyAdds: number;
  readonly globalLoads: Global;
  readonly globalStores: Global;
  readonly sharedLoads: Shared;
  readonly sharedStores: Shared;
}

interface Control {
  configure(words: string): void;
  counters(options: { reset: boolean }): Readonly<Record<string, Counters>>;
}

interface Row {
  readonly source: 'counted on the simulator';
  readonly layer: string;
  readonly pass: string;
  readonly dtype: string;
  readonly layout: string;
  readonly kernel: string;
  readonly problem: string;
  readonly launches: number;
  /** By the row's own account. */
  readonly launches_meant: number;
  /** Ratios to the least. */
  readonly shared: number;
  readonly loads: number;
  readonly stores: number;
  /** By the row's own account for the whole layer ÷ its floor. */
  readonly dram: number;
  /** Executed by threads for each multiply-add of the layer, taps outside included. */
  readonly instructions: number;
  /** Multiply-adds that were executed for one. */
  readonly padding: number;
  /** What `work` says ÷ what was counted. */
  readonly model_instructions: number;
  readonly model_shared: number;
  readonly model_l2: number;
  /** Thread instructions of gather ÷ those of this kernel, for the whole layer. */
  readonly gather?: number;
}

const BARS = { shared: 1.02, loads: 1.1, stores: 1.1, dram: 1.15 } as const;
/** How far the model's inputs may be from what is counted; the second level of cache is asked for less than all requests. */
const TOLERANCE = { model_instructions: [0.7, 1.4], model_shared: [0.4, 2], model_l2: [0, 1.5] } as const;

const { asked, layers } = layersCommandLine('bench:counters', {
  dtype: { about: 'element types, separated by commas', value: '<list>', default: 'float32', check: areWords(DTYPES) },
  layer: LAYER,
  pass: { about: 'passes, separated by commas', value: '<list>', default: 'fwd,dgrad,wgrad', check: areWords(PASSES) },
  variant: { about: 'this variant in place of the choice', value: '<name>' },
  gather: { about: 'gather beside the kernel that is chosen' },
  json: { about: 'each row as JSON' },
  store: STORE,
});
process.env.FRACSTRIDE_LIBCUDA ??= fileURLToPath(new URL('../../build/simulator/libcuda.so.1', import.meta.url));
const driver = process.env.FRACSTRIDE_LIBCUDA;
const addon = createRequire(import.meta.url)(join(dirname(driver), 'control.node')) as { open(path: string): Control };
const simulator = addon.open(driver);
simulator.configure('count=1');
const device = resolveDevice('bench', 'cuda');

/** Runs a problem, its weight packed beforehand, and gives the counters of all kernels that ran, added up. */
function counted(problem: Problem, words: string, packs: boolean): Counters & { readonly kernels: string[] } {
  return scope(() => {
    preferVariant(words);
    const pointers = operands('cuda', problem);
    if (packs) runProblem(device, problem, pointers, 0);
    synchronize(device);
    simulator.counters({ reset: true });
    runProblem(device, problem, pointers, 0);
    synchronize(device);
    const all = Object.entries(simulator.counters({ reset: true }));
    preferVariant(null);
    return { ...all.map(([, each]) => each).reduce(added), kernels: all.map(([name]) => name) };
  });
}

/** Numbers of both, one by one, however deep. */
function added<T extends object>(a: T, b: T): T {
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])] as (keyof T)[];
  const sum = (x: unknown, y: unknown) =>
    typeof x === 'object' || typeof y === 'object'
      ? added((x ?? {}) as object, (y ?? {}) as object)
      : Number(x ?? 0) + Number(y ?? 0);
  return Object.fromEntries(keys.map((key) => [key, sum(a[key], b[key])])) as T;
}

const instructionsOf = (works: readonly Work[]): number =>
  works.reduce((sum, { blocks, instructions }) => sum + blocks * instructions, 0);

const total = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((a, b) => a + b, 0);
const ratio = (a: number, b: number): number => (b === 0 ? 1 : Number((a / b).toPrecision(4)));

/** Of the variant that is asked for the settings that are cheapest. */
function specOf(problem: Problem): Spec {
  if (asked.variant === undefined) return choose(problem, targetOf(device));
  const rows = candidates(problem, targetOf(device)).filter(
    (row) => row.variant === asked.variant && row.cost !== null,
  );
  const [best] = rows.sort((a, b) => a.cost! - b.cost!);
  if (best?.spec) return best.spec;
  throw new Error(`--variant ${asked.variant} does not compute ${formatProblem(problem)}`);
}

function rowOf(layer: string, full: Problem): Row {
  const spec = specOf(full);
  const problem = cutDown(full);
  const c = counted(problem, wordsOf(spec), packingOf(spec, full) !== null);
  const works = workOf(spec, problem)!;
  const sum = (what: 'instructions' | 'sharedBytes' | 'l2Bytes') =>
    works.reduce((so_far, work) => so_far + work.blocks * work[what], 0);
  const dram = workOf(spec, full)!.reduce((so_far, work) => so_far + work.dramBytes, 0);
  const plain = c.warpInstructions.loadGlobal ?? 0;
  const sectorsEach = c.globalLoads.sectors / Math.max(1, c.globalLoads.requests);
  const wavefronts = c.sharedLoads.wavefronts + c.sharedStores.wavefronts + plain * Math.max(1, sectorsEach / 4);
  const gather = asked.gather ? counted(problem, 'gather', false) : null;
  const executed = total(c.threadInstructions);
  const model_instructions = ratio(sum('instructions'), total(c.warpInstructions));
  // A problem that is cut down fills few tiles, the layer all: gather must not look better than it is.
  const whole = (WARP * instructionsOf(workOf(spec, full)!)) / model_instructions;
  const times = (by: Counters) => (total(by.threadInstructions) * flops(full)) / flops(problem) / whole;
  return {
    source: 'counted on the simulator',
    ...{ layer, pass: full.pass, dtype: full.dtype, layout: full.layout },
    ...{ kernel: c.kernels.join(' '), problem: formatProblem(problem) },
    ...{ launches: c.launches, launches_meant: works.length },
    shared: ratio(
      c.sharedLoads.wavefronts + c.sharedStores.wavefronts,
      c.sharedLoads.leastWavefronts + c.sharedStores.leastWavefronts,
    ),
    loads: ratio(c.globalLoads.sectors, c.globalLoads.leastSectors),
    stores: ratio(c.globalStores.sectors, c.globalStores.leastSectors),
    dram: ratio(dram, bytes(full)),
    instructions: ratio(executed, flops(problem) / 2),
    padding: ratio(c.multiplyAdds, flops(problem) / 2),
    model_instructions,
    model_shared: ratio(sum('sharedBytes'), 128 * wavefronts),
    model_l2: ratio(sum('l2Bytes'), 32 * (c.globalLoads.sectors + c.globalStores.sectors)),
    ...(gather === null ? {} : { gather: ratio(times(gather), 1) }),
  };
}

const rows: Row[] = [];
for (const layer of Object.keys(layers).filter((name) => new RegExp(asked.layer).test(name)))
  for (const dtype of asked.dtype.split(','))
    for (const layout of LAYOUTS)
      for (const pass of asked.pass.split(',')) {
        const row = rowOf(layer, parseProblem(`${layers[layer]} pass=${pass} dtype=${dtype} layout=${layout}`));
        if (asked.json) console.log(JSON.stringify(row));
        rows.push(row);
      }
keepEach('kernel_counters', rows, ({ layer, pass, dtype, layout }) => [layer, pass, dtype, layout].join(' '));

const outside = (row: Row): string[] => [
  ...Object.entries(BARS).flatMap(([what, bar]) => (row[what as keyof typeof BARS] <= bar ? [] : [what])),
  ...(row.launches > row.launches_meant ? ['launches'] : []),
  ...Object.entries(TOLERANCE).flatMap(([what, [least, most]]) => {
    const value = row[what as keyof typeof TOLERANCE];
    return value >= least && value <= most ? [] : [what];
  }),
];
const figures = ['shared', 'loads', 'stores', 'dram', 'instructions', 'padding'] as const;
const model = ['model_instructions', 'model_shared', 'model_l2'] as const;
const cells = (row: Row) => [
  ...[
    row.layer,
    row.pass,
    row.dtype,
    row.layout,
    row.kernel
      .split(' ')
      .map((name) => name.split('__')[1])
      .join(' '),
  ],
  String(row.launches),
  ...[...figures, ...model].map((what) => row[what].toFixed(2)),
  ...(asked.gather ? [row.gather!.toFixed(2)] : []),
  outside(row).join(' '),
];
const head = ['layer', 'pass', 'dtype', 'layout', 'kernel', 'launches', ...figures];
const gatherHead = asked.gather ? ['gather ÷'] : [];
console.log(table([...head, 'model: instr', 'shared', 'l2', ...gatherHead, 'outside of the bars'], rows.map(cells)));
const misses = (what: string) => rows.filter((row) => outside(row).includes(what)).length;
const summary = [...Object.keys(BARS), 'launches', ...model].map((what) => `${what} ${rows.length - misses(what)}`);
console.log(`\n${rows.length} operations; within the bars: ${summary.join(', ')}`);
console.log(
  `bars: ${JSON.stringify({ ...BARS, launches: '2 in parts, else 1' })}; tolerance of the model: ${JSON.stringify(TOLERANCE)}`,
);
