// Builds the CUDA simulator (simulator/README.md) → build/simulator: libcuda.so.1, libcudnn.so.9, libcuda_null.so and
// the control addon.
// usage: node scripts/simulator.mjs [--sanitize] [--check]; CXX names the compiler. With --sanitize into
// build/simulator-sanitize, with the address and undefined-behaviour sanitizers; with --check the scenarios of
// the driver's and libcudnn's tests run on what was built. A file is compiled when what it reads has changed.

import { execFile, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { nodeHeaders } from './headers.mjs';
import { digest, files, missing, root } from './inputs.mjs';
import { withLock } from './lock.mjs';

const COMPILER = process.env.CXX ?? 'g++';
const COMMON = ['-std=c++20', '-O3', '-fPIC', '-fvisibility=hidden', '-pthread', '-Wall', '-Wextra', '-I.'];
// What a kernel computes must not depend on what the compiler of the simulator likes to contract.
const EXACT = ['-ffp-contract=off', '-fno-strict-aliasing'];
const SANITIZE = [
  '-g',
  '-O1',
  '-fno-omit-frame-pointer',
  '-fsanitize=address,undefined',
  '-fno-sanitize-recover=undefined',
];
const ADDON = ['control.cc'];
const NULL_DRIVER = ['null.cc', 'null_default.cc'];
// Beside cudnn*.cc: what both libraries use.
const CUDNN_TOO = ['floats.cc', 'symbols.cc'];

/** Brings the simulator up to date; false when it could not be compiled (the reason has been printed). */
export async function buildSimulator({ sanitize = false } = {}) {
  const folder = sanitize ? 'build/simulator-sanitize' : 'build/simulator';
  fs.mkdirSync(join(root, folder, 'objects'), { recursive: true });
  const waiting = () => say('waiting for another build of the simulator to finish');
  return withLock(join(root, folder, 'build.lock'), waiting, () => update(folder, sanitize));
}

async function update(folder, sanitize) {
  const started = Date.now();
  const flags = [...COMMON, ...EXACT, ...machineFlags(), ...(sanitize ? SANITIZE : [])];
  const sources = files('simulator', '.cc').filter((file) => dirname(file) === 'simulator');
  const words = [COMPILER, ...flags, process.version];
  const stamps = readStamps(folder);
  const objects = sources.map((source) => {
    const object = `${folder}/objects/${basename(source, '.cc')}.o`;
    return { source, object, stamp: digest(readBy(source, object), words) };
  });
  const stale = objects.filter(({ object, stamp }) => stamps[object] !== stamp || missing([object]).length > 0);
  const unlinked = () => {
    const libraries = librariesOf(folder, objects);
    return libraries.filter(({ path, stamp }) => stamps[path] !== stamp || missing([path]).length > 0);
  };
  if (stale.length === 0 && unlinked().length === 0) return true;
  say(`${folder}: compiling ${stale.length} of ${sources.length} files`);
  const compiled = await eachOf(stale, async (each) => {
    const include = ADDON.includes(basename(each.source)) ? addonFlags() : [];
    const done = await run(COMPILER, [...flags, ...include, '-MMD', '-c', each.source, '-o', each.object]);
    // What it read is known only now.
    each.stamp = done ? digest(readBy(each.source, each.object), words) : '';
    if (done) stamps[each.object] = each.stamp;
    return done;
  });
  const ok = compiled && (await link(unlinked(), stamps, sanitize));
  fs.writeFileSync(join(root, folder, 'stamps.json'), JSON.stringify(stamps, null, 2));
  say(`${folder}: ${ok ? 'done' : 'failed'} in ${((Date.now() - started) / 1000).toFixed(1)} s`);
  return ok;
}

/** The files of this clone that a source read when it was last compiled. */
function readBy(source, object) {
  const notes = join(root, object.replace(/\.o$/, '.d'));
  if (!fs.existsSync(notes)) return [source];
  const names = fs
    .readFileSync(notes, 'utf8')
    .replace(/^[^:]*:|\\\n/g, ' ')
    .split(/\s+/);
  const own = names.filter((name) => name.startsWith('simulator/') && fs.existsSync(join(root, name)));
  return [source, ...own.filter((name) => name !== source).sort()];
}

function librariesOf(folder, objects) {
  const library = (name, wanted, args = []) => {
    const members = objects.filter(({ source }) => wanted(basename(source)));
    return {
      path: `${folder}/${name}`,
      args: [...members.map(({ object }) => object), ...args],
      stamp: members.map(({ stamp }) => stamp).join(' '),
    };
  };
  const cudnn = (file) => file.startsWith('cudnn');
  const own = (file) => !ADDON.includes(file) && !NULL_DRIVER.includes(file) && !cudnn(file);
  // Streams have threads of their own, so what runs in them must stay once it is loaded.
  const shared = (name) => [`-Wl,-soname,${name}`, '-Wl,-z,nodelete', '-Wl,-Bsymbolic', '-Wl,-z,defs', '-ldl'];
  return [
    library('libcuda.so.1', own, shared('libcuda.so.1')),
    library('libcudnn.so.9', (file) => cudnn(file) || CUDNN_TOO.includes(file), shared('libcudnn.so.9')),
    library('libcuda_null.so', (file) => NULL_DRIVER.includes(file), ['-Wl,-z,nodelete', '-Wl,-Bsymbolic']),
    library('control.node', (file) => ADDON.includes(file), ['-ldl']),
  ];
}

/** Beside the old file and then in its place: a process that runs keeps the one it has loaded. */
async function link(libraries, stamps, sanitize) {
  let ok = true;
  for (const { path, args, stamp } of libraries) {
    const made = `${path}.${process.pid}`;
    // A library for a process that is not instrumented itself: the sanitizer's own library is preloaded into it.
    const extra = sanitize ? SANITIZE : [];
    const done = await run(COMPILER, ['-shared', '-pthread', ...extra, ...args, '-o', made]);
    if (done) fs.renameSync(join(root, made), join(root, path));
    if (done) stamps[path] = stamp;
    ok = ok && done;
  }
  return ok;
}

/** Vectors of 256 bits and fused multiply-add where this machine has them. */
function machineFlags() {
  if (process.arch !== 'x64' || !fs.existsSync('/proc/cpuinfo')) return [];
  const flags = /^flags\s*:(.*)$/m.exec(fs.readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.split(' ') ?? [];
  return ['avx2', 'fma', 'bmi2', 'f16c'].every((flag) => flags.includes(flag)) ? ['-march=x86-64-v3'] : [];
}

function addonFlags() {
  const headers = nodeHeaders();
  if (headers === undefined) say('the headers of this Node were not found beside it; set npm_config_nodedir');
  return [
    '-DNAPI_VERSION=8',
    '-DNAPI_CPP_EXCEPTIONS',
    '-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
    '-DNODE_GYP_MODULE_NAME=control',
    '-Inode_modules/node-addon-api',
    ...(headers === undefined ? [] : [`-I${join(headers, 'include/node')}`]),
  ];
}

function readStamps(folder) {
  try {
    return JSON.parse(fs.readFileSync(join(root, folder, 'stamps.json'), 'utf8'));
  } catch {
    return {};
  }
}

/** The work for each, as many at a time as there are processors; whether all of it succeeded. */
async function eachOf(items, work) {
  const waiting = items.values();
  let ok = true;
  const worker = async () => {
    for (const item of waiting) ok = (await work(item)) && ok;
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return ok;
}

function run(program, args) {
  return new Promise((resolve) => {
    execFile(program, args, { cwd: root, maxBuffer: 1 << 26 }, (error, _, messages) => {
      if (messages) process.stderr.write(messages);
      if (error && !messages) process.stderr.write(`${error.message}\n`);
      resolve(error === null);
    });
  });
}

function say(text) {
  process.stderr.write(`[simulator] ${text}\n`);
}

/** Drives the libraries through CUDA's and cuDNN's entries, compiled as they are (test/support/*simulator_check.cc). */
async function check({ sanitize }) {
  const folder = sanitize ? 'build/simulator-sanitize' : 'build/simulator';
  const flags = ['-std=c++20', '-I.', '-pthread', ...(sanitize ? SANITIZE : [])];
  const libraries = ['libcuda.so.1', 'libcudnn.so.9'].map((name) => join(folder, name));
  let ok = true;
  for (const [name, used] of [
    ['simulator_check', libraries.slice(0, 1)],
    ['cudnn_simulator_check', libraries],
  ]) {
    const program = `${folder}/${name}`;
    if (!(await run(COMPILER, [...flags, `test/support/${name}.cc`, '-o', program, '-ldl']))) return false;
    ok = spawnSync(join(root, program), used, { cwd: root, stdio: 'inherit' }).status === 0 && ok;
  }
  return ok;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [sanitize, checked] = ['--sanitize', '--check'].map((word) => process.argv.includes(word));
  const done = (await buildSimulator({ sanitize })) && (!checked || (await check({ sanitize })));
  process.exitCode = done ? 0 : 1;
}
