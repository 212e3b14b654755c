// Builds the CUDA device, the pool, NVRTC's loader and cuDNN's plans, without Node, with the address and undefined-behaviour sanitizers
// and again with the thread sanitizer, and runs every check of test/support against the stand-ins for the libraries.
// usage: node scripts/sanitize_cuda.mjs; CXX names the compiler. Linux.

import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const folder = join(root, 'build/sanitize_cuda');
const compiler = process.env.CXX ?? 'g++';
const COMMON = ['-std=c++17', '-g', '-O1', '-Wall', '-Wextra', '-fno-omit-frame-pointer', '-I.', '-Icuda', '-pthread'];
const BUILDS = {
  memory: ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'],
  threads: ['-fsanitize=thread'],
};
const CHECKS = [
  ...['order', 'ordinary', 'staging', 'frees', 'memory', 'failure', 'suspect', 'suspect_read', 'suspect_async'],
  ...['suspect_graph', 'refusals', 'sharing', 'capture', 'threads'],
];
const CUDNN_CHECKS = [
  'info',
  'forms',
  'flags',
  'measure',
  'hostile',
  'statuses',
  'start',
  'capture',
  'lost',
  'threads',
];

fs.mkdirSync(folder, { recursive: true });
const sources = fs
  .readdirSync(join(root, 'cuda'))
  .filter((name) => name.endsWith('.cc') && !['arguments.cc', 'registry.cc', 'nvrtc.cc'].includes(name))
  .map((name) => `cuda/${name}`);
let failed = false;
for (const [name, flags] of Object.entries(BUILDS)) {
  const at = (file) => join(folder, `${name}_${file}`);
  const built =
    compile(flags, ['-shared', '-fPIC', 'test/support/fake_libcuda.cc', '-o', at('libcuda.so')]) &&
    compile(flags, ['-shared', '-fPIC', 'test/support/fake_libnvrtc.cc', '-o', at('libnvrtc.so')]) &&
    compile(flags, ['-shared', '-fPIC', 'test/support/fake_libcudnn.cc', '-o', at('libcudnn.so')]) &&
    compile(flags, ['test/support/cudnn_check.cc', ...sources, '-o', at('cudnn'), '-ldl']) &&
    compile(flags, ['test/support/cuda_device_check.cc', ...sources, '-o', at('device'), '-ldl']) &&
    compile(flags, ['test/support/nvrtc_check.cc', 'cuda/nvrtc.cc', 'cuda/library.cc', '-o', at('nvrtc'), '-ldl']) &&
    compile(flags, ['test/support/pool_check.cc', 'cuda/pool.cc', 'cuda/arenas.cc', '-o', at('pool')]);
  failed ||= !built;
  if (!built) continue;
  const libraries = {
    FRACSTRIDE_LIBCUDA: at('libcuda.so'),
    FRACSTRIDE_LIBNVRTC: at('libnvrtc.so'),
    FRACSTRIDE_LIBCUDNN: at('libcudnn.so'),
  };
  for (const check of CHECKS) run(`${flags[0]} device ${check}`, at('device'), [check], libraries);
  for (const check of CUDNN_CHECKS) run(`${flags[0]} cuDNN ${check}`, at('cudnn'), [check], libraries);
  run(`${flags[0]} NVRTC`, at('nvrtc'), [], libraries);
  run(`${flags[0]} pool`, at('pool'), [], libraries);
}
process.exitCode = failed ? 1 : 0;

function compile(flags, rest) {
  return spawnSync(compiler, [...COMMON, ...flags, ...rest], { cwd: root, stdio: 'inherit' }).status === 0;
}

function run(title, program, args, environment) {
  const env = { ...process.env, ...environment };
  // What lives as long as the process is reached from a static pointer, or belongs to a library that stays open.
  env.ASAN_OPTIONS = 'detect_leaks=0';
  const { status, signal, stderr } = spawnSync(program, args, { env, encoding: 'utf8', timeout: 120_000 });
  const ok = status === 0 && stderr === '';
  failed ||= !ok;
  console.log(`${ok ? 'ok' : `FAILED (${signal ?? status})\n${stderr}`}: ${title}`);
}
