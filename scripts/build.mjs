// Builds a clone, incrementally: TypeScript → dist, CPU sources and (with nvcc) CUDA images → build/generated,
// the addon → build/Release. A step runs when the digest of what it reads has changed since it last succeeded.
// `npm ci` comes here through `prepare`; nothing else runs node-gyp.
// usage: npm run build [-- --targets sm_80,sm_90,ptx]   the targets of the CUDA images that become part of the addon

import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { nodeHeaders } from './headers.mjs';
import { digest, files, missing, readStamps, root, versionOf, writeStamps } from './inputs.mjs';
import { listSources } from './list_sources.mjs';
import { withLock } from './lock.mjs';

const JOBS = availableParallelism();
const TREES = ['codegen', 'src', 'test', 'bench'];

const CLI = 'dist/src/bin.js';

/**
 * What is done, in order. `inputs` digests what a step reads; it runs when that differs from what it read when it last
 * succeeded, or when one of its outputs is not there.
 */
const STEPS = [
  { name: 'types', inputs: typeInputs, outputs: [CLI, 'dist/src/index.js'], work: compileTypes },
  { name: 'cpu sources', inputs: cpuInputs, outputs: ['build/generated/cpu'], work: generateCpuSources },
  { name: 'cuda images', inputs: cudaInputs, outputs: ['build/generated/cuda/images.cc'], work: generateCudaImages },
  { name: 'configure', inputs: configureInputs, outputs: ['build/Makefile'], work: configureAddon },
  { name: 'addon', inputs: addonInputs, outputs: ['build/Release/fracstride.node'], work: compileAddon },
];

/** PTX runs on every device, and takes no longer to make than the rest of a build. */
const DEFAULT_TARGETS = 'ptx';
let targets = DEFAULT_TARGETS;

/** Brings everything up to date; false when a step failed (the reason has been printed). */
export async function build({ targets: wanted = DEFAULT_TARGETS } = {}) {
  targets = wanted;
  const waiting = () => say('waiting for another build of this clone to finish');
  return withLock(join(root, 'build/build.lock'), waiting, async () => {
    // A step that fails does not keep the others from telling what they find.
    const results = [];
    for (const each of STEPS) results.push(await runStep(each));
    return results.every(Boolean);
  });
}

/** True when a build would do nothing. */
export async function isBuilt() {
  for (const step of STEPS) if (!(await isUpToDate(step, await step.inputs()))) return false;
  return true;
}

function isUpToDate({ name, outputs }, inputs) {
  return readStamps()[name] === inputs && missing(outputs).length === 0;
}

async function runStep(step) {
  const started = Date.now();
  // Taken before the work: what changes meanwhile has not been built.
  const inputs = await step.inputs();
  if (isUpToDate(step, inputs)) return true;
  say(`${step.name}: started`);
  if (!(await step.work(step))) {
    say(`${step.name}: failed`);
    return false;
  }
  writeStamps({ ...readStamps(), [step.name]: inputs });
  say(`${step.name}: done in ${((Date.now() - started) / 1000).toFixed(1)} s`);
  return true;
}

// The steps.

function typeInputs() {
  return digest(['tsconfig.json', ...TREES.flatMap((tree) => files(tree, '.ts'))], [versionOf('typescript')]);
}

async function compileTypes({ outputs }) {
  removeOrphans();
  // tsc believes its notes, not the folder.
  if (missing(outputs).length > 0) fs.rmSync(join(root, 'dist/tsconfig.tsbuildinfo'), { force: true });
  const tsc = join('node_modules', 'typescript', 'bin', 'tsc');
  const typed = await run('types', [tsc, '-p', 'tsconfig.json'], { show: true });
  linkCommand();
  return typed;
}

/** A test or module whose source is gone must not live on in dist. */
function removeOrphans() {
  for (const tree of TREES) {
    for (const file of files(`dist/${tree}`, '')) {
      const source = relative('dist', file).replace(/(\.d\.ts|\.js)(\.map)?$/, '.ts');
      if (!fs.existsSync(join(root, source))) fs.rmSync(join(root, file));
    }
  }
}

function cpuInputs() {
  return digest([...files('dist/codegen', '.js'), ...files('templates', '.cpp.njk')]);
}

function generateCpuSources() {
  return run('cpu sources', ['scripts/generate.mjs', 'cpu'], { show: true });
}

async function cudaInputs() {
  if (missing([CLI]).length > 0) return 'nothing compiled yet';
  let compiler = '';
  await run('cuda compiler', ['scripts/generate.mjs', 'compiler'], { onLine: (line) => (compiler += line) });
  // The folder's place is part of what is generated.
  return digest([...files('dist/codegen', '.js'), ...files('templates', '.cu.njk')], [compiler, root, targets]);
}

function generateCudaImages() {
  return run('cuda images', ['scripts/generate.mjs', 'cuda', targets], { show: true });
}

function configureInputs() {
  const sources = ['main', 'baseline', 'avx2', 'avx512'].flatMap((target) => [target, ...listSources(target)]);
  return digest(['binding.gyp'], [...sources, process.version, process.arch, String(nodeHeaders())]);
}

async function configureAddon() {
  return run('configure', nodeGyp('configure'));
}

function addonInputs() {
  const sources = ['cuda', 'cpu', 'build/generated'].flatMap((folder) => files(folder, ''));
  return digest(['binding.gyp', ...sources], [process.version]);
}

async function compileAddon() {
  return run('addon', nodeGyp('build', '-j', String(JOBS)), { onLine: compileProgress() });
}

/** Prints how many objects are compiled, at most once every few seconds. */
function compileProgress() {
  let count = 0;
  let told = Date.now();
  return (line) => {
    if (!/^\s*(CXX|CC)\(/.test(line)) return;
    count += 1;
    if (Date.now() - told < 10_000) return;
    told = Date.now();
    say(`addon: ${count} files compiled`);
  };
}

function nodeGyp(...args) {
  const headers = nodeHeaders();
  return [
    join('node_modules', 'node-gyp', 'bin', 'node-gyp.js'),
    ...args,
    ...(headers ? [`--nodedir=${headers}`] : []),
  ];
}

/** Makes `npx fracstride` work in the clone itself: npm links the commands of dependencies only. */
function linkCommand() {
  const target = join(root, CLI);
  const link = join(root, 'node_modules/.bin/fracstride');
  if (!fs.existsSync(target) || process.platform === 'win32') return;
  fs.chmodSync(target, 0o755);
  const wanted = join('../..', CLI);
  if (!fs.existsSync(dirname(link)) || linkTarget(link) === wanted) return;
  fs.rmSync(link, { force: true });
  fs.symlinkSync(wanted, link);
}

function linkTarget(link) {
  try {
    return fs.readlinkSync(link);
  } catch {
    return undefined;
  }
}

// Running steps.

/** Runs a Node program; its output is shown when asked for or when it fails. */
function run(name, args, { show = false, onLine = () => {} } = {}) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let rest = '';
    const take = (chunk) => {
      output += chunk;
      rest += chunk;
      const lines = rest.split('\n');
      rest = lines.pop();
      for (const line of lines) onLine(line);
    };
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr.setEncoding('utf8').on('data', take);
    child.on('error', (error) => take(`${error.message}\n`));
    child.on('close', (code) => {
      if ((show || code !== 0) && output !== '') process.stderr.write(output.endsWith('\n') ? output : `${output}\n`);
      if (code !== 0) say(`${name}: the command was node ${args.join(' ')}`);
      resolve(code === 0);
    });
  });
}

function say(text) {
  process.stderr.write(`[build] ${text}\n`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({ options: { targets: { type: 'string', default: DEFAULT_TARGETS } } });
  process.exitCode = (await build(values)) ? 0 : 1;
}
