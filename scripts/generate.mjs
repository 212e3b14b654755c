// What the compiled generator makes for a build, in a process of its own: a build compiles the generator first, and a
// process keeps the modules that it has read.
// usage: node scripts/generate.mjs cpu | cuda <targets> | compiler

import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { writeCpuSources } from '../dist/codegen/cpu_sources.js';
import { nvcc } from '../dist/codegen/toolchain.js';
import { root } from './inputs.mjs';

const COMMANDS = { cpu, cuda, compiler: () => console.log(cudaCompiler()?.id ?? 'none') };

await COMMANDS[process.argv[2]](...process.argv.slice(3));

function cpu() {
  writeCpuSources(join(root, 'build/generated/cpu'));
}

/** The default preset for these targets, through the same pipeline and in the same kind of store as `fracstride build`. */
async function cuda(targets) {
  const [{ planBuild, runBuild }, { PRESETS, specsFor }, { openStore }, { writeEmbeddedImages }, { parseTargets }] =
    await Promise.all(
      ['build', 'presets', 'store', 'embed', 'cli/arguments'].map((name) => import(`../dist/codegen/${name}.js`)),
    );
  const folder = join(root, 'build/generated/cuda');
  // Whoever owns the clone could change what runs anyway.
  const store = openStore(join(root, 'build/kernels'), { owner: statSync(root).uid });
  const compiler = cudaCompiler();
  if (compiler === undefined) {
    say('no working nvcc on PATH or in CUDA_HOME, so none are built in');
    writeEmbeddedImages([], store, folder);
    return;
  }
  store.prune();
  const place = { store, compiler };
  const plan = planBuild(specsFor(PRESETS.default, parseTargets(targets)), place);
  const report = await runBuild(plan, place, { jobs: availableParallelism() });
  for (const kernel of report.kernels.filter((each) => each.state === 'failed')) say(kernel.error);
  const made = report.kernels.flatMap(({ kernel }) => kernel ?? []);
  writeEmbeddedImages(made, store, folder);
  // A compiler that does not work is no reason to be without the rest; `npm run resources` fails on it.
  const left = report.failed > 0 ? `, ${report.failed} did not compile and are left out` : '';
  say(`${report.built} kernels compiled with ${compiler.id}, ${report.reused} there already${left}`);
}

/** Undefined where there is none, and where it does not run: that is no reason to be without the rest. */
function cudaCompiler() {
  try {
    return nvcc();
  } catch {
    return undefined;
  }
}

function say(text) {
  console.error(`[build] cuda images: ${text}`);
}
