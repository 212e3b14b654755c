/**
 * Layers of known networks beside every other implementation that is installed, as their users call them, taking turns:
 * a ratio for each round, their time divided by ours, and its median.
 *
 * usage: node dist/bench/peers/run.js [--peers onnxruntime,pytorch,onednn] [--threads 1,2] [--layer REGEX]
 *          [--what forward,both] [--rounds N] [--seconds N] [--file FILE] [--table]
 *   onnxruntime   npm install --prefix bench/peers
 *   pytorch       apt-get install python3-torch libopenblas0, or FRACSTRIDE_BENCH_PYTHON=<a python3 with torch>
 *   onednn        apt-get install libdnnl-dev g++: primitives, with weights packed beforehand, beside our kernels
 *   both          forward and all gradients
 *   --seconds     measures what has the oldest rows first, and stops after so long; again goes on where it stopped
 *   --table       measures nothing, only prints what the file holds
 */

import { fileURLToPath } from 'node:url';
import { backends, lastKernel, nn, noGrad, type Tensor, tensor } from 'fracstride';
import { table } from '../../codegen/cli/table.js';
import { parseProblem } from '../../codegen/problem_text.js';
import { circumstances, store } from '../../src/bench/facts.js';
import { BENCH_LAYERS } from '../../src/bench/layers.js';
import { resolveDevice, synchronize } from '../../src/device.js';
import { areWords, commandLine, isCount, LAYER, THREADS } from '../command_line.js';
import { geometricMean, keepLatest, quantiles, readRows } from '../row.js';
import { Child, settle } from './child.js';
import { oneDnn } from './onednn.js';
import { callsOf, type LayerCommand, layerCommand, pattern } from './peer.js';
import { PYTORCH, python } from './places.js';

const flags = commandLine('bench:peers', {
  peers: {
    about: 'whom to measure, separated by commas',
    value: '<list>',
    default: 'onnxruntime,pytorch,onednn',
    check: areWords(['onnxruntime', 'pytorch', 'onednn']),
  },
  threads: THREADS,
  layer: LAYER,
  what: {
    about: 'forward, or both: with the gradients',
    value: '<list>',
    default: 'forward,both',
    check: areWords(['forward', 'both']),
  },
  rounds: { about: 'rounds that a median is of', value: '<count>', default: '3', check: isCount },
  seconds: { about: 'begin nothing after so long', value: '<count>', default: '100000', check: isCount },
  file: {
    about: 'where rows are kept',
    value: '<path>',
    default: fileURLToPath(new URL('../../../bench/results/peers.jsonl', import.meta.url)),
  },
  table: { about: 'measure nothing, print what is kept' },
});

interface Piece {
  readonly layer: string;
  readonly threads: number;
  readonly what: 'forward' | 'both';
  readonly peer: string;
}

interface Row extends Piece {
  readonly ratio: number;
}

const ORT = fileURLToPath(new URL('onnxruntime.js', import.meta.url));
const START: Readonly<Record<string, (threads: number) => Child>> = {
  onnxruntime: () => new Child(process.execPath, [ORT]),
  pytorch: (threads) =>
    new Child(python(), [PYTORCH], { OMP_NUM_THREADS: `${threads}`, OPENBLAS_NUM_THREADS: `${threads}` }),
  onednn: (threads) => oneDnn(threads),
};

const CPU = resolveDevice('bench', 'cpu');

const key = ({ layer, threads, what, peer }: Piece): string => `${layer} ${threads} ${what} ${peer}`;

const versions = new Map<Child, object>();

if (!flags.table) await measure();
print();

async function measure(): Promise<void> {
  const pattern = new RegExp(flags.layer);
  const age = new Map(readRows<Row>(flags.file).map((row, i) => [key(row), i]));
  const end = performance.now() + 1000 * Number(flags.seconds);
  const pieces = flags.peers.split(',').flatMap((peer) =>
    flags.threads.split(',').flatMap((threads) =>
      (flags.what.split(',') as Piece['what'][])
        .filter((what) => what === 'forward' || peer !== 'onnxruntime')
        .flatMap((what) =>
          Object.keys(BENCH_LAYERS)
            .filter((layer) => pattern.test(layer))
            .map((layer) => ({ layer, threads: Number(threads), what, peer })),
        ),
    ),
  );
  const children = new Map<string, Child | null>();
  for (const piece of pieces.sort((a, b) => (age.get(key(a)) ?? -1) - (age.get(key(b)) ?? -1))) {
    if (performance.now() > end) break;
    const name = `${piece.peer} ${piece.threads}`;
    if (!children.has(name)) children.set(name, await started(piece.peer, piece.threads));
    const child = children.get(name);
    if (child) await compare(piece, child);
  }
  for (const child of children.values()) child?.end();
  keepLatest(flags.file, key);
}

/** A child that says its versions; null, and why, where the peer is not installed. */
async function started(peer: string, threads: number): Promise<Child | null> {
  let child: Child | null = null;
  try {
    child = START[peer]!(threads);
    versions.set(child, await child.ask({ do: 'versions', threads }));
    return child;
  } catch (error) {
    console.error(`${peer} cannot be measured here: ${(error as Error).message}`);
    child?.end();
    return null;
  }
}

/** What a round of ours is. */
interface Ours {
  readonly run: () => void;
  readonly kernels: string[];
  readonly checksum: number;
}

function ours(command: LayerCommand): Ours {
  const grads = { requiresGrad: command.backward };
  const x = tensor(pattern(command.x), { shape: [...command.x], device: 'cpu', ...grads });
  const weight = tensor(pattern(command.weight), { shape: [...command.weight], device: 'cpu', ...grads });
  const bias = tensor(new Float32Array(command.y[1]!), { shape: [command.y[1]!], device: 'cpu', ...grads });
  const gradient = tensor(pattern(command.y), { shape: [...command.y], device: 'cpu' });
  const { output_padding: outputPadding, ...rest } = command.options;
  const pairs = { ...rest, outputPadding } as unknown as { stride: [number, number] };
  const forward = (): Tensor => nn.functional.convTranspose2d(x, weight, bias, pairs);
  const sum = (values: Tensor): number => {
    let total = 0;
    for (const value of values.dataSync() as Float32Array) total += Math.abs(value);
    return total;
  };
  const both = (): void => {
    const y = forward();
    y.backward(gradient);
    y.dispose();
  };
  const clear = (): void => {
    for (const leaf of [x, weight, bias]) leaf.grad = null;
  };
  if (!command.backward) {
    const y = noGrad(forward);
    return { run: () => noGrad(forward).dispose(), kernels: [lastKernel()], checksum: sum(y) };
  }
  both();
  const checksum = sum(weight.grad!);
  clear();
  const run = (): void => {
    both();
    clear();
  };
  return { run, kernels: [lastKernel()], checksum };
}

async function compare(piece: Piece, child: Child): Promise<void> {
  const problem = parseProblem(BENCH_LAYERS[piece.layer]!);
  const backward = piece.what === 'both';
  backends.cpu.threads = piece.threads;
  const command = layerCommand(problem, piece.threads, backward);
  const mine = ours(command);
  let theirChecksum: number;
  try {
    theirChecksum = (await child.ask(command)).checksum as number;
  } catch (error) {
    console.error(`${piece.layer} ${piece.peer}: ${(error as Error).message}`);
    return;
  }
  if (Math.abs(theirChecksum - mine.checksum) > 1e-3 * mine.checksum) {
    throw new Error(
      `${piece.layer} ${piece.what}: ${piece.peer} computes ${theirChecksum}, this package ${mine.checksum}`,
    );
  }
  const calls = callsOf(problem, backward);
  const [own, theirs]: [number[], number[]] = [[], []];
  for (let round = 0; round <= Number(flags.rounds); round++) {
    await settle();
    const times = (await child.ask({ do: 'time', calls })).times as number[];
    await settle();
    const mineNow = timed(mine.run, calls);
    // The first round warms both up.
    if (round === 0) continue;
    theirs.push(quantiles(times).median);
    own.push(quantiles(mineNow).median);
  }
  const ratios = theirs.map((us, round) => us / own[round]!);
  const short = (value: number): number => Number(value.toPrecision(4));
  const figures = {
    ...{ ratio: short(quantiles(ratios).median), ratio_least: short(Math.min(...ratios)) },
    ...{ us: short(quantiles(own).median), peer_us: short(quantiles(theirs).median), rounds: ratios.length, calls },
  };
  const row = {
    bench: 'peers',
    ...piece,
    ...figures,
    kernel: mine.kernels[0],
    ...circumstances(),
    threads: piece.threads,
  };
  store(flags.file, [{ ...row, about: versions.get(child) }]);
  console.error(
    `${piece.layer} ${piece.what} ${piece.threads}: ${figures.us} µs, ${piece.peer} ${figures.peer_us}: ${figures.ratio}`,
  );
}

function timed(run: () => void, calls: number): number[] {
  return Array.from({ length: calls }, () => {
    const start = performance.now();
    run();
    // A call returns when its work is queued.
    synchronize(CPU);
    return 1000 * (performance.now() - start);
  });
}

function print(): void {
  const last = readRows<Row>(flags.file);
  if (last.length === 0) return;
  const columns = [...new Set(last.map(({ peer, what, threads }) => `${peer} ${what} ${threads}`))].sort();
  const by = new Map(last.map((row) => [key(row), row.ratio]));
  const cell = (layer: string, column: string): number | undefined => {
    const [peer, what, threads] = column.split(' ') as [string, Piece['what'], string];
    return by.get(key({ layer, peer, what, threads: Number(threads) }));
  };
  const lines = Object.keys(BENCH_LAYERS).map((layer) => [
    layer,
    ...columns.map((column) => cell(layer, column)?.toFixed(2) ?? ''),
  ]);
  const means = columns.map((column) => {
    const found = Object.keys(BENCH_LAYERS).flatMap((layer) => cell(layer, column) ?? []);
    return geometricMean(found).toFixed(2);
  });
  console.log('Time of the other implementation divided by ours, median of the rounds; threads last\n');
  console.log(table(['layer', ...columns], [...lines, ['geometric mean', ...means]]));
}
