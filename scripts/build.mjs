// Builds a clone, incrementally: TypeScript → dist, CPU sources and (with nvcc) CUDA images → build/generated,
// the addon → build/Release. A step runs when the digest of what it reads has changed since it last succeeded.
// `npm ci` comes here through `prepare`; nothing else runs node-gyp.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { listSources } from './list_sources.mjs';
import { withLock } from './lock.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const stampFile = join(root, 'build/stamps.json');
const JOBS = availableParallelism();
const TREES = ['codegen', 'src', 'test', 'bench'];

/** Brings everything up to date; false when a step failed (the reason has been printed). */
export async function build() {
  const waiting = () => say('waiting for another build of this clone to finish');
  return withLock(join(root, 'build/build.lock'), waiting, async () => {
    // A step that fails does not keep the others from telling what they find.
    const results = [await step('types', typeInputs(), compileTypes)];
    linkCommand();
    results.push(await step('cpu sources', generatorInputs('.cpp.njk'), generateCpuSources));
    results.push(await step('cuda images', cudaInputs(), generateCudaImages));
    results.push(await step('configure', configureInputs(), configureAddon));
    results.push(await step('addon', addonInputs(), compileAddon));
    return results.every(Boolean);
  });
}

/** True when a build would do nothing. */
export async function isBuilt() {
  const stamps = readStamps();
  const steps = {
    types: typeInputs(),
    'cpu sources': generatorInputs('.cpp.njk'),
    'cuda images': cudaInputs(),
    configure: configureInputs(),
    addon: addonInputs(),
  };
  for (const [name, inputs] of Object.entries(steps)) if (stamps[name] !== (await inputs())) return false;
  return true;
}

// The steps: what each reads (as a function that returns a digest, or a promise of one), and what it does.

function typeInputs() {
  const needed = ['dist/codegen/errors.js'];
  return () =>
    digest(
      ['tsconfig.json', ...TREES.flatMap((tree) => files(tree, '.ts'))],
      [...missing(needed), lockOf('typescript')],
    );
}

async function compileTypes() {
  removeOrphans();
  return run('types', [join('node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.json'], { show: true });
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

function generatorInputs(templates) {
  return () =>
    digest([
      ...files('dist/codegen', '.js'),
      ...files('templates', '').filter((f) => f.endsWith(templates) || f.startsWith('templates/lib')),
    ]);
}

async function generateCpuSources() {
  const { writeCpuSources } = await fromDist('codegen/cpu_sources.js');
  writeCpuSources(join(root, 'build/generated/cpu'));
  return true;
}

function cudaInputs() {
  return async () => {
    if (missing(['dist/codegen/toolchain.js']).length > 0) return 'unknown';
    const compiler = await cudaCompiler();
    const generator = [
      ...files('dist/codegen', '.js'),
      ...files('templates', '').filter((file) => file.includes('cu')),
    ];
    return digest(generator, [compiler?.id ?? 'none', root, ...missing(['build/generated/cuda/images.cc'])]);
  };
}

async function cudaCompiler() {
  const { findNvcc, nvcc } = await fromDist('codegen/toolchain.js');
  return findNvcc() === null ? undefined : nvcc();
}

/** The default preset, through the same pipeline and in the same kind of store as `fracstride build`. */
async function generateCudaImages() {
  const [{ planBuild, runBuild }, { DEFAULT_TARGETS, PRESETS, specsFor }, { openStore }, { writeEmbeddedImages }] =
    await Promise.all(['build', 'presets', 'store', 'embed'].map((name) => fromDist(`codegen/${name}.js`)));
  const folder = join(root, 'build/generated/cuda');
  const store = openStore(join(root, 'build/kernels'));
  const compiler = await cudaCompiler();
  if (compiler === undefined) {
    say('cuda images: no nvcc on PATH or in CUDA_HOME, so none are built in');
    writeEmbeddedImages([], store, folder);
    return true;
  }
  store.prune();
  const place = { store, compiler };
  const plan = planBuild(specsFor(PRESETS.default, DEFAULT_TARGETS), place);
  say(`cuda images: ${plan.filter((kernel) => kernel.stored === null).length} kernels to compile with ${compiler.id}`);
  const report = await runBuild(plan, place, { jobs: JOBS });
  for (const kernel of report.kernels.filter((each) => each.state === 'failed')) say(kernel.error);
  writeEmbeddedImages(
    report.kernels.flatMap(({ kernel }) => kernel ?? []),
    store,
    folder,
  );
  // A compiler that does not work is no reason to be without the rest; `npm run resources` fails on it.
  if (report.failed > 0) say(`cuda images: ${report.failed} kernels did not compile and are left out`);
  return true;
}

function configureInputs() {
  const targets = ['main', 'baseline', 'avx2', 'avx512'];
  const lists = () => targets.flatMap((target) => [target, ...listSources(target)]);
  return () =>
    digest(
      ['binding.gyp'],
      [...lists(), process.version, process.arch, String(nodeHeaders()), ...missing(['build/Makefile'])],
    );
}

async function configureAddon() {
  return run('configure', nodeGyp('configure'));
}

function addonInputs() {
  const sources = () => ['cuda', 'cpu', 'build/generated'].flatMap((folder) => files(folder, ''));
  return () => digest(['binding.gyp', ...sources()], [process.version, ...missing(['build/Release/fracstride.node'])]);
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

/** Where npm says the headers of this Node are, else the headers installed beside it: a build needs no network then. */
function nodeHeaders() {
  if (process.env.npm_config_nodedir) return process.env.npm_config_nodedir;
  const prefix = join(dirname(fs.realpathSync(process.execPath)), '..');
  const version = join(prefix, 'include', 'node', 'node_version.h');
  if (!fs.existsSync(version)) return undefined;
  const text = fs.readFileSync(version, 'utf8');
  const part = (name) => new RegExp(`define NODE_${name}_VERSION (\\d+)`).exec(text)?.[1];
  return `v${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}` === process.version ? prefix : undefined;
}

/** Makes `npx fracstride` work in the clone itself: npm links the commands of dependencies only. */
function linkCommand() {
  const target = join(root, 'dist/codegen/cli.js');
  const link = join(root, 'node_modules/.bin/fracstride');
  if (!fs.existsSync(target) || process.platform === 'win32') return;
  fs.chmodSync(target, 0o755);
  if (fs.existsSync(link) || !fs.existsSync(dirname(link))) return;
  fs.rmSync(link, { force: true });
  fs.symlinkSync('../../dist/codegen/cli.js', link);
}

// Running steps.

async function step(name, inputs, work) {
  const before = await inputs();
  if (readStamps()[name] === before) return true;
  const started = Date.now();
  say(`${name}: started`);
  if (!(await attempt(work))) {
    say(`${name}: failed`);
    return false;
  }
  // What a step makes may be part of its own key (a missing output is), so the digest is taken again.
  writeStamps({ ...readStamps(), [name]: await inputs() });
  say(`${name}: done in ${((Date.now() - started) / 1000).toFixed(1)} s`);
  return true;
}

async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    say(error.message);
    return false;
  }
}

/** What the compiled part of this package exports. */
function fromDist(path) {
  return import(pathToFileURL(join(root, 'dist', path)).href);
}

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

// Files and digests; all paths are relative to the package root.

function files(folder, ending) {
  const absolute = join(root, folder);
  if (!fs.existsSync(absolute)) return [];
  const entries = fs.readdirSync(absolute, { recursive: true, withFileTypes: true });
  const found = entries.filter((entry) => entry.isFile() && entry.name.endsWith(ending));
  return found.map((entry) => relative(root, join(entry.parentPath, entry.name))).sort();
}

function digest(paths, words = []) {
  const hash = createHash('sha256');
  for (const path of paths)
    hash
      .update(`${path}\0`)
      .update(fs.readFileSync(join(root, path)))
      .update('\0');
  return hash.update(words.join('\0')).digest('hex');
}

function missing(outputs) {
  return outputs.filter((path) => !fs.existsSync(join(root, path)));
}

/** Version of an installed package. */
function lockOf(name) {
  const file = join(root, 'node_modules', name, 'package.json');
  return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')).version : 'absent';
}

function readStamps() {
  try {
    return JSON.parse(fs.readFileSync(stampFile, 'utf8'));
  } catch {
    return {};
  }
}

function writeStamps(stamps) {
  fs.mkdirSync(dirname(stampFile), { recursive: true });
  const temporary = `${stampFile}.${process.pid}`;
  fs.writeFileSync(temporary, `${JSON.stringify(stamps, null, 2)}\n`);
  fs.renameSync(temporary, stampFile);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = (await build()) ? 0 : 1;
}
