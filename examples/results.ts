/** What both networks' runs have in common: the measured facts, the settings, the files. */

import { mkdir, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { memory, type nn } from 'fracstride';
import type { Options } from './options.js';
import { duration } from './progress.js';
import type { Table } from './report.js';

export interface Run {
  readonly options: Options;
  readonly steps: number;
  /** Of the training, evaluations included. */
  readonly milliseconds: number;
  /** The device that 'auto' came to. */
  readonly device: string;
  readonly parameters: number;
  readonly peakBytes: number;
}

export function stepsOf(options: Options, trainingPictures: number): number {
  return options.steps || Math.ceil((options.epochs * trainingPictures) / options.batch);
}

/** Starts the clock; call what it returns, with the trained modules, to stop it. */
export function startRun(options: Options, steps: number): (...models: readonly nn.Module[]) => Run {
  const started = performance.now();
  return (...models) => {
    const parameters = models.flatMap((model) => model.parameters());
    const device = parameters[0]!.device;
    return {
      options,
      steps,
      milliseconds: performance.now() - started,
      device,
      parameters: parameters.reduce((sum, parameter) => sum + parameter.numel(), 0),
      peakBytes: memory()[device]?.peak ?? 0,
    };
  };
}

export function factsOf(run: Run): Table {
  const rate = (run.steps * run.options.batch * 1000) / run.milliseconds;
  return [
    ['Training time', duration(run.milliseconds)],
    ['Pictures a second', rate.toFixed(0)],
    ['Device', run.device],
    ['Peak tensor memory', `${(run.peakBytes / 2 ** 20).toFixed(0)} MiB`],
  ];
}

export function settingsOf(run: Run): Table {
  const { options, steps, parameters } = run;
  return [
    ['parameters', parameters.toLocaleString('en')],
    ['steps', `${steps} of ${options.batch} pictures`],
    ['seed', String(options.seed)],
    ['device', `${run.device} (asked for: ${options.device})`],
    ['Node.js', `${process.version} on ${process.platform}-${process.arch}`],
  ];
}

/** The command that repeats a run. */
export function commandOf({ options, steps }: Run): string {
  const gan = options.gan ? ['--gan'] : [];
  const images = options.images > 0 ? [`--images ${options.images}`] : [];
  const rest = [`--steps ${steps}`, `--batch ${options.batch}`, `--seed ${options.seed}`, `--device ${options.device}`];
  return ['npm run demo --', ...gan, ...images, ...rest].join(' ');
}

/** Writes files into a folder, which is made, and says where they are. */
export async function writeFiles(folder: string, files: Readonly<Record<string, Uint8Array | string>>): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    await writeFile(path, content);
    console.log(`wrote ${relative(process.env.INIT_CWD ?? process.cwd(), path)}`);
  }
}
