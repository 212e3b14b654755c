/** `fracstride bench`: how fast the layers of known networks are here, on this package's kernels and on cuDNN, or on the CPU beside its peaks. */

import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { EXIT, type Session } from '../../codegen/cli/session.js';
import { table } from '../../codegen/cli/table.js';
import { LAYOUTS, PASSES, type Problem } from '../../codegen/problem.js';
import { formatProblem, parseProblem } from '../../codegen/problem_text.js';
import { DTYPES, type Dtype } from '../../codegen/target.js';
import { circumstances, store } from '../bench/facts.js';
import { BENCH_LAYERS } from '../bench/layers.js';
import type { measure as Measured, Timing } from '../bench/measure.js';
import type { Roofline } from '../bench/roofline.js';
import { cudaDeviceInfo, resolveDevice } from '../device.js';
import { FracstrideError } from '../errors.js';
import { describeDevice, libraryVersions } from './devices.js';
import { parsePattern, upTo } from './values.js';

interface Options {
  device?: string;
  layer?: RegExp;
  pass: readonly Problem['pass'][];
  dtype: Dtype;
  layout: Problem['layout'];
  rounds: number;
  variants: 'chosen' | 'all';
  tf32?: true;
  threads?: readonly number[];
  store?: string;
  json?: true;
}

export function addBench(program: Command, session: Session): void {
  program
    .command('bench')
    .description('how fast the layers of known networks are here, beside cuDNN where there is one')
    .option('--device <device>', 'cpu, cuda or cuda:N (default: the best device that can run)')
    .option('--layer <pattern>', 'only layers whose name matches this regular expression', parsePattern)
    .option('--pass <list>', 'fwd, dgrad, wgrad and bgrad, separated by commas', parsePasses, [...PASSES])
    .addOption(new Option('--dtype <type>', 'element type').choices(DTYPES).default('float32'))
    .addOption(new Option('--layout <layout>', 'memory layout').choices(LAYOUTS).default('nchw'))
    .option('--rounds <count>', 'rounds that the median is of', upTo(10_000), 7)
    .addOption(new Option('--variants <which>', 'of this package').choices(['chosen', 'all']).default('chosen'))
    .option('--tf32', 'let cuDNN use TF32 for float32: faster and less exact than what it is compared with')
    .option(
      '--threads <list>',
      'numbers of CPU threads, separated by commas (default: as many as there are)',
      parseThreads,
    )
    .option('--store <file>', 'add the rows to a file, one JSON object a line')
    .option('--json', 'JSON on stdout: an array of rows')
    .addHelpText('after', HELP)
    .action((options: Options) => run(options, session));
}

const HELP = `
A time is the median of rounds in which the kernels of a problem take turns. A round is many launches that
are waited for once (a CUDA graph on a GPU), divided by their number; operands are copied as often as it takes
for a launch not to find its own in the device's cache. TFLOP/s counts every tap, and GB/s each tensor once. 'cuDNN' is its
time divided by that of this package: above 1, this package is faster.

On a CPU, '% peak' is GFLOP/s of every tap as a share of the multiply-adds that the threads can do in registers, measured
beside each layer; kernels that leave out taps or multiplications can exceed 100. 'roof' is the larger of the taps that
exist divided by that peak, and of the bytes divided by the speed of memory (a + 3 b with streaming stores, once a run):
'% roof' is the roof as a share of the time. Both are of the fastest round.

Examples:
  fracstride bench --device cuda --store bench.jsonl
  fracstride bench --layer 'dcgan|unet' --pass fwd --dtype float16 --layout nhwc
  fracstride bench --device cpu --layer fsrcnn --variants all --rounds 3 --json
  fracstride bench --device cpu --threads 1,2 --pass dgrad,wgrad,bgrad --store bench.jsonl`;

type Measurement = Timing & Partial<Roofline>;
type Measure = (...asked: Parameters<typeof Measured>) => Measurement[];

interface Row extends Timing, Partial<Roofline> {
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
  /** Of a CPU. */
  readonly threads?: number;
}

async function run(options: Options, session: Session): Promise<void> {
  const device = resolveDevice('bench', options.device).name;
  const layers = Object.entries(BENCH_LAYERS).filter(([name]) => options.layer?.test(name) ?? true);
  if (layers.length === 0) {
    const sentence = `bench: --layer must match one of ${Object.keys(BENCH_LAYERS).join(', ')}, got ${options.layer}`;
    throw new FracstrideError('ERR_ARGUMENT', sentence);
  }
  // The tensor API is loaded for the commands that run it, not for the others.
  const [{ measure }, { backends }, { besidePeaks }] = await Promise.all([
    import('../bench/measure.js'),
    import('../backends.js'),
    import('../bench/beside_peaks.js'),
  ]);
  backends.cudnn.allowTf32 = options.tf32 === true;
  const { text } = describeDevice(device);
  session.log(`${text}\n`);
  const facts = { tf32: options.tf32 === true, ...libraryVersions(device), ...circumstances() };
  const counts = device === 'cpu' ? (options.threads ?? [backends.cpu.threads]) : [null];
  const rows = counts.flatMap((threads) => {
    if (threads !== null) backends.cpu.threads = threads;
    const beside = threads === null ? null : besidePeaks(options.dtype);
    return layers.flatMap(([layer, words]) =>
      options.pass.flatMap((pass) => {
        const place = { layer, words, pass, device };
        const own = rowsOf(place, options, session, beside?.(measure) ?? measure).map((row) => ({
          ...row,
          ...facts,
          ...(threads === null ? {} : { threads, isa: backends.cpu.isa }),
        }));
        if (options.store !== undefined && own.length > 0) store(resolve(options.store), own);
        return own;
      }),
    );
  });
  if (options.json) session.write(`[\n${rows.map((row) => JSON.stringify(row)).join(',\n')}\n]\n`);
  else session.line(`${text}\n\n${printed(rows)}`);
}

interface Place {
  readonly layer: string;
  readonly words: string;
  readonly pass: Problem['pass'];
  readonly device: string;
}

/** The rows of one pass of one layer; what cannot run is told, and makes the command fail in the end. */
function rowsOf(place: Place, options: Options, session: Session, measure: Measure): Row[] {
  const { layer, words, pass, device } = place;
  const { dtype, layout, rounds, variants } = options;
  const problem = parseProblem(`${words} pass=${pass} dtype=${dtype} layout=${layout}`);
  const cacheBytes = cudaDeviceInfo(resolveDevice('bench', device).index - 1)?.l2CacheBytes ?? 0;
  const tell = (what: string): void => session.log(`${layer} ${pass}: ${what}\n`);
  const skip = (what: string, reason: string): void => {
    session.endWith(EXIT.failed);
    tell(`${what} cannot run here: ${reason}`);
  };
  const timings: Measurement[] = attempt(
    () => measure({ device, problem, rounds, variants, cacheBytes }, skip),
    (reason) => skip('this layer', reason),
  );
  const device_name = describeDevice(device).model;
  const common = {
    bench: 'layers',
    layer,
    problem: formatProblem(problem),
    pass,
    dtype,
    layout,
    device,
    device_name,
  } as const;
  for (const { variant, us_median } of timings) tell(`${variant} ${us_median} µs`);
  return timings.map((timing) => ({ ...common, ...timing, cudnn_ratio: ratio(timing, timings) }));
}

/** A layer that does not fit into memory is no reason not to measure the others. */
function attempt(work: () => Measurement[], skip: (reason: string) => void): Measurement[] {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof FracstrideError) || error.code !== 'ERR_OUT_OF_MEMORY') throw error;
    skip(error.message);
    return [];
  }
}

function ratio(timing: Timing, all: readonly Timing[]): number | null {
  const library = all.find((each) => each.library);
  return library === undefined ? null : Number((library.us_median / timing.us_median).toPrecision(3));
}

function printed(rows: readonly Row[]): string {
  return rows.some((row) => row.peak_gflops !== undefined) ? printedCpu(rows) : printedCuda(rows);
}

function printedCpu(rows: readonly Row[]): string {
  const percent = (share: number | undefined): string => (100 * (share ?? 0)).toFixed(0);
  const lines = rows.map((row) => [
    ...[row.layer, row.pass, row.variant, `${row.threads}`, `${row.us_min}`, `${row.us_median}`, `${row.gflops}`],
    ...[percent(row.peak_share), `${row.roof_us}`, percent(row.roof_share)],
  ]);
  const { threads, peak_gflops, triad_gbs, triad_streaming_gbs } = rows.at(-1)!;
  const memory = `memory ${triad_gbs} GB/s, streaming ${triad_streaming_gbs}`;
  const foot = `${threads} thread${threads === 1 ? '' : 's'}: peak ${peak_gflops} GFLOP/s, ${memory}`;
  const head = ['layer', 'pass', 'kernel', 'threads', 'µs', 'median', 'GFLOP/s', '% peak', 'roof µs', '% roof'];
  return `${table(head, lines)}\n\n${foot}`;
}

function printedCuda(rows: readonly Row[]): string {
  const lines = rows.map((row) => [
    ...[row.layer, row.pass, row.variant, `${row.us_median}`, `${row.us_min} – ${row.us_p90}`],
    ...[`${row.tflops}`, `${row.gbs}`, row.cudnn_ratio === null ? '' : `${row.cudnn_ratio}`],
  ]);
  return table(['layer', 'pass', 'kernel', 'µs', 'fastest – slow', 'TFLOP/s', 'GB/s', 'cuDNN'], lines);
}

function parsePasses(text: string): (typeof PASSES)[number][] {
  return text.split(',').map((word) => {
    const pass = PASSES.find((name) => name === word);
    if (pass !== undefined) return pass;
    throw new InvalidArgumentError(`A pass must be one of ${PASSES.join(', ')}, got "${word}".`);
  });
}

function parseThreads(text: string): number[] {
  return text.split(',').map((word) => {
    const count = Number(word);
    if (/^\d+$/.test(word) && count >= 1 && count <= 1024) return count;
    throw new InvalidArgumentError(`It must be whole numbers from 1 to 1024 with commas between, got "${text}".`);
  });
}
