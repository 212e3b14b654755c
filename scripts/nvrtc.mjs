// Golden cases on the simulator with images that NVRTC made, all of them: the default preset is built with it into a
// cache of its own, the rest is compiled just in time on a PATH without nvcc. Debian's NVRTC is installed where apt
// offers it (libnvrtc11.2, non-free) and this user may; without any, it says so and that is all.
// usage: npm run test:nvrtc [-- <options of npm run goldens>]

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { build } from './build.mjs';
import { root } from './inputs.mjs';

const PACKAGES = ['libnvrtc11.2', 'libnvrtc-builtins11.8'];
const SIMULATOR = join(root, 'build/simulator/libcuda.so.1');
const CACHE = join(root, 'build/nvrtc_kernels');
/** Golden runs: every case with the general kernels of one type, a share of them with the specialised ones. */
const RUNS = [
  ['--variant', 'gather', '--dtype', 'float32'],
  ['--variant', 'gather', '--dtype', 'float64,float16,bfloat16', '--every', '8'],
  ['--variant', 'phase', '--every', '24'],
];

process.exitCode = await main();

async function main() {
  if (!existsSync(join(root, 'build/Release/fracstride.node')) && !(await build())) return 1;
  const found = nvrtcInfo();
  if (!found.available && !install()) {
    console.log(`skipped: ${found.reason}`);
    return 0;
  }
  const info = nvrtcInfo();
  if (!info.available) {
    console.log(`skipped: ${info.reason}`);
    return 0;
  }
  console.log(`NVRTC ${info.major}.${info.minor} from ${info.path}`);
  if (run('npm', ['run', '--silent', 'simulator']).status !== 0) return 1;
  rmSync(CACHE, { recursive: true, force: true });
  mkdirSync(CACHE, { mode: 0o700 });
  const words = ['build', 'default', '--target', 'sm_90', '--format', 'ptx', '--compiler', 'nvrtc'];
  if (run(process.execPath, ['dist/src/bin.js', ...words], environment(), ['ignore', 'inherit', 'ignore']).status !== 0)
    return 1;
  const own = process.argv.slice(2);
  const results = (own.length > 0 ? [own] : RUNS).map(goldens);
  return results.every(Boolean) ? 0 : 1;
}

/** True when all passed and nothing ran that NVRTC did not make. */
function goldens(words) {
  const program = ['dist/test/support/golden_cli.js', '--device', 'cuda:0', ...words];
  const { status, stderr } = run(process.execPath, program, environment(), ['ignore', 'inherit', 'pipe']);
  const took = [...stderr.matchAll(/ took (\S+), (\w+ of .*)$/gm)].map(([, name, by]) => ({ name, by }));
  const others = took.filter(({ by }) => !by.includes('nvrtc'));
  for (const { name, by } of others) console.log(`FAIL ${name} is ${by}`);
  if (status !== 0) console.log(stderr.split('\n').slice(-5).join('\n'));
  console.log(`${took.length} kernels loaded, ${took.length - others.length} of them made by NVRTC`);
  return status === 0 && others.length === 0 && took.length > 0;
}

/** A PATH without nvcc, the simulator as the driver, and what was loaded told on stderr. */
function environment() {
  const path = process.env.PATH.split(delimiter).filter((folder) => !existsSync(join(folder, 'nvcc')));
  return {
    ...process.env,
    PATH: path.join(delimiter),
    CUDA_HOME: '',
    CUDA_PATH: '',
    FRACSTRIDE_LIBCUDA: SIMULATOR,
    FRACSTRIDE_CACHE_DIR: CACHE,
    FRACSTRIDE_NO_JIT: '',
    FRACSTRIDE_DEBUG: '3',
    CUDA_SIMULATOR: 'arch=90',
  };
}

/** In a process of its own: this one would keep the library's absence. */
function nvrtcInfo() {
  const text = "import { native } from './dist/src/native.js'; console.log(JSON.stringify(native().nvrtcInfo()))";
  const { stdout } = run(process.execPath, ['--input-type=module', '-e', text], process.env, [
    'ignore',
    'pipe',
    'inherit',
  ]);
  return JSON.parse(stdout);
}

function install() {
  if (process.getuid?.() !== 0 || run('apt-cache', ['show', ...PACKAGES], process.env, 'ignore').status !== 0)
    return false;
  console.log(`apt-get install ${PACKAGES.join(' ')}`);
  return run('apt-get', ['install', '-y', '-q', ...PACKAGES]).status === 0;
}

function run(command, words, env = process.env, stdio = 'inherit') {
  return spawnSync(command, words, { cwd: root, env, stdio, encoding: 'utf8', maxBuffer: 1 << 30 });
}
