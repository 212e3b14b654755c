/** `fracstride tune`: times kernels on a device and keeps the fastest for whoever asks for that problem from then on. */

import { readFileSync, writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { EXIT, type Session } from '../../codegen/cli/session.js';
import { table } from '../../codegen/cli/table.js';
import { isKernelName, PRESETS } from '../../codegen/presets.js';
import type { Problem } from '../../codegen/problem.js';
import { formatProblem, parseProblem } from '../../codegen/problem_text.js';
import { BENCH_LAYERS } from '../bench/layers.js';
import { resolveDevice } from '../device.js';
import { FracstrideError, show } from '../errors.js';
import { describeDevice, deviceOption } from './devices.js';
import { parsePattern, upTo } from './values.js';

interface Options {
  device?: string;
  layers?: RegExp;
  most: number;
  import?: string;
  export?: string;
  tf32?: true;
  json?: true;
}

export function addTune(program: Command, session: Session): void {
  program
    .command('tune')
    .description('time kernels on a device and keep the fastest of each problem for all that follow')
    .argument('[items...]', `problems as text, or presets: ${Object.keys(PRESETS).join(', ')}`)
    .addOption(deviceOption('the best device that can run'))
    .option('--layers <pattern>', 'forward and gradients of the layers of bench whose name matches', parsePattern)
    .option('--most <count>', 'candidates of a problem, beside one of each variant', upTo(1000), 8)
    .option('--import <file>', 'first keep what another machine with the same model of device exported')
    .option('--export <file>', 'write all that is kept to a file')
    .option('--tf32', 'let cuDNN use TF32 for float32')
    .option('--json', 'JSON on stdout')
    .addHelpText('after', HELP)
    .action((items: string[], options: Options) => run(items, options, session));
}

const HELP = `
What is found stands in the kernel cache, by model of device and problem, and is used instead of the catalogue's
order of costs wherever that problem comes up. A problem that is tuned again is found anew. Kernels of this package are
deterministic, so a tuned one is taken under useDeterministicAlgorithms too; one of cuDNN's only under
the settings and the version that it was timed with. 'fracstride cache clear' forgets everything.

Examples:
  fracstride tune 'convT2d n=16 c=256 k=128 h=8 w=8 r=4 stride=2 padding=1'
  fracstride tune default --device cuda --export tunings.json
  fracstride tune --layers 'dcgan|unet' --device cpu --most 4
  fracstride tune --import tunings.json`;

async function run(items: readonly string[], options: Options, session: Session): Promise<void> {
  const problems = problemsOf(items, options.layers);
  if (problems.length === 0 && options.import === undefined && options.export === undefined) {
    const rule = 'problems or presets, or --layers, --import or --export must be given';
    throw new FracstrideError('ERR_ARGUMENT', `tune: ${rule}, got none of them`);
  }
  // The tensor API is loaded for the commands that run it, not for the others.
  const [{ tune }, { backends }, { exportTunings, importTunings }] = await Promise.all([
    import('../bench/tune.js'),
    import('../backends.js'),
    import('../tunings.js'),
  ]);
  const imported = options.import === undefined ? null : importTunings(read(options.import), options.import);
  if (imported !== null) session.log(`tune: kept ${imported.kept}, ${imported.others} are of other devices\n`);
  backends.cudnn.allowTf32 = options.tf32 === true || backends.cudnn.allowTf32;
  const device = problems.length > 0 ? resolveDevice('tune', options.device) : null;
  if (device !== null) session.log(`${describeDevice(device.name).text}\n`);
  const rows = problems.map((problem) => {
    const { microseconds, fastest, expected, kept } = tune(device!, problem, options.most);
    const text = formatProblem(problem);
    session.log(`${text}: ${fastest ?? 'nothing ran'}\n`);
    if (!kept) session.endWith(EXIT.failed);
    const speedup = fastest === null ? null : microseconds[expected!]! / microseconds[fastest]!;
    return { problem: text, device: device!.name, fastest, expected, speedup, kept, microseconds };
  });
  const exported = options.export === undefined ? null : exportTunings();
  if (exported !== null) write(options.export!, exported.text);
  if (options.json) session.json({ imported, tuned: rows, exported: exported?.count ?? null });
  else {
    if (rows.length > 0) session.line(printed(rows));
    if (exported !== null) session.line(`${exported.count} tunings written to ${options.export}`);
  }
}

type Row = {
  problem: string;
  fastest: string | null;
  expected: string | null;
  speedup: number | null;
  kept: boolean;
} & {
  microseconds: Readonly<Record<string, number>>;
};

function printed(rows: readonly Row[]): string {
  const lines = rows.map(({ problem, fastest, expected, speedup, kept, microseconds }) => [
    ...[problem, fastest ?? 'nothing ran', fastest === null ? '' : microseconds[fastest]!.toFixed(1)],
    ...[expected ?? '', speedup === null ? '' : speedup.toFixed(2), kept ? 'kept' : 'not kept'],
  ]);
  return table(['problem', 'fastest', 'µs', 'expected', 'times faster', ''], lines);
}

/** Problems of texts and presets, each once; kernel names in presets stand for no problem. */
function problemsOf(items: readonly string[], layers: RegExp | undefined): Problem[] {
  const texts = items.flatMap((item) => {
    if (!Object.hasOwn(PRESETS, item)) return [item];
    return PRESETS[item]!.filter((each) => !isKernelName(each));
  });
  const named = Object.entries(BENCH_LAYERS).filter(([name]) => layers?.test(name));
  if (layers !== undefined && named.length === 0) {
    const sentence = `tune: --layers must match one of ${Object.keys(BENCH_LAYERS).join(', ')}, got ${layers}`;
    throw new FracstrideError('ERR_ARGUMENT', sentence);
  }
  const passes = ['fwd', 'dgrad', 'wgrad', 'bgrad'];
  const asked = [...texts, ...named.flatMap(([, layer]) => passes.map((pass) => `${layer} pass=${pass}`))];
  const problems = asked.map(parseProblem).map((problem) => [formatProblem(problem), problem] as const);
  return [...new Map(problems).values()];
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const sentence = `tune: --import must be a file that can be read, got ${show(file)}: ${(error as Error).message}`;
    throw new FracstrideError('ERR_ARGUMENT', sentence);
  }
}

function write(file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (error) {
    const sentence = `tune: --export must be a file that can be written, got ${show(file)}: ${(error as Error).message}`;
    throw new FracstrideError('ERR_ARGUMENT', sentence);
  }
}
