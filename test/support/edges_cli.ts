/**
 * `node edges_cli.js [--pass wgrad] [--runs 200] [--seed N] [--dtype float32] [--layout nchw] [--variant igemm] [--multiple 1]
 * [--most 136] [--groups 1,1,1,2,3] [--depthwise] [--shapes 'r=4 stride=4;r=2'] [--settings tf32] [--device cuda:0] [--only REGEX]`:
 * passes (several with commas between take turns) of random problems whose sizes lie around those of the variant's tiles, by each of
 * its tiles in turn, or of those whose words match `--only`; `--multiple 8` rounds channels of a group, of `--most` at most, up to multiples of eight, which are read in
 * wider pieces; with --depthwise every channel is a group of its own. Operands are multiples of 1/8 up to ±1/2, so that every sum
 * is exact in any order; in every fourth problem a few are infinite or NaN. The results must be the oracle's, rounded once, to
 * the last bit. The last line is a JSON summary.
 */

import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { grad, nn, scope, type Tensor, tensor } from 'fracstride';
import { LAYOUTS, type Layout, type Pass, type Problem } from '../../codegen/problem.js';
import { parseProblem } from '../../codegen/problem_text.js';
import { partingOf, wordsOf } from '../../codegen/spec.js';
import { DTYPE_TABLE, DTYPES, type Dtype } from '../../codegen/target.js';
import { resolveDevice } from '../../src/device.js';
import { candidatesOn, lastKernel, preferVariant } from '../../src/kernels.js';
import { contract, expand, wgrad } from '../../src/verify/oracle.js';
import { rounded } from './kernels.js';
import { setLibrary } from './variant_watch.js';

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda:0' },
    pass: { type: 'string', default: 'wgrad' },
    runs: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    dtype: { type: 'string', default: 'float32' },
    layout: { type: 'string', default: 'nchw,nhwc' },
    variant: { type: 'string', default: 'igemm' },
    multiple: { type: 'string', default: '1' },
    most: { type: 'string', default: '136' },
    depthwise: { type: 'boolean', default: false },
    groups: { type: 'string', default: '1,1,1,2,3' },
    settings: { type: 'string' },
    shapes: { type: 'string' },
    only: { type: 'string', default: '' },
  },
});

export interface EdgesSummary {
  readonly problems: number;
  readonly failures: readonly string[];
  /** Runs by the kernel's variant and settings. */
  readonly ran: Readonly<Record<string, number>>;
  /** Runs whose sums were cut into parts. */
  readonly parted: number;
  /** SHA-256 over every result. */
  readonly digest: string;
}

/** Few shapes of taps, since each is a kernel that has to be compiled. */
const SHAPES = values.shapes?.split(';') ?? [
  'r=4 stride=2 padding=1',
  'r=3 stride=2 padding=1 outputPadding=1',
  'r=1',
  'r=4',
  'r=5x2 stride=1x3 padding=2x0 dilation=1x2',
];
const PASSES = values.pass.split(',') as Pass[];
/** Multiply-adds that the oracle is asked for at most. */
const MOST = 3e7;

/** One number in so many is infinite or NaN where some are. */
const RARE = 400;
const SPECIAL = [Infinity, -Infinity, Number.NaN];

const multiple = Number(values.multiple);
const whole = (channels: number): number => Math.ceil(channels / multiple) * multiple;
const AROUND = [1, 3, 8, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100, 127, 128, 129, 136];
const around = fc.constantFrom(...AROUND.filter((channels) => channels <= Number(values.most)));
const extent = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 40 }) },
  { weight: 1, arbitrary: fc.constant(1) },
);
const sizes = fc.tuple(around, around, fc.integer({ min: 1, max: 5 }), extent, extent);
const draws = fc
  .record({
    shape: fc.constantFrom(...SHAPES),
    sizes,
    groups: fc.constantFrom(...values.groups.split(',').map(Number)),
    turn: fc.nat(1000),
  })
  .map(({ shape, sizes: [small, large, n, h, w], groups, turn }) => {
    const [c, k] = values.depthwise ? [1, 1] : [whole(small), whole(large)];
    const count = values.depthwise ? whole(small) : groups;
    const text = `convT2d n=${n} c=${c * count} k=${k * count} h=${h} w=${w} ${shape}${count === 1 ? '' : ` groups=${count}`}`;
    return { text, turn };
  })
  .filter(({ text }) => {
    if (isCroppedAway(text)) return false;
    const { n, cs, cl, hs, ws, r, s, groups } = parseProblem(text).geometry;
    // Tensors of one pixel have both layouts, in which depthwise kernels have other tiles.
    if (values.depthwise && hs * ws === 1) return false;
    return (n * hs * ws * cs * cl * r * s) / groups <= MOST;
  });

/** Whether the padding of a shape leaves nothing of the output of a small input. */
function isCroppedAway(text: string): boolean {
  try {
    parseProblem(text);
    return false;
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_SHAPE') return true;
    throw error;
  }
}

setLibrary(values.settings);
const dtypes = values.dtype.split(',').map((word) => DTYPES.find((name) => name === word)!);
const layouts = values.layout.split(',').map((word) => LAYOUTS.find((name) => name === word)!);
const hash = createHash('sha256');
const failures: string[] = [];
const ran: Record<string, number> = {};
let [problems, parted] = [0, 0];

for (const { text, turn } of fc.sample(draws, { seed: Number(values.seed), numRuns: Number(values.runs) })) {
  const dtype = dtypes[turn % dtypes.length]!;
  const layout = layouts[Math.floor(turn / 7) % layouts.length]!;
  const pass = PASSES[turn % PASSES.length]!;
  const bias = pass === 'fwd' && turn % 5 < 2;
  const problem = parseProblem(`${text} dtype=${dtype} layout=${layout} pass=${pass} bias=${bias}`);
  const legal = candidatesOn(resolveDevice('edges', values.device), problem).filter(
    (row) => row.variant === values.variant && row.cost !== null && new RegExp(values.only).test(wordsOf(row)),
  );
  if (legal.length === 0) continue;
  const row = legal[turn % legal.length]!;
  problems++;
  if (partingOf(row.spec!, problem) !== null) parted++;
  const settings = wordsOf(row);
  const failure = scope(() => check(problem, { dtype, layout, settings, turn }));
  if (failure !== null)
    failures.push(`${text} pass=${pass} dtype=${dtype} layout=${layout} by ${settings}: ${failure}`);
}
console.log(JSON.stringify({ problems, failures, ran, parted, digest: hash.digest('hex') } satisfies EdgesSummary));
process.exitCode = failures.length > 0 ? 1 : 0;

/** The tensors of a transposed convolution, numbered. */
interface Numbers {
  readonly small: Float64Array;
  readonly large: Float64Array;
  readonly weight: Float64Array;
  readonly bias: Float64Array | undefined;
}

function expected({ pass, geometry: g }: Problem, { small, large, weight, bias }: Numbers): Float64Array {
  if (pass === 'fwd') return expand(g, small, weight, bias);
  return pass === 'dgrad' ? contract(g, large, weight) : wgrad(g, small, large);
}

interface Run {
  readonly dtype: Dtype;
  readonly layout: Layout;
  readonly settings: string;
  readonly turn: number;
}

function check(problem: Problem, { dtype, layout, settings, turn }: Run): string | null {
  const { geometry: g, pass } = problem;
  const special = turn % 4 === 3;
  const small = numbers(g.n * g.cs * g.hs * g.ws, turn + 1, special);
  const large = numbers(g.n * g.cl * g.hl * g.wl, turn + 2, special);
  const place = (data: Float64Array, shape: readonly number[]): Tensor =>
    tensor(data, { shape: [...shape], dtype, device: values.device })
      .to({ layout })
      .detach();
  const x = place(small, [g.n, g.cs, g.hs, g.ws]);
  const gradOutput = place(large, [g.n, g.cl, g.hl, g.wl]);
  const weights = numbers(((g.cs * g.cl) / g.groups) * g.r * g.s, turn, special);
  const weight = tensor(weights, { shape: [g.cs, g.cl / g.groups, g.r, g.s], dtype, device: values.device });
  const biases = problem.bias ? numbers(g.cl, turn + 3, special) : undefined;
  const bias = biases === undefined ? null : tensor(biases, { shape: [g.cl], dtype, device: values.device });
  const wanted = pass === 'wgrad' ? weight : x;
  wanted.requiresGrad = pass !== 'fwd';
  preferVariant(pass === 'fwd' ? settings : 'gather');
  const output = [0, 1].map(
    (d) =>
      [g.hl, g.wl][d]! -
      ([g.hs, g.ws][d]! - 1) * g.stride[d]! +
      2 * g.padding[d]! -
      g.dilation[d]! * ([g.r, g.s][d]! - 1) -
      1,
  );
  const options = { stride: [...g.stride], padding: [...g.padding], dilation: [...g.dilation], groups: g.groups };
  const y = nn.functional.convTranspose2d(x, weight, bias, { ...options, outputPadding: output } as never);
  preferVariant(settings);
  const [result] = pass === 'fwd' ? [y] : (grad([y], [wanted], { gradOutputs: [gradOutput] }) as [Tensor]);
  if (!lastKernel().includes(`__${settings}__`)) return `${lastKernel()} ran`;
  ran[settings] = (ran[settings] ?? 0) + 1;
  const got = result.dataSync();
  hash.update(Float64Array.from(got));
  const want = rounded(DTYPE_TABLE[dtype].short, expected(problem, { small, large, weight: weights, bias: biases }));
  const wrong = want.findIndex((value, i) => got[i] !== value && !(Number.isNaN(value) && Number.isNaN(got[i])));
  return wrong < 0 ? null : `element ${wrong} is ${got[wrong]}, not ${want[wrong]}`;
}

/** Multiples of 1/8 up to ±1/2; `special`: infinities and NaN among them. */
function numbers(count: number, seed: number, special: boolean): Float64Array {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return Float64Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const drawn = state >>> 8;
    return special && drawn % RARE === 0 ? SPECIAL[(drawn / RARE) % 3]! : ((drawn % 9) - 4) / 8;
  });
}
