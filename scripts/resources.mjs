// Compiles a preset, and kernels that fill their registers, for every checked architecture, through the same pipeline and
// store as a build, and prints registers by kernel and architecture, static shared memory and spills. Exits 1 on a spill,
// on a kernel that needs more registers than its __launch_bounds__ leave it, on one of which as many blocks as the catalogue's
// row declares do not fit a multiprocessor (registers, shared memory, warps), and on one that does not compile without a
// warning.
// Convolutions are checked for every architecture; the other operations, which are far from their limits, for the
// oldest and the newest, unless --every asks for all.
// With --layers also what is chosen for every layer of the presets, forward and gradients, each for one of the
// architectures in turn: float32 in NCHW, bfloat16 in NHWC. All of them for all: --presets full.
// With --loops also reads the machine code: which share of the hottest loop's instructions are multiply-adds, and what
// the others are. Items named after the options (problems, kernel names) are looked at instead of a preset.
// usage: npm run resources [-- --presets full] [-- --target sm_80,sm_90] [-- --every] [-- --layers] [-- --loops] [-- <item>…]

import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const fromDist = (name) => import(pathToFileURL(join(root, 'dist/codegen', name)).href);
const [
  { planBuild, runBuild },
  { CHECKED_ARCHITECTURES, fullKernels, isKernelName, LAYERS, PRESETS, specsFor },
  { openStore },
  { nvcc },
  { parseTargets },
  { table },
  { machineCode },
  { nameOf },
  { gpuOf },
  { parseProblem },
  { choose, kernelName, launchGeometry, workOf },
] = await Promise.all(
  [
    'build.js',
    'presets.js',
    'store.js',
    'toolchain.js',
    'cli/arguments.js',
    'cli/table.js',
    'cubin.js',
    'kernel.js',
    'gpu.js',
    'problem_text.js',
    'spec.js',
  ].map(fromDist),
);

/** What a kernel defines and does not use, or is in doubt about, is an error. */
const WARNINGS = ['-Werror', 'all-warnings'];

/** Registers of one multiprocessor, on every architecture here. */
const REGISTER_FILE = 65536;

process.exitCode = await main().catch((error) => {
  console.error(`resources: ${error.message}`);
  return 1;
});

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      presets: { type: 'string', default: 'default' },
      target: { type: 'string' },
      every: { type: 'boolean', default: false },
      layers: { type: 'boolean', default: false },
      loops: { type: 'boolean', default: false },
    },
  });
  if (!Object.hasOwn(PRESETS, values.presets))
    throw new Error(`--presets must be one of ${Object.keys(PRESETS).join(', ')}`);
  const all = CHECKED_ARCHITECTURES.map((arch) => ({ kind: 'cuda', arch }));
  const targets = values.target ? parseTargets(values.target) : all;
  const few = values.target || values.every ? targets : [all[0], all.at(-1)];
  const items = positionals.length > 0 ? positionals : [...PRESETS[values.presets], ...fullKernels(targets)];
  const isOperation = (item) => isKernelName(item) && !item.startsWith('ct2d_');
  const pairs = targets.flatMap((target) => items.map((item) => ({ item, target })));
  const asked = [...pairs.filter(({ item }) => !isKernelName(item)), ...(values.layers ? layerPairs(targets) : [])];
  const problems = new Map(asked.map(({ item, target }) => problemOf(item, target)));
  const specs = unique([
    ...[...problems.values()].map(({ spec }) => spec),
    ...specsFor(
      items.filter((item) => !isOperation(item)),
      targets,
    ),
    ...specsFor(items.filter(isOperation), few),
  ]);
  const place = {
    store: openStore(join(root, 'build/kernels'), { owner: statSync(root).uid }),
    compiler: nvcc(process.env, WARNINGS),
  };
  const plan = planBuild(specs, place);
  const report = await runBuild(plan, place, { jobs: availableParallelism(), progress: progressLine });
  const rows = report.kernels.map((built, i) => rowOf(built, plan[i], problems.get(built.name)));
  console.log(tableOf(rows));
  if (values.loops) console.log(`\n${loopsOf(report.kernels, place.store)}\n`);
  for (const { name, complaint } of rows.filter((row) => row.complaint)) console.log(`${name}: ${complaint}`);
  const bad = rows.filter((row) => row.complaint).length;
  console.log(
    `${rows.length} kernels for ${new Set(rows.map((row) => row.target)).size} targets with ${place.compiler.id}: ` +
      `${rows.reduce((sum, row) => sum + (row.spills || 0), 0)} bytes of spills, ${bad} kernels fail ` +
      `(${report.built} compiled, ${report.reused} from the store, ${report.seconds.toFixed(0)} s)`,
  );
  return bad === 0 ? 0 : 1;
}

function unique(specs) {
  return [...new Map(specs.map((spec) => [nameOf(spec), spec])).values()];
}

/** Each layer, forward and gradients, for one target: the next gets the next. */
function layerPairs(targets) {
  const settings = ['dtype=float32 layout=nchw', 'dtype=bfloat16 layout=nhwc'];
  const problems = Object.values(LAYERS).flatMap((layer) =>
    settings.flatMap((setting) => ['fwd', 'dgrad', 'wgrad'].map((pass) => `${layer} ${setting} pass=${pass}`)),
  );
  return problems.map((item, i) => ({ item, target: targets[i % targets.length] }));
}

/** What is chosen for a problem, by the kernel's name. */
function problemOf(item, target) {
  const problem = parseProblem(item);
  const spec = choose(problem, target);
  return [kernelName(spec), { problem, spec }];
}

function rowOf({ name, kernel, error }, { source }, chosen) {
  const end = name.lastIndexOf('__');
  const row = { name, kernel: name.slice(0, end), target: name.slice(end + 2) };
  if (error !== null) return { ...row, complaint: error };
  const resources = kernel.meta.resources;
  if (resources === null) return { ...row, complaint: '' };
  const { registers, shared, spillLoads, spillStores } = resources;
  const spills = spillLoads + spillStores;
  const budget = registerBudget(source);
  const complaint = [
    spills > 0 ? `${spillStores} bytes spilled, ${spillLoads} loaded again` : '',
    registers > budget ? `${registers} registers where its launch bounds leave ${budget}` : '',
    ...(chosen === undefined ? [] : misfits(chosen, { source, registers, shared })),
  ];
  return { ...row, registers, shared, spills, complaint: complaint.filter(Boolean).join('; ') };
}

/** Registers a thread that leave room for the blocks a multiprocessor is promised. */
function registerBudget(source) {
  const [, threads, blocks = '1'] = /__launch_bounds__\((\d+)(?:,\s*(\d+))?\)/.exec(source) ?? [];
  if (threads === undefined) return 255;
  return Math.min(255, Math.floor(REGISTER_FILE / (threads * blocks) / 8) * 8);
}

/** Why as many blocks as the row of the catalogue declares do not fit a multiprocessor. */
function misfits({ problem, spec }, { source, registers, shared }) {
  const [work] = workOf(spec, problem);
  const { block, sharedBytes } = launchGeometry(spec, problem);
  const gpu = gpuOf(spec.target);
  const { resident } = work;
  const threads = block[0] * block[1] * block[2];
  const declared = Number(/__launch_bounds__\(\d+,\s*(\d+)\)/.exec(source)?.[1] ?? 1);
  // From compute capability 8.0 on the system takes a kilobyte of each block's shared memory.
  const memory = resident * (shared + sharedBytes + (spec.target.arch >= 80 ? 1024 : 0));
  const file = resident * Math.ceil(registers / 8) * 8 * threads;
  return [
    declared < resident ? `its text promises ${declared} blocks a multiprocessor, its row ${resident}` : '',
    file > gpu.registers ? `${resident} blocks take ${file} of ${gpu.registers} registers` : '',
    memory > gpu.sharedMemory ? `${resident} blocks take ${memory} of ${gpu.sharedMemory} bytes of shared memory` : '',
    (resident * threads) / 32 > gpu.warps ? `${resident} blocks have more than ${gpu.warps} warps` : '',
  ];
}

/** A line a kernel: registers for each target, then shared memory and spills at their largest. */
function tableOf(rows) {
  const targets = [...new Set(rows.map((row) => row.target))];
  const kernels = [...new Set(rows.map((row) => row.kernel))];
  const lines = kernels.map((kernel) => {
    const own = rows.filter((row) => row.kernel === kernel);
    const most = (what) => String(Math.max(0, ...own.map((row) => row[what] ?? 0)));
    const registers = targets.map((target) => String(own.find((row) => row.target === target)?.registers ?? '–'));
    return [kernel, ...registers, most('shared'), most('spills')];
  });
  return table(['registers by target', ...targets, 'shared', 'spills'], lines);
}

/** A line a kernel: its hottest loop, by the operations that it has most of. */
function loopsOf(kernels, store) {
  const lines = kernels.flatMap(({ name, kernel }) => {
    if (kernel?.meta.image.file !== 'kernel.cubin') return [];
    const { whole, hottest } = machineCode(store.read(kernel, 'image'), name);
    if (hottest === null) return [[name, String(whole.instructions), '–', '–', '–', 'no loop multiplies']];
    const { work, share, instructions, operations } = hottest;
    const others = Object.entries(operations)
      .filter(([operation]) => operation !== work)
      .sort((a, b) => b[1] - a[1])
      .map(([operation, count]) => `${operation} ${count}`);
    const part = `${(100 * share).toFixed(1)} %`;
    return [
      [name, String(whole.instructions), String(instructions), `${work} ${operations[work]}`, part, others.join(', ')],
    ];
  });
  return table(['hottest loop', 'kernel', 'loop', 'multiply-adds', 'share', 'others'], lines);
}

function progressLine({ done, total }) {
  if (done % 50 === 0 || done === total) process.stderr.write(`resources: ${done} of ${total}\n`);
}
