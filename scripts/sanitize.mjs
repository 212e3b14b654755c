// Builds the convolution engine of every instruction set, without Node, with the address and undefined-behaviour
// sanitizers and again with the thread sanitizer, and runs random problems through it (test/kernels/engine_sweep.cc).
// usage: node scripts/sanitize.mjs [problems] [first seed]; CXX names the compiler. Needs the types built.

import { execFile, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const folder = join(root, 'build/sanitize');
const compiler = process.env.CXX ?? 'g++';
const [problems = '60', seed = '1'] = process.argv.slice(2);

const COMMON = [
  '-std=c++17',
  '-g',
  '-O1',
  '-Wall',
  '-Wextra',
  '-Wno-unused-parameter',
  '-fno-omit-frame-pointer',
  '-Icpu',
  '-Ibuild/sanitize',
];
const ISA_FLAGS = {
  baseline: [],
  avx2: ['-mavx2', '-mfma', '-mf16c'],
  avx512: ['-mavx512f', '-mavx512dq', '-mavx512bw', '-mavx512vl', '-mfma', '-mf16c'],
};
// What threads do to each other is in the drivers, so one instruction set is enough for that.
const BUILDS = {
  memory: { flags: ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'], isas: isasHere() },
  threads: { flags: ['-fsanitize=thread', '-DONLY_BASELINE'], isas: ['baseline'] },
};

/** What makes the engine a device of the addon. */
const DEVICE = ['device_cpu.cc', 'extents.cc', 'memory_left.cc', 'stream.cc'];

let failed = false;
for (const [name, build] of Object.entries(BUILDS)) failed = !(await sweep(name, build)) || failed;
process.exitCode = failed ? 1 : 0;

function isasHere() {
  return process.arch === 'x64' ? Object.keys(ISA_FLAGS) : ['baseline'];
}

/** The engine's sources for some instruction sets, as paths from the root. */
async function generate(isas) {
  const load = (file) => import(pathToFileURL(join(root, 'dist/codegen', file)).href);
  const { cpuSource, CPU_UNITS } = await load('cpu_sources.js');
  const { OPERATION_UNITS } = await load('cpu_operations.js');
  const { isBuiltFor } = await load('cpu_unit.js');
  fs.mkdirSync(folder, { recursive: true });
  const swept = CPU_UNITS.filter((unit) => !OPERATION_UNITS.includes(unit));
  const families = Object.keys(ISA_FLAGS).map((isa) => {
    const uses = swept.filter((unit) => isBuiltFor(unit, isa)).map(({ what }) => `use(${what}_${isa})`);
    return `#define FOR_EACH_FAMILY_${isa}(use) ${uses.join(' ')}\n`;
  });
  fs.writeFileSync(join(folder, 'families.h'), families.join(''));
  return swept.flatMap((unit) =>
    isas
      .filter((isa) => isBuiltFor(unit, isa))
      .map((isa) => {
        const { file, text } = cpuSource(unit, isa);
        fs.writeFileSync(join(folder, file), text);
        return { source: `build/sanitize/${file}`, flags: ISA_FLAGS[isa] };
      }),
  );
}

async function sweep(name, { flags, isas }) {
  const started = Date.now();
  const names = fs.readdirSync(join(root, 'cpu')).filter((file) => file.endsWith('.cc') && !DEVICE.includes(file));
  const plain = [...names.map((file) => `cpu/${file}`), 'test/kernels/engine_sweep.cc'];
  const units = [...(await generate(isas)), ...plain.map((source) => ({ source, flags: [] }))];
  const objects = units.map((_, i) => join(folder, `${name}_${i}.o`));
  const commands = units.map((unit, i) => [...COMMON, ...flags, ...unit.flags, '-c', unit.source, '-o', objects[i]]);
  const program = join(folder, `sweep_${name}`);
  const built = await compileAll(commands);
  if (!built || !(await compile([...flags, ...objects, '-o', program, '-lpthread']))) return false;
  const compiled = Date.now();
  const { status, signal } = spawnSync(program, [problems, seed], { stdio: 'inherit' });
  const times = `built in ${seconds(compiled - started)}, ran ${seconds(Date.now() - compiled)}`;
  console.log(`${status === 0 ? 'ok' : `FAILED (${signal ?? status})`}: ${flags[0]}, ${times}`);
  return status === 0;
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

async function compileAll(commands) {
  const waiting = [...commands];
  const worker = async () => {
    for (let ok = true; ; ) {
      const next = waiting.shift();
      if (next === undefined) return ok;
      ok = (await compile(next)) && ok;
    }
  };
  return (await Promise.all(Array.from({ length: availableParallelism() }, worker))).every(Boolean);
}

function compile(args) {
  return new Promise((resolve) => {
    execFile(compiler, args, { cwd: root }, (error, _, messages) => {
      if (messages) process.stderr.write(messages);
      if (error && !messages) process.stderr.write(`${error.message}\n`);
      resolve(error === null);
    });
  });
}
