// Builds the addon's own C++ (cuda/ and cpu/; the generated kernels come as they are) and the simulator with the address
// and undefined-behaviour sanitizers, in a copy of the package, and trains, computes and fails with them.
// usage: node scripts/sanitize_addon.mjs; CXX names the compiler. Needs a built clone.

import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { nodeHeaders } from './headers.mjs';
import { digest, root } from './inputs.mjs';
import { listSources } from './list_sources.mjs';
import { buildSimulator } from './simulator.mjs';

const COMPILER = process.env.CXX ?? 'g++';
const SANITIZE = [
  '-fsanitize=address,undefined',
  '-fno-sanitize-recover=undefined',
  '-fno-omit-frame-pointer',
  '-g',
  '-O1',
];
const FLAGS = [
  '-std=c++17',
  '-fPIC',
  '-fvisibility=hidden',
  '-pthread',
  '-DNAPI_VERSION=8',
  '-DNAPI_CPP_EXCEPTIONS',
  '-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
];
const INCLUDE = [
  '.',
  'cuda',
  'cpu',
  'build/generated/cpu',
  createRequire(import.meta.url)('node-addon-api').include_dir,
];
const KERNELS = ['baseline', 'avx2', 'avx512'].map((isa) => `build/Release/cpu_${isa}.a`);

/** What is run: programs of dist/test/support, each of which exits with 0 or fails. */
const PROGRAMS = [
  ['training_cli', '--device', 'cpu', '--steps', '3'],
  ['training_cli', '--device', 'cuda:0', '--steps', '3'],
  ['random_cli', '--variants', 'gather', '--runs', '60', '--seed', '7'],
  [
    'golden_cli',
    '--device',
    'cuda:0',
    '--variant',
    'gather',
    '--dtype',
    'float32',
    '--filter',
    '^(?!.*large)',
    '--every',
    '16',
  ],
  ...[1, 2, 3].map((seed) => ['fuzz_cli', '--seed', String(seed), '--sequences', '10']),
  ['fuzz_cli', '--seed', '4', '--sequences', '1000', '--terminate'],
  ...['out of memory', 'a kernel fails while it runs', 'the device is lost', 'a slow copy'].map((name) => [
    'faults_cli',
    name,
  ]),
];

const folder = join(root, 'build/sanitize_addon');
let failed = 0;
if ((await buildSimulator({ sanitize: true })) && buildAddon()) for (const program of PROGRAMS) run(program);
else failed = 1;
console.log(failed === 0 ? `${PROGRAMS.length} programs without a finding` : `FAILED: ${failed}`);
process.exitCode = failed === 0 ? 0 : 1;

function buildAddon() {
  const started = Date.now();
  // The same tree as the package, so that what is loaded by its place is found; only the addon is another.
  for (const [from, to] of [
    ['dist', 'dist'],
    ['templates', 'templates'],
    ['test/goldens', 'test/goldens'],
  ])
    fs.cpSync(join(root, from), join(folder, to), { recursive: true });
  fs.copyFileSync(join(root, 'package.json'), join(folder, 'package.json'));
  link(join(root, 'node_modules'), join(folder, 'node_modules'));
  fs.mkdirSync(join(folder, 'build/Release'), { recursive: true });
  fs.mkdirSync(join(folder, 'objects'), { recursive: true });
  link(join(root, 'build/simulator-sanitize'), join(folder, 'build/simulator'));
  const headers = nodeHeaders();
  const include = [...INCLUDE, ...(headers ? [join(headers, 'include/node')] : [])].map((path) => `-I${path}`);
  const sources = listSources('main');
  const objects = sources.map((source) => join(folder, 'objects', `${source.replaceAll('/', '_')}.o`));
  const common = [...FLAGS, '-DNODE_GYP_MODULE_NAME=fracstride', ...SANITIZE, ...include];
  const rules = sources.map(
    (source, i) => `${objects[i]}: ${source}\n\t${COMPILER} ${common.join(' ')} -MMD -c ${source} -o ${objects[i]}`,
  );
  const kernels = KERNELS.filter((path) => fs.existsSync(join(root, path)));
  const addon = join(folder, 'build/Release/fracstride.node');
  const linked = `${COMPILER} -shared ${SANITIZE.join(' ')} ${objects.join(' ')} ${kernels.join(' ')} -o ${addon} -ldl -pthread`;
  const makefile = join(folder, 'Makefile');
  const header = `all: ${addon}\n# ${digest([], common)}\n`;
  const text = `${header}${addon}: ${objects.join(' ')} ${kernels.join(' ')}\n\t${linked}\n${rules.join('\n')}\n-include ${objects.map((o) => o.replace(/o$/, 'd')).join(' ')}\n`;
  fs.writeFileSync(makefile, text);
  const made = spawnSync('make', ['-s', '-f', makefile, '-j', String(availableParallelism())], {
    cwd: root,
    stdio: 'inherit',
  });
  console.log(`built in ${((Date.now() - started) / 1000).toFixed(1)} s`);
  return made.status === 0;
}

function link(target, path) {
  fs.rmSync(path, { recursive: true, force: true });
  fs.mkdirSync(dirname(path), { recursive: true });
  fs.symlinkSync(target, path);
}

function run([program, ...args]) {
  const started = Date.now();
  const preload = ['libasan.so', 'libubsan.so'].map((name) =>
    execFileSync(COMPILER, [`-print-file-name=${name}`])
      .toString()
      .trim(),
  );
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    [join(folder, `dist/test/support/${program}.js`), ...args],
    {
      env: {
        ...process.env,
        LD_PRELOAD: preload.join(' '),
        // Node itself leaves what it holds at its end.
        ASAN_OPTIONS: 'detect_leaks=0:handle_segv=1:abort_on_error=0:exitcode=99',
        UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
        FRACSTRIDE_LIBCUDA: join(folder, 'build/simulator/libcuda.so.1'),
        FRACSTRIDE_CACHE_DIR: join(root, 'build/test_kernels'),
        CUDA_SIMULATOR: 'memory=128M',
      },
      encoding: 'utf8',
      maxBuffer: 1 << 26,
    },
  );
  const ok = status === 0 && !/ERROR: AddressSanitizer|runtime error:/.test(stderr);
  console.log(
    `${ok ? 'ok' : `FAILED (${signal ?? status})`}: ${program} ${args.join(' ')}, ${((Date.now() - started) / 1000).toFixed(1)} s`,
  );
  if (!ok) console.log(`${stdout.slice(-2000)}\n${stderr.slice(-6000)}`);
  failed += ok ? 0 : 1;
}
