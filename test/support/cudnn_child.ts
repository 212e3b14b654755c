/**
 * `cudnn_child.js WHAT [WORDS]`: the addon's verbs for cuDNN on whatever driver and libcudnn the environment names, and what came
 * of them as JSON. All values are small integers, so that every algorithm in every type has one right answer.
 */

import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import type { Geometry } from '../../codegen/problem.js';
import { type CudnnAlgorithm, native } from '../../src/native.js';
import { bgrad, contract, expand, wgrad } from '../../src/verify/oracle.js';
import { decode, encode, FLOAT_TYPES } from './kernels.js';
import { cudnnControl } from './simulator_control.js';

const DEVICE = 1;
const FORMS = ['expand', 'contract', 'wgrad', 'bgrad'] as const;
type Form = (typeof FORMS)[number];
type Type = (typeof FLOAT_TYPES)[number];
type Tensor = 'small' | 'large' | 'weight' | 'smallBias' | 'largeBias';

const BIAS = 4;
const addon = native();

const geometry = (
  [n, cs, hs, ws]: readonly number[],
  cl: number,
  [r, s]: readonly number[],
  { stride = [1, 1], padding = [0, 0], dilation = [1, 1], op = [0, 0], groups = 1 }: Options = {},
): Geometry => {
  const size = (i: 0 | 1, small: number, kernel: number): number =>
    (small - 1) * stride[i] - 2 * padding[i] + dilation[i] * (kernel - 1) + op[i] + 1;
  const [hl, wl] = [size(0, hs!, r!), size(1, ws!, s!)];
  return { n: n!, cs: cs!, hs: hs!, ws: ws!, cl, hl, wl, r: r!, s: s!, stride, padding, dilation, groups };
};
interface Options {
  readonly stride?: readonly [number, number];
  readonly padding?: readonly [number, number];
  readonly dilation?: readonly [number, number];
  readonly op?: readonly [number, number];
  readonly groups?: number;
}

const GEOMETRIES: readonly Geometry[] = [
  geometry([2, 6, 3, 5], 4, [4, 4], { stride: [2, 2], padding: [1, 1], groups: 2 }),
  geometry([1, 4, 4, 3], 3, [3, 3], { padding: [1, 1] }),
  geometry([3, 2, 4, 2], 5, [3, 2], { stride: [2, 3], padding: [1, 0], op: [1, 2] }),
  geometry([1, 3, 5, 4], 3, [3, 3], { stride: [2, 1], padding: [2, 1], dilation: [2, 1], groups: 3 }),
  geometry([2, 5, 1, 1], 7, [4, 3]),
];

function sizes(g: Geometry): Int32Array {
  const { n, cs, hs, ws, cl, hl, wl, r, s, stride, padding, dilation, groups } = g;
  return Int32Array.of(n, cs, hs, ws, cl, hl, wl, r, s, ...stride, ...padding, ...dilation, groups);
}

/** n × c × h × w of a tensor in the order of NCHW. */
function shape(g: Geometry, tensor: Tensor): readonly [number, number, number, number] {
  switch (tensor) {
    case 'small':
      return [g.n, g.cs, g.hs, g.ws];
    case 'large':
      return [g.n, g.cl, g.hl, g.wl];
    case 'weight':
      return [g.cs, g.cl / g.groups, g.r, g.s];
    case 'smallBias':
      return [1, g.cs, 1, 1];
    case 'largeBias':
      return [1, g.cl, 1, 1];
  }
}
const count = (g: Geometry, tensor: Tensor): number => shape(g, tensor).reduce((a, b) => a * b);

/** In {-1, 0, 1}; another for each tensor. */
function values(g: Geometry, tensor: Tensor, seed: number): Float64Array {
  let state = seed * 7919 + tensor.length * 104729 + count(g, tensor);
  return Float64Array.from({ length: count(g, tensor) }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return ((state >>> 16) % 3) - 1;
  });
}

/** Where each element of the NCHW order lies in memory. */
function positions(g: Geometry, tensor: Tensor, nhwc: boolean): Uint32Array {
  const [n, c, h, w] = shape(g, tensor);
  const at = new Uint32Array(n * c * h * w);
  for (let i = 0; i < at.length; i++) {
    const [x, y, k, b] = [i % w, Math.floor(i / w) % h, Math.floor(i / (w * h)) % c, Math.floor(i / (w * h * c))];
    at[i] = nhwc ? ((b * h + y) * w + x) * c + k : i;
  }
  return at;
}

class Buffer {
  readonly handle: number;
  readonly bytes: number;

  constructor(
    readonly type: Type,
    data: Float64Array,
    at: Uint32Array = Uint32Array.from(data, (_, i) => i),
  ) {
    const laid = new Float64Array(data.length);
    at.forEach((to, from) => {
      laid[to] = data[from]!;
    });
    const stored = encode(type, laid);
    this.bytes = stored.byteLength;
    this.handle = addon.alloc(DEVICE, this.bytes);
    this.write(stored);
  }

  write(stored: ReturnType<typeof encode>): void {
    addon.copyIn(DEVICE, this.handle, 0, stored);
  }

  read(at: Uint32Array): number[] {
    const stored = encode(this.type, new Float64Array(at.length));
    addon.copyOut(DEVICE, this.handle, 0, stored);
    const laid = decode(this.type, stored);
    return Array.from(at, (from) => laid[from]!);
  }

  free(): void {
    addon.free(DEVICE, this.handle);
  }
}

function operands(form: Form, bias: boolean): (Tensor | null)[] {
  switch (form) {
    case 'expand':
      return ['small', 'weight', bias ? 'largeBias' : null, 'large'];
    case 'contract':
      return ['large', 'weight', bias ? 'smallBias' : null, 'small'];
    case 'wgrad':
      return ['small', 'large', 'weight'];
    case 'bgrad':
      return ['large', 'largeBias'];
  }
}

function expected(g: Geometry, form: Form, data: Readonly<Record<Tensor, Float64Array>>, bias: boolean): Float64Array {
  switch (form) {
    case 'expand':
      return expand(g, data.small, data.weight, bias ? data.largeBias : undefined);
    case 'contract':
      return contract(g, data.large, data.weight, bias ? data.smallBias : undefined);
    case 'wgrad':
      return wgrad(g, data.small, data.large);
    case 'bgrad':
      return bgrad(g.n, g.cl, g.hl * g.wl, data.large);
  }
}

function stage(pointers: readonly (Pick<Buffer, 'handle' | 'bytes'> | null)[]): void {
  addon.args.set(pointers.flatMap((pointer) => (pointer === null ? [0, 0, 0] : [pointer.handle, 0, pointer.bytes])));
}

/** Runs a plan, or another verb, on what `words` put into the staging area. */
function runOn(words: readonly number[], plan: number, verb: 'cudnnRun' | 'cudnnFind' = 'cudnnRun'): () => unknown {
  return () => {
    addon.args.fill(0, 0, 15);
    addon.args.set(words);
    return addon[verb](DEVICE, plan);
  };
}

function refusal(call: () => unknown): string {
  try {
    call();
    return 'nothing';
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return `${code} ${message}`;
  }
}

interface Case {
  readonly g: Geometry;
  readonly form: Form;
  readonly type: Type;
  readonly nhwc: boolean;
  readonly bias: boolean;
}

/** One problem: its plan, its operands, its right answer. */
class Computation {
  readonly plan: number;
  readonly #pointers: (Buffer | null)[];
  readonly #at: Uint32Array;
  readonly right: number[];

  constructor({ g, form, type, nhwc, bias }: Case, seed = 1, flags = 0) {
    this.plan = addon.cudnnPlan(
      DEVICE,
      FORMS.indexOf(form),
      sizes(g),
      FLOAT_TYPES.indexOf(type),
      nhwc ? 1 : 0,
      flags | (bias ? BIAS : 0),
    );
    const tensors: Tensor[] = ['small', 'large', 'weight', 'smallBias', 'largeBias'];
    const data = Object.fromEntries(tensors.map((t) => [t, values(g, t, seed)])) as Record<Tensor, Float64Array>;
    this.right = [...expected(g, form, data, bias)].map((v) => v + 0);
    const names = operands(form, bias);
    const output = names.at(-1) as Tensor;
    this.#at = positions(g, output, nhwc);
    this.#pointers = names.map((name) => {
      if (name === null) return null;
      const given = name === output ? data[name].map(() => Number.NaN) : data[name];
      return new Buffer(type, given, positions(g, name, nhwc));
    });
  }

  /** With a workspace of this many bytes staged. */
  #with(bytes: number, work: () => void): void {
    const handle = bytes === 0 ? 0 : addon.alloc(DEVICE, bytes);
    stage([...this.#pointers, handle === 0 ? null : { handle, bytes }]);
    try {
      work();
    } finally {
      addon.free(DEVICE, handle);
    }
  }

  find(bytes: number): CudnnAlgorithm[] {
    let found: CudnnAlgorithm[] = [];
    this.#with(bytes, () => {
      found = addon.cudnnFind(DEVICE, this.plan);
    });
    return found;
  }

  run({ algo, mathType }: { algo: number; mathType: number }): void {
    const bytes = addon.cudnnChoose(DEVICE, this.plan, algo, mathType, `algo ${algo} of a test`);
    this.#with(bytes, () => addon.cudnnRun(DEVICE, this.plan));
  }

  output(): number[] {
    return this.#pointers
      .at(-1)!
      .read(this.#at)
      .map((v) => v + 0);
  }

  isRight(): boolean {
    return this.output().every((value, i) => value === this.right[i]);
  }

  /** Fills the output with zeros again. */
  clear(): void {
    const output = this.#pointers.at(-1)!;
    output.write(encode(output.type, new Float64Array(this.right.length)));
  }

  free(): void {
    addon.cudnnFree(this.plan);
    for (const pointer of this.#pointers) pointer?.free();
  }
}

/** Every form, type, layout and algorithm. */
function everything(): unknown {
  const wrong: string[] = [];
  const refused = new Set<string>();
  let runs = 0;
  for (const [index, g] of GEOMETRIES.entries())
    for (const form of FORMS)
      for (const type of FLOAT_TYPES)
        for (const nhwc of [false, true]) {
          const bias = index % 2 === 0 && (form === 'expand' || form === 'contract');
          const title = `${form} ${type} ${nhwc ? 'nhwc' : 'nchw'}`;
          try {
            const computation = new Computation({ g, form, type, nhwc, bias }, index + 1, 2);
            const usable = addon.cudnnAlgorithms(DEVICE, computation.plan).filter((row) => row.status === 0);
            if (usable.length === 0) refused.add(`${title}: no algorithm`);
            for (const row of usable) {
              computation.run(row);
              runs++;
              if (!computation.isRight()) wrong.push(`${title} problem ${index} algorithm ${row.algo} ${row.mathType}`);
              computation.clear();
            }
            computation.free();
          } catch (error) {
            refused.add(`${title}: ${(error as { code: string }).code}`);
          }
        }
  return { wrong, runs: runs > 200, refused: [...refused].sort(), live: addon.memory(DEVICE).live };
}

const USUAL: Case = { g: GEOMETRIES[0]!, form: 'expand', type: 'f32', nhwc: false, bias: false };

function measured(): unknown {
  const computation = new Computation(USUAL);
  const found = computation.find(64 << 20);
  const best = found[0]!;
  computation.run(best);
  return {
    sorted: found.filter((r) => r.status === 0).every((r, i, all) => i === 0 || all[i - 1]!.time <= r.time),
    timed: best.time > 0,
    right: computation.isRight(),
  };
}

function hostile(): unknown {
  const plan = (...args: unknown[]) => (addon.cudnnPlan as (...args: unknown[]) => number)(...args);
  const good = sizes(USUAL.g);
  const computation = new Computation(USUAL);
  const deterministic = new Computation(USUAL, 1, 1);
  const bgradPlan = new Computation({ ...USUAL, form: 'bgrad' });
  computation.run(addon.cudnnAlgorithms(DEVICE, computation.plan).find((row) => row.status === 0)!);
  const { plan: handle } = computation;
  const algorithms = (h: unknown) => addon.cudnnAlgorithms(DEVICE, h as number);
  const buffer = addon.alloc(DEVICE, 16);
  const small = [buffer, 0, 16];
  const calls: [string, () => unknown][] = [
    ['no device', () => plan(30, 0, good, 0, 0, 0)],
    ['the CPU', () => plan(0, 0, good, 0, 0, 0)],
    ['form', () => plan(DEVICE, 4, good, 0, 0, 0)],
    ['sizes', () => plan(DEVICE, 0, good.subarray(1), 0, 0, 0)],
    ['other array', () => plan(DEVICE, 0, new Float32Array(16), 0, 0, 0)],
    ['no array', () => plan(DEVICE, 0, [...good], 0, 0, 0)],
    ['dtype', () => plan(DEVICE, 0, good, 1.5, 0, 0)],
    ['layout', () => plan(DEVICE, 0, good, 0, 2, 0)],
    ['flags', () => plan(DEVICE, 0, good, 0, 0, 8)],
    [
      'op',
      () =>
        plan(
          DEVICE,
          0,
          good.map((v, i) => (i === 5 ? v + 2 : v)),
          0,
          0,
          0,
        ),
    ],
    ['handle', () => algorithms(handle + 100)],
    ['fraction', () => algorithms(handle + 0.5)],
    ['NaN', () => algorithms(Number.NaN)],
    ['text', () => algorithms('1')],
    ['device of plan', () => addon.cudnnRun(0, handle)],
    ['algorithm', () => addon.cudnnChoose(DEVICE, handle, 99, 3, 'x')],
    ['math', () => addon.cudnnChoose(DEVICE, handle, 1, 7, 'x')],
    ['TF32', () => addon.cudnnChoose(DEVICE, handle, 1, 0, 'x')],
    ['name', () => addon.cudnnChoose(DEVICE, handle, 1, 3, 5 as unknown as string)],
    ['contract', () => addon.cudnnChoose(DEVICE, deterministic.plan, 0, 3, 'x')],
    ['no choice', runOn([], deterministic.plan)],
    ['nulls', runOn([], handle)],
    ['short', runOn([...small, ...small, 0, 0, 0, ...small], handle)],
    ['dead', runOn([12345, 0, 16], handle)],
    ['outside', runOn([buffer, 8, 16], handle)],
    ['bytes', runOn([buffer, 0, Number.NaN], handle)],
    ['find', runOn([...small, ...small, 0, 0, 0, ...small], handle, 'cudnnFind')],
  ];
  const said = Object.fromEntries(calls.map(([name, call]) => [name, refusal(call)]));
  bgradPlan.run({ algo: 0, mathType: 0 });
  computation.free();
  addon.cudnnFree(handle);
  addon.cudnnFree(-1);
  addon.cudnnFree(Number.NaN);
  said.freed = refusal(() => addon.cudnnRun(DEVICE, handle));
  return { said, bgrad: bgradPlan.isRight() };
}

function graph(): unknown {
  const computation = new Computation({ ...USUAL, bias: true });
  const algorithm = addon.cudnnAlgorithms(DEVICE, computation.plan).find((row) => row.status === 0)!;
  addon.beginCapture(DEVICE);
  const find = refusal(() => computation.find(0));
  const during = addon.cudnnPlan(DEVICE, 3, sizes(USUAL.g), 0, 0, 0);
  computation.run(algorithm);
  const recorded = addon.endCapture(DEVICE);
  computation.clear();
  const before = computation.isRight();
  addon.replayGraph(DEVICE, recorded);
  const after = computation.isRight();
  computation.clear();
  computation.run(algorithm);
  const own = computation.isRight();
  addon.cudnnFree(during);
  computation.free();
  addon.freeGraph(DEVICE, recorded);
  return { find, before, after, own };
}

/** Workers that end with plans alive and runs under way, and one that is terminated. */
async function workers(): Promise<unknown> {
  const control = cudnnControl();
  const own = new Computation(USUAL);
  own.run(addon.cudnnAlgorithms(DEVICE, own.plan).find((row) => row.status === 0)!);
  const mine = control.cudnnMemory();
  const program = fileURLToPath(import.meta.url);
  const results = await Promise.all(
    ['end', 'end', 'stay'].map(
      (how) =>
        new Promise((resolve, reject) => {
          const worker = new Worker(program, { workerData: how });
          worker.once('error', reject).once('message', async (right) => {
            if (how === 'stay') await worker.terminate();
            else await new Promise((ended) => worker.once('exit', ended));
            resolve(right);
          });
        }),
    ),
  );
  const left = control.cudnnMemory();
  return { results, mine, left, right: own.isRight(), fault: control.cudnnLastFault() };
}

async function inWorker(how: string): Promise<void> {
  const { parentPort } = await import('node:worker_threads');
  const computations = GEOMETRIES.map((g, i) => new Computation({ ...USUAL, g, form: FORMS[i % 4]! }, i));
  const algorithms = computations.map((c) => addon.cudnnAlgorithms(DEVICE, c.plan).find((row) => row.status === 0)!);
  for (const [i, c] of computations.entries()) c.run(algorithms[i]!);
  const right = computations.every((c) => c.isRight());
  for (let round = 0; round < 10; round++) for (const [i, c] of computations.entries()) c.run(algorithms[i]!);
  parentPort!.postMessage(right);
  if (how === 'stay') setInterval(() => computations[0]!.run(algorithms[0]!), 1);
}

/** What each status becomes, when a run gets it. */
function statuses(): unknown {
  const control = cudnnControl();
  const computation = new Computation(USUAL);
  const algorithm = addon.cudnnAlgorithms(DEVICE, computation.plan).find((row) => row.status === 0)!;
  const said = process.argv.slice(3).map((code) => {
    control.configureCudnn(`status=cudnnConvolutionBackwardData:${code}`);
    return refusal(() => computation.run(algorithm));
  });
  control.configureCudnn('status=none');
  computation.run(algorithm);
  return { said, right: computation.isRight() };
}

const CHECKS: Readonly<Record<string, () => unknown>> = {
  info: () => addon.cudnnInfo(),
  everything,
  measured,
  hostile,
  graph,
  statuses,
  workers,
};

if (isMainThread) console.log(JSON.stringify(await CHECKS[process.argv[2]!]!()));
else await inWorker(workerData as string);
