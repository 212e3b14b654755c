/** `fracstride build`: compiles a set of kernels into the cache, or tells whether that is needed. */

import { availableParallelism } from 'node:os';
import { type Command, Option } from 'commander';
import { type BuildProgress, type BuildReport, type PlannedKernel, planBuild, runBuild } from '../build.js';
import { writeCpuSources } from '../cpu_sources.js';
import { FracstrideError } from '../errors.js';
import { specsFor } from '../presets.js';
import { untilSignal } from '../processes.js';
import { type BrokenKernel, defaultStoreDirectory, openStore } from '../store.js';
import type { Target } from '../target.js';
import { type Compiler, type ImageFormat, removeTemporaryFolder } from '../toolchain.js';
import { itemsOf, parseFormats, parseJobs, targetsOption } from './arguments.js';
import { cloneBuildFolder } from './package.js';
import { EXIT, type Session } from './session.js';
import { compilerOf, type Tools } from './tools.js';

interface Options {
  target: Target[];
  jobs: number;
  check?: true;
  dryRun?: true;
  out?: string;
  format?: ImageFormat[];
  compiler?: string;
  json?: true;
}

export function addBuild(program: Command, session: Session, tools: Tools): void {
  program
    .command('build')
    .description('compile kernels into the cache: several at a time, only what is not there yet')
    .argument('[config]', 'a preset (default, full), a file with a list, a problem or a kernel name', 'default')
    .addOption(targetsOption())
    .option('--format <list>', 'cubin, ptx or both for targets sm_NN (default: cubin)', parseFormats)
    .addOption(compilerOption(tools))
    .option('--jobs <n>', 'compilations at a time', parseJobs, availableParallelism())
    .option('--check', 'compile nothing; exit code 3 when a kernel is missing')
    .option('--dry-run', 'compile nothing; tell what would be done')
    .option('--out <folder>', 'where the sources of --target cpu go')
    .option('--json', 'the report as JSON on stdout')
    .addHelpText('after', HELP)
    .action(async (config: string, options: Options) => {
      const targets = options.target.filter((target) => target.kind !== 'cpu');
      if (targets.length < options.target.length) writeCpu(options, session);
      if (targets.length > 0) await buildCuda(itemsOf(config), targets, options, { session, tools });
    });
}

const HELP = `
The list of a file is an array in JSON of problems (as text or objects) and kernel names, or has one of them a
line, as 'fracstride record' writes it:
  ["convT2d n=16 c=256 k=128 h=8 w=8 r=4 stride=2 padding=1", "ct2d_fwd_f32_nchw__gather", "add_f32__pointwise"]

Examples:
  fracstride build                              the default set, as PTX
  fracstride build full --target sm_80,sm_90    the full set for two architectures
  fracstride build list.json --check            exit code 3 when something is missing
  fracstride build --target cpu                 the sources of the CPU kernels`;

function compilerOption({ compilers }: Tools): Option {
  const names = Object.keys(compilers);
  return new Option('--compiler <name>', `${names.join(' or ')} (default: the first that is there)`).choices(names);
}

async function buildCuda(
  items: readonly string[],
  targets: Target[],
  options: Options,
  { session, tools }: { session: Session; tools: Tools },
) {
  const onBroken = ({ entry, reason }: BrokenKernel) => session.log(`moved aside ${entry}: ${reason}\n`);
  const store = openStore(defaultStoreDirectory(), { onBroken });
  const compiler = findCompiler(options, session, tools);
  if (compiler === null) return;
  const plan = planBuild(specsFor(items, targets), { store, compiler }, options.format);
  if (options.check || options.dryRun) {
    reportPlan(plan, options, session);
    return;
  }
  store.prune();
  const progress = options.json ? () => {} : progressLines(session);
  const started = () => runBuild(plan, { store, compiler }, { jobs: options.jobs, progress });
  const report = await untilSignal(started, removeTemporaryFolder);
  reportBuild(report, store.directory, options, session);
}

/** No compiler is no kernel that failed: exit code 1. */
function findCompiler(options: Options, session: Session, tools: Tools): Compiler | null {
  try {
    return compilerOf(tools, options.compiler);
  } catch (error) {
    session.fail(error, options.json === true);
    session.exitCode = EXIT.failed;
    return null;
  }
}

function reportPlan(plan: readonly PlannedKernel[], options: Options, session: Session): void {
  const rows = plan.map(({ name, format, key, stored }) => ({
    name,
    format,
    key,
    state: stored === null ? 'missing' : 'present',
  }));
  const missing = rows.filter((row) => row.state === 'missing');
  if (options.check && missing.length > 0) session.exitCode = EXIT.stale;
  if (options.json) {
    session.json({ kernels: rows, missing: missing.length });
    return;
  }
  for (const row of options.check ? missing : rows) session.line(`${row.state.padEnd(8)} ${row.name}`);
  session.line(`${missing.length} of ${rows.length} kernels are missing`);
}

function reportBuild(report: BuildReport, directory: string, options: Options, session: Session): void {
  const failed = report.kernels.filter((kernel) => kernel.state === 'failed');
  if (failed.length > 0) session.exitCode = EXIT.compile;
  for (const kernel of failed) session.log(`${kernel.error}\n`);
  if (options.json) {
    session.json({ ...report, kernels: report.kernels.map(reportRow), directory });
    return;
  }
  const { built, reused, seconds } = report;
  session.line(
    `${built} built, ${reused} already there, ${failed.length} failed in ${seconds.toFixed(1)} s: ${directory}`,
  );
}

function reportRow({ name, state, seconds, kernel, error }: BuildReport['kernels'][number]) {
  const resources = kernel?.meta.resources ?? null;
  return { name, state, seconds, key: kernel?.key ?? null, bytes: kernel?.meta.image.bytes ?? null, resources, error };
}

/** A bar that is drawn over on a terminal, a line a kernel elsewhere; silent about what was there already. */
function progressLines(session: Session): (step: BuildProgress) => void {
  return ({ done, total, kernel }) => {
    const count = `${String(done).padStart(String(total).length)}/${total}`;
    if (session.interactive) {
      const bar = '#'.repeat(Math.round((24 * done) / total)).padEnd(24, '.');
      session.log(`\r[${bar}] ${count} ${kernel.name.slice(0, 60)}\u001b[K${done === total ? '\n' : ''}`);
    } else if (kernel.state !== 'reused') {
      session.log(`${count} ${kernel.state} ${kernel.name} in ${kernel.seconds.toFixed(1)} s\n`);
    }
  };
}

function writeCpu(options: Options, session: Session): void {
  const folder = options.out ?? cloneBuildFolder('generated/cpu');
  if (folder === null) {
    throw new FracstrideError('ERR_ARGUMENT', 'build: --out must be given with --target cpu outside a clone, got none');
  }
  const names = writeCpuSources(folder);
  session.log(`${names.length} CPU sources written to ${folder}\n`);
}
