/** `fracstride bench`: how fast the layers of known networks are here, on this package's kernels and on cuDNN. */

import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { EXIT, type Session } from '../../codegen/cli/session.js';
import { table } from '../../codegen/cli/table.js';
import { LAYOUTS, type Problem } from '../../codegen/problem.js';
import { formatProblem, parseProblem } from '../../codegen/problem_text.js';
import { DTYPES, type Dtype } from '../../codegen/target.js';
import { circumstances, store } from '../bench/facts.js';
import { BENCH_LAYERS } from '../bench/layers.js';
import type { Timing } from '../bench/measure.js';
import { cudaDeviceInfo, resolveDevice } from '../device.js';
import { FracstrideError } from '../errors.js';
import { describeDevice } from './devices.js';

interface Options {
  device?: string;
  layer?: RegExp;
  pass: readonly Problem['pass'][];
  dtype: Dtype;
  layout: Problem['layout'];
  rounds: number;
  variants: 'chosen' | 'all';
  tf32?: true;
  store?: string;
  json?: true;
}

const PASSES = ['fwd', 'dgrad', 'wgrad'] as const;

export function addBench(program: Command, session: Session): void {
  program
    .command('bench')
    .description('how fast the layers of known networks are here, beside cuDNN where there is one')
    .option('--device <device>', 'cpu, cuda or cuda:N (default: the best device that can run)')
    .option('--layer <pattern>', 'only layers whose name matches this regular expression', parsePattern)
    .option('--pass <list>', 'fwd, dgrad and wgrad, separated by commas', parsePasses, [...PASSES])
    .addOption(new Option('--dtype <type>', 'element type').choices(DTYPES).default('float32'))
    .addOption(new Option('--layout <layout>', 'memory layout').choices(LAYOUTS).default('nchw'))
    .option('--rounds <count>', 'rounds that the median is of', parseRounds, 7)
    .addOption(new Option('--variants <which>', 'of this package').choices(['chosen', 'all']).default('chosen'))
    .option('--tf32', 'let cuDNN use TF32 for float32: faster and less exact than what it is compared with')
    .option('--store <file>', 'add the rows to a file, one JSON object a line')
    .option('--json', 'JSON on stdout: an array of rows')
    .addHelpText('after', HELP)
    .action((options: Options) => run(options, session));
}

const HELP = `
A time is the median of rounds in which the kernels of a problem take turns. A round is a queue of launches
that is waited for once, divided by their number; operands are copied as often as it takes for a launch not
to find its own in the device's cache. TFLOP/s counts every tap, and GB/s each tensor once. 'cuDNN' is its
time divided by that of this package: above 1, this package is faster.

Examples:
  fracstride bench --device cuda --store bench.jsonl
  fracstride bench --layer 'dcgan|unet' --pass fwd --dtype float16 --layout nhwc
  fracstride bench --device cpu --layer fsrcnn --variants all --rounds 3 --json`;

interface Row extends Timing {
  readonly bench: 'layers';
  readonly layer: string;
  readonly problem: string;
  readonly pass: Problem['pass'];
  readonly dtype: Dtype;
  readonly layout: Problem['layout'];
  readonly device: string;
  readonly device_name: string;
  /** cuDNN's time divided by this row's; null where cuDNN has none. */
  readonly cudnn_ratio: number | null;
}

async function run(options: Options, session: Session): Promise<void> {
  const device = resolveDevice('bench', options.device);
  const layers = Object.entries(BENCH_LAYERS).filter(([name]) => options.layer?.test(name) ?? true);
  if (layers.length === 0) {
    const sentence = `bench: --layer must match one of ${Object.keys(BENCH_LAYERS).join(', ')}, got ${options.layer}`;
    throw new FracstrideError('ERR_ARGUMENT', sentence);
  }
  const [{ measure }, { backends }] = await Promise.all([import('../bench/measure.js'), import('../backends.js')]);
  backends.cudnn.allowTf32 = options.tf32 === true;
  const facts = { tf32: options.tf32 === true, ...circumstances() };
  const { model, text } = describeDevice(device.name);
  const rows: Row[] = [];
  let missed = 0;
  session.log(`${text}\n`);
  for (const [layer, words] of layers) {
    for (const pass of options.pass) {
      const problem = parseProblem(`${words} pass=${pass} dtype=${options.dtype} layout=${options.layout}`);
      const common = { bench: 'layers', layer, problem: formatProblem(problem), pass } as const;
      const place = { dtype: options.dtype, layout: options.layout, device: device.name, device_name: model };
      const asked = { device: device.name, problem, rounds: options.rounds, variants: options.variants };
      const cacheBytes = cudaDeviceInfo(device.index - 1)?.l2CacheBytes ?? 0;
      const timings = attempt(() =>
        measure({ ...asked, cacheBytes }, (variant, reason) => {
          missed++;
          session.log(`${layer} ${pass}: ${variant} cannot run here: ${reason}\n`);
        }),
      );
      if (typeof timings === 'string') {
        missed++;
        session.log(`${layer} ${pass}: cannot run here: ${timings}\n`);
        continue;
      }
      const own = timings.map((timing) => ({
        ...common,
        ...place,
        ...timing,
        cudnn_ratio: ratio(timing, timings),
        ...facts,
      }));
      for (const { variant, us_median } of own) session.log(`${layer} ${pass}: ${variant} ${us_median} µs\n`);
      if (options.store !== undefined) store(resolve(options.store), own);
      rows.push(...own);
    }
  }
  if (missed > 0) session.endWith(EXIT.failed);
  if (options.json) session.write(`[\n${rows.map((row) => JSON.stringify(row)).join(',\n')}\n]\n`);
  else session.line(`${text}\n\n${printed(rows)}`);
}

/** A layer that does not fit into memory is no reason not to measure the others. */
function attempt(work: () => Timing[]): Timing[] | string {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof FracstrideError) || error.code !== 'ERR_OUT_OF_MEMORY') throw error;
    return error.message;
  }
}

function ratio(timing: Timing, all: readonly Timing[]): number | null {
  const library = all.find((each) => each.library);
  return library === undefined ? null : Number((library.us_median / timing.us_median).toPrecision(3));
}

function printed(rows: readonly Row[]): string {
  const lines = rows.map((row) => [
    ...[row.layer, row.pass, row.variant, `${row.us_median}`, `${row.us_min} – ${row.us_p90}`],
    ...[`${row.tflops}`, `${row.gbs}`, row.cudnn_ratio === null ? '' : `${row.cudnn_ratio}`],
  ]);
  return table(['layer', 'pass', 'kernel', 'µs', 'fastest – slow', 'TFLOP/s', 'GB/s', 'cuDNN'], lines);
}

function parsePattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

function parsePasses(text: string): (typeof PASSES)[number][] {
  return text.split(',').map((word) => {
    const pass = PASSES.find((name) => name === word);
    if (pass !== undefined) return pass;
    throw new InvalidArgumentError(`A pass must be one of ${PASSES.join(', ')}, got "${word}".`);
  });
}

function parseRounds(text: string): number {
  const rounds = Number(text);
  if (/^\d+$/.test(text) && rounds >= 1 && rounds <= 10_000) return rounds;
  throw new InvalidArgumentError(`It must be a whole number from 1 to 10000, got "${text}".`);
}
