/**
 * What is refused, and how. A table of every argument error of the operator's semantics (docs/operator.md): the call, the
 * code, the words its sentence must hold. Then 10,000 random bad calls of everything public, in processes of their own.
 */

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { type Dtype, type ErrorCode, FracstrideError, memory, nn, type Tensor, zeros } from 'fracstride';
import { testRuns, testSeed } from '../support/devices.js';

type Row = readonly [what: string, call: () => unknown, code: ErrorCode, ...words: RegExp[]];

const made: Tensor[] = [];
const t = (shape: number[], dtype: Dtype = 'float32'): Tensor => {
  const value = zeros(shape, { dtype, device: 'cpu' });
  made.push(value);
  return value;
};

interface Call {
  x?: number[];
  weight?: number[];
  bias?: number[] | null;
  dtypes?: readonly [x: Dtype, weight: Dtype, bias?: Dtype];
  options?: object;
}

/** x [2, 4, 5, 5], weight [4, 3, 3, 3], bias [3], but for what is given. */
const up = (a: Call) => () =>
  run(nn.functional.convTranspose2d, { x: [2, 4, 5, 5], weight: [4, 3, 3, 3], bias: [3], ...a });
/** x [2, 4, 5, 5], weight [6, 4, 3, 3], bias [6], but for what is given. */
const down = (a: Call) => () => run(nn.functional.conv2d, { x: [2, 4, 5, 5], weight: [6, 4, 3, 3], bias: [6], ...a });

type Operator = (x: Tensor, weight: Tensor, bias: Tensor | null, options: never) => Tensor;

function run(operator: Operator, a: Call): Tensor {
  const [dx, dw, db] = a.dtypes ?? ['float32', 'float32', 'float32'];
  const bias = a.bias ? t(a.bias, db) : null;
  return operator(t(a.x!, dx), t(a.weight!, dw), bias, (a.options ?? {}) as never);
}

type Build = readonly [inChannels: unknown, outChannels: unknown, kernelSize: unknown, options?: object];

/** Builds the layer, runs it on x, or on a fitting one. */
const layer = (Layer: typeof nn.ConvTranspose2d | typeof nn.Conv2d, a: Build, x?: number[], forward?: object) => () => {
  const [inChannels, outChannels, kernelSize, options] = a;
  const module = new Layer(inChannels as number, outChannels as number, kernelSize as number, {
    device: 'cpu',
    ...options,
  });
  made.push(...module.parameters());
  return (module as nn.ConvTranspose2d).forward(t(x ?? [1, module.inChannels, 5, 5]), forward as never);
};
const upLayer = (a: Build, x?: number[], forward?: object) => layer(nn.ConvTranspose2d, a, x, forward);
const downLayer = (a: Build, x?: number[]) => layer(nn.Conv2d, a, x);
const sized = (outputSize: unknown, x = [2, 3, 6, 6], options: object = { stride: 3, outputPadding: 2 }) =>
  upLayer([3, 4, 3, options], x, { outputSize });

function gone(): Tensor {
  const value = t([2, 4, 5, 5]);
  value.dispose();
  return value;
}

const ARGUMENTS: readonly Row[] = [
  ['groups 0', up({ options: { groups: 0 } }), 'ERR_ARGUMENT', /groups/],
  ['groups −1', up({ options: { groups: -1 } }), 'ERR_ARGUMENT', /groups/, /-1/],
  ['groups 1.5', up({ options: { groups: 1.5 } }), 'ERR_ARGUMENT', /groups/, /1\.5/],
  ['groups above the weight', up({ bias: null, options: { groups: 8 } }), 'ERR_SHAPE', /8/, /weight/],
  ['groups that do not divide the weight', up({ bias: null, options: { groups: 3 } }), 'ERR_SHAPE', /divisible by 3/],
  ['stride of three', up({ options: { stride: [2, 2, 2] } }), 'ERR_ARGUMENT', /stride/, /\[2, 2, 2\]/],
  ['padding of three', up({ options: { padding: [1, 1, 1] } }), 'ERR_ARGUMENT', /padding/],
  ['output padding of three', up({ options: { outputPadding: [0, 0, 0] } }), 'ERR_ARGUMENT', /outputPadding/],
  ['dilation of three', up({ options: { dilation: [1, 1, 1] } }), 'ERR_ARGUMENT', /dilation/],
  ['stride of none', up({ options: { stride: [] } }), 'ERR_ARGUMENT', /stride/],
  ['stride 0', up({ options: { stride: 0 } }), 'ERR_ARGUMENT', /stride/, /\b0\b/],
  ['stride −1', up({ options: { stride: -1 } }), 'ERR_ARGUMENT', /stride/],
  ['stride 1.5', up({ options: { stride: 1.5 } }), 'ERR_ARGUMENT', /stride/],
  ['stride NaN', up({ options: { stride: Number.NaN } }), 'ERR_ARGUMENT', /stride/, /NaN/],
  ['stride as a string', up({ options: { stride: '2' } }), 'ERR_ARGUMENT', /stride/, /"2"/],
  ['padding −1', up({ options: { padding: -1 } }), 'ERR_ARGUMENT', /padding/, /-1/],
  ['padding in words', up({ options: { padding: 'same' } }), 'ERR_ARGUMENT', /padding/, /"same"/],
  ['output padding −1', up({ options: { outputPadding: -1 } }), 'ERR_ARGUMENT', /outputPadding/],
  ['dilation 0', up({ options: { dilation: 0 } }), 'ERR_ARGUMENT', /dilation/],
  ['dilation −1', up({ options: { dilation: [1, -1] } }), 'ERR_ARGUMENT', /dilation/],
  [
    'output padding ≥ both',
    up({ options: { stride: 2, outputPadding: 2 } }),
    'ERR_ARGUMENT',
    /outputPadding/,
    /smaller than/,
  ],
  [
    'output padding ≥ both in one dimension',
    up({ options: { stride: [1, 2], outputPadding: [1, 0] } }),
    'ERR_ARGUMENT',
    /outputPadding/,
  ],
  [
    'output padding ≥ dilation',
    up({ options: { dilation: 2, outputPadding: 2 } }),
    'ERR_ARGUMENT',
    /outputPadding/,
    /dilation/,
  ],
  ['options that are none', up({ options: 3 as never }), 'ERR_ARGUMENT', /options/],
];

const SHAPES: readonly Row[] = [
  ['kernel of height 0', up({ weight: [4, 3, 0, 3] }), 'ERR_SHAPE', /kernel/, /\[0, 3\]/],
  ['output of 0 x 0', up({ x: [1, 4, 2, 2], options: { padding: 2 } }), 'ERR_SHAPE', /output size/, /2 x 2/],
  ['output of 0 x 3', up({ x: [1, 4, 2, 5], options: { padding: 2 } }), 'ERR_SHAPE', /output size/],
  ['output of −1 x −1', up({ x: [1, 4, 1, 1], options: { padding: 2 } }), 'ERR_SHAPE', /output size/, /-1/],
  [
    'input of 5 dimensions',
    up({ x: [1, 2, 4, 5, 5] }),
    'ERR_SHAPE',
    /3-dimensional/,
    /4-dimensional/,
    /\[1, 2, 4, 5, 5\]/,
  ],
  ['input of 2 dimensions', up({ x: [5, 5] }), 'ERR_SHAPE', /dimensional/],
  ['weight of 3 dimensions', up({ weight: [4, 3, 3] }), 'ERR_SHAPE', /weight/, /4-dimensional/],
  ['other channels', up({ x: [2, 5, 5, 5] }), 'ERR_SHAPE', /4 channels/, /\[2, 5, 5, 5\]/],
  ['other channels, unbatched', up({ x: [5, 5, 5] }), 'ERR_SHAPE', /4 channels/],
  ['bias of other length', up({ options: { groups: 2 } }), 'ERR_SHAPE', /bias/, /6 elements/, /\[3\]/],
  ['bias of 2 dimensions', up({ bias: [3, 1] }), 'ERR_SHAPE', /bias/, /1-dimensional/],
  ['height 0', up({ x: [2, 4, 0, 5] }), 'ERR_SHAPE', /non-empty/, /\[2, 4, 0, 5\]/],
  ['width 0', up({ x: [2, 4, 5, 0] }), 'ERR_SHAPE', /non-empty/],
  ['no input channels', up({ x: [2, 0, 5, 5], weight: [0, 3, 3, 3] }), 'ERR_SHAPE', /weight/, /at least 1/],
  ['no output channels', up({ weight: [4, 0, 3, 3], bias: [0] }), 'ERR_SHAPE', /weight/, /non-empty/],
  ['no batch, impossible output', up({ x: [0, 4, 1, 1], options: { padding: 4 } }), 'ERR_SHAPE', /output size/],
  ['conv2d: kernel > input', down({ x: [1, 4, 1, 1], weight: [6, 4, 10, 10] }), 'ERR_SHAPE', /kernel/],
  [
    'conv2d: dilated kernel > input',
    down({ x: [1, 4, 4, 4], options: { dilation: 2, stride: 2 } }),
    'ERR_SHAPE',
    /kernel/,
  ],
  ['conv2d: other channels', down({ x: [2, 5, 5, 5] }), 'ERR_SHAPE', /4 channels/],
  ['conv2d: groups mismatch', down({ options: { groups: 2 } }), 'ERR_SHAPE', /8 channels/, /groups/],
  ['conv2d: bias', down({ bias: [4] }), 'ERR_SHAPE', /bias/],
  ['conv2d: input of 5 dimensions', down({ x: [1, 4, 1, 5, 5] }), 'ERR_SHAPE', /dimensional/],
  ['conv2d: height 0', down({ x: [2, 4, 0, 5] }), 'ERR_SHAPE'],
];

const CONV2D_ARGUMENTS: readonly Row[] = [
  ['groups 0', down({ options: { groups: 0 } }), 'ERR_ARGUMENT', /groups/],
  ['stride 0', down({ options: { stride: 0 } }), 'ERR_ARGUMENT', /stride/],
  ['stride −1', down({ options: { stride: -1 } }), 'ERR_ARGUMENT', /stride/],
  ['padding −1', down({ options: { padding: -1 } }), 'ERR_ARGUMENT', /padding/],
  ['dilation 0', down({ options: { dilation: 0 } }), 'ERR_ARGUMENT', /dilation/],
  ['an unknown word', down({ options: { padding: 'foo' } }), 'ERR_ARGUMENT', /padding/, /same/, /valid/, /"foo"/],
  ["'same' with a stride", down({ options: { padding: 'same', stride: 2 } }), 'ERR_ARGUMENT', /same/, /stride/],
];

const TYPES: readonly Row[] = [
  [
    'weight of another type',
    up({ dtypes: ['float32', 'float64', 'float32'] }),
    'ERR_DTYPE',
    /weight/,
    /float32/,
    /float64/,
  ],
  [
    'bias of another type',
    up({ dtypes: ['float64', 'float64', 'float32'] }),
    'ERR_DTYPE',
    /bias/,
    /float64/,
    /float32/,
  ],
  ['half and bfloat16', up({ dtypes: ['float16', 'bfloat16', 'bfloat16'] }), 'ERR_DTYPE', /float16/, /bfloat16/],
  ['integers', up({ dtypes: ['int32', 'int32', 'int32'] }), 'ERR_DTYPE', /int32/],
  ['conv2d: weight', down({ dtypes: ['float32', 'float64', 'float32'] }), 'ERR_DTYPE', /weight/],
  ['conv2d: bias', down({ dtypes: ['float64', 'float64', 'float32'] }), 'ERR_DTYPE', /bias/],
  ['an unknown dtype', () => zeros([1], { dtype: 'float8' as Dtype }), 'ERR_DTYPE', /float8/],
  ['a module of integers', upLayer([4, 4, 3, { dtype: 'int32' }]), 'ERR_DTYPE', /int32/],
];

const { convTranspose2d, conv2d } = nn.functional;
const OBJECTS: readonly Row[] = [
  ['no tensor', () => convTranspose2d([1] as never, t([4, 3, 3, 3])), 'ERR_ARGUMENT', /input/, /tensor/],
  ['no weight', () => convTranspose2d(t([2, 4, 5, 5]), undefined as never), 'ERR_ARGUMENT', /weight/, /tensor/],
  ['a bias that is a number', () => conv2d(t([2, 4, 5, 5]), t([6, 4, 3, 3]), 1 as never), 'ERR_ARGUMENT', /bias/],
  ['a disposed input', () => convTranspose2d(gone(), t([4, 3, 3, 3])), 'ERR_DISPOSED', /dispose/],
  ['a disposed weight', () => conv2d(t([2, 5, 5, 5]), gone()), 'ERR_DISPOSED', /dispose/],
  ['an unknown device', () => zeros([1], { device: 'tpu' }), 'ERR_ARGUMENT', /device/, /tpu/],
  ['a CUDA device that is not there', () => zeros([1], { device: 'cuda:77' }), 'ERR_DEVICE_UNAVAILABLE', /cuda/i],
  ['more than there is', () => zeros([2 ** 20, 2 ** 20], { device: 'cpu' }), 'ERR_OUT_OF_MEMORY', /bytes/],
  [
    'a shape beyond numbers',
    () => zeros([2 ** 30, 2 ** 30, 2 ** 30], { device: 'cpu' }),
    'ERR_OUT_OF_MEMORY',
    /2\^53 bytes/,
  ],
  ['a negative size', () => zeros([-4, 4], { device: 'cpu' }), 'ERR_SHAPE', /-4/],
];

const CONSTRUCTORS: readonly Row[] = [
  ['groups −1', upLayer([4, 4, 3, { groups: -1 }]), 'ERR_ARGUMENT', /groups/, /positive integer/],
  ['groups 0', downLayer([4, 4, 3, { groups: 0 }]), 'ERR_ARGUMENT', /groups/, /positive integer/],
  ['inChannels % groups', upLayer([4, 6, 3, { groups: 3 }]), 'ERR_ARGUMENT', /inChannels/, /divisible/],
  ['outChannels % groups', upLayer([4, 6, 3, { groups: 4 }]), 'ERR_ARGUMENT', /outChannels/, /divisible/],
  ['negative channels', upLayer([-4, 4, 3]), 'ERR_ARGUMENT', /inChannels/, /-4/],
  ['channels that are no integer', upLayer([1.5, 4, 3]), 'ERR_ARGUMENT', /inChannels/],
  ['no channels, at the call', upLayer([0, 4, 3], [1, 0, 5, 5]), 'ERR_SHAPE', /weight/],
  ['reflect', upLayer([4, 4, 3, { paddingMode: 'reflect' }]), 'ERR_ARGUMENT', /zeros/, /"reflect"/],
  [
    'padding mode is checked first',
    upLayer([4, 4, 3, { paddingMode: 'xyz', groups: -1 }]),
    'ERR_ARGUMENT',
    /paddingMode/,
  ],
  ['padding in words', upLayer([4, 4, 3, { padding: 'same' }]), 'ERR_ARGUMENT', /padding/],
  ['conv2d: unknown padding mode', downLayer([4, 4, 3, { paddingMode: 'xyz' }]), 'ERR_ARGUMENT', /reflect/, /"xyz"/],
  [
    'conv2d: same and stride',
    downLayer([4, 4, 3, { padding: 'same', stride: [1, 3] }]),
    'ERR_ARGUMENT',
    /same/,
    /stride/,
  ],
  ['conv2d: unknown word', downLayer([4, 4, 3, { padding: 'foo' }]), 'ERR_ARGUMENT', /"foo"/],
  ['stride of three', upLayer([4, 4, 3, { stride: [1, 2, 3] }]), 'ERR_ARGUMENT', /stride/],
  ['kernel of three', upLayer([4, 4, [3, 3, 3]]), 'ERR_ARGUMENT', /kernelSize/],
  ['kernel 0', upLayer([4, 4, 0]), 'ERR_SHAPE', /kernel/],
  ['stride 0, at the call', upLayer([4, 4, 3, { stride: 0 }]), 'ERR_ARGUMENT', /stride/],
  ['a stride that is no number', upLayer([4, 4, 3, { stride: 'x' }]), 'ERR_ARGUMENT', /stride/],
  ['a bias that is no boolean', upLayer([4, 4, 3, { bias: 1 }]), 'ERR_ARGUMENT', /bias/],
];

const OUTPUT_SIZES: readonly Row[] = [
  ['too small', sized([17, 18]), 'ERR_ARGUMENT', /\[17, 18\]/, /\[18, 18\]/, /\[20, 20\]/, /\[6, 6\]/],
  ['too large', sized([21, 18]), 'ERR_ARGUMENT', /\[21, 18\]/, /\[18, 18\] to \[20, 20\]/],
  ['too wide', sized([20, 21]), 'ERR_ARGUMENT', /\[20, 21\]/],
  ['five sizes', sized([2, 4, 18, 18, 1]), 'ERR_ARGUMENT', /outputSize/, /2 or 4 elements/, /5/],
  ['three sizes for four dimensions', sized([4, 18, 18]), 'ERR_ARGUMENT', /2 or 4 elements/, /3/],
  ['four sizes for three dimensions', sized([2, 4, 18, 18], [3, 6, 6]), 'ERR_ARGUMENT', /2 or 3 elements/, /4/],
  ['unbatched, out of range', sized([21, 18], [3, 6, 6]), 'ERR_ARGUMENT', /\[18, 18\] to \[20, 20\]/],
  ['a bare number', sized(18), 'ERR_ARGUMENT', /outputSize/, /array/, /18/],
  ['no integers', sized([18.5, 18]), 'ERR_ARGUMENT', /outputSize/],
  ['nothing left', sized([0, 1], [1, 3, 2, 2], { stride: 3, padding: 3 }), 'ERR_SHAPE', /output/],
  [
    'the range is stride’s, not dilation’s',
    sized([11, 11], [2, 3, 6, 6], { dilation: 2 }),
    'ERR_ARGUMENT',
    /\[10, 10\] to \[10, 10\]/,
  ],
];

const STATES: readonly Row[] = [
  [
    'a shape that differs',
    () => load({ weight: t([4, 4, 2, 2]), bias: t([4]) }),
    'ERR_SHAPE',
    /weight/,
    /\[4, 4, 2, 2\]/,
  ],
  ['a name that is missing', () => load({ weight: t([4, 4, 3, 3]) }), 'ERR_ARGUMENT', /bias/],
  ['a name too many', () => load({ weight: t([4, 4, 3, 3]), bias: t([4]), extra: t([1]) }), 'ERR_ARGUMENT', /extra/],
  ['no state', () => load(null), 'ERR_ARGUMENT', /state/],
];

function load(state: unknown): unknown {
  const module = new nn.ConvTranspose2d(4, 4, 3, { device: 'cpu' });
  made.push(...module.parameters());
  return module.loadStateDict(state as never);
}

const TABLES: Readonly<Record<string, readonly Row[]>> = {
  'convTranspose2d arguments': ARGUMENTS,
  'conv2d arguments': CONV2D_ARGUMENTS,
  'shapes and empty inputs': SHAPES,
  'element types': TYPES,
  'tensors and devices': OBJECTS,
  'module constructors': CONSTRUCTORS,
  'output sizes': OUTPUT_SIZES,
  'state dicts': STATES,
};

/** What looks wrong and is not. */
const ACCEPTED: readonly (readonly [what: string, call: () => unknown, shape: readonly number[]])[] = [
  ['no batch', up({ x: [0, 4, 5, 5] }), [0, 3, 7, 7]],
  [
    'no batch and an output padding beyond its bound',
    up({ x: [0, 4, 5, 5], options: { outputPadding: 3 } }),
    [0, 3, 10, 10],
  ],
  ['no batch and mixed types', up({ x: [0, 4, 5, 5], dtypes: ['float32', 'float64', 'float64'] }), [0, 3, 7, 7]],
  ['no batch and no height', up({ x: [0, 4, 0, 5], options: { stride: 1 } }), [0, 3, 2, 7]],
  ['output padding below the dilation only', up({ options: { dilation: 3, outputPadding: 2 } }), [2, 3, 13, 13]],
  [
    'output padding below either in each dimension',
    up({ options: { stride: [1, 3], dilation: [3, 1], outputPadding: 2 } }),
    [2, 3, 13, 17],
  ],
  ['the leading output sizes are not looked at', sized([99, 77, 18, 20]), [2, 4, 18, 20]],
  ['three output sizes unbatched', sized([5, 19, 18], [3, 6, 6]), [4, 19, 18]],
  ["conv2d: padding 'same'", down({ x: [2, 4, 5, 5], bias: null, options: { padding: 'same' } }), [2, 6, 5, 5]],
];

describe('bad calls', () => {
  afterEach(() => {
    for (const value of made.splice(0)) value.dispose();
  });

  for (const [title, rows] of Object.entries(TABLES)) {
    describe(title, () => {
      for (const [what, call, code, ...words] of rows) {
        it(`${what}: ${code}`, () => {
          const before = memory().cpu.live;
          const error = refusal(call);
          expect(error, `${what} was accepted`).to.be.instanceOf(FracstrideError);
          const { message, code: got } = error as FracstrideError;
          expect(got, message).to.equal(code);
          expect(message).to.match(/^[\w.]+: .+ must .+, got .+/s);
          for (const word of words) expect(message).to.match(word);
          for (const value of made.splice(0)) value.dispose();
          expect(memory().cpu.live, 'bytes left behind').to.equal(before);
        });
      }
    });
  }

  describe('what looks wrong and is not', () => {
    for (const [what, call, shape] of ACCEPTED) {
      it(what, () => {
        const result = call() as Tensor;
        made.push(result);
        expect([...result.shape]).to.deep.equal([...shape]);
      });
    }
  });
});

function refusal(call: () => unknown): unknown {
  try {
    made.push(call() as Tensor);
    return null;
  } catch (error) {
    return error;
  }
}

describe('10,000 random bad calls', function () {
  this.timeout(600_000);

  const total = testRuns(10_000);
  const workers = 5;

  it('never end the process and throw nothing but what they should', async () => {
    const first = testSeed();
    const seeds = Array.from({ length: workers }, (_, i) => first + i);
    console.log(`      seeds ${seeds.join(' ')}, ${total / workers} refused calls each`);
    const queue = [...seeds];
    const lane = async () => {
      for (let seed = queue.shift(); seed !== undefined; seed = queue.shift())
        await child(seed, Math.ceil(total / workers));
    };
    await Promise.all([lane(), lane()]);
  });
});

interface ChildReport {
  calls: number;
  refused: number;
  targets: number;
  violations: string[];
  live: [number, number];
  sound: boolean;
}

async function child(seed: number, count: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'fracstride-bad-calls-'));
  const notes = join(folder, 'notes');
  try {
    const { code, signal, stdout, stderr } = await runNode(
      ['--expose-gc', script, String(seed), String(count), notes],
      folder,
    );
    const last = `after ${readFileSync(notes, 'utf8')}\n${stderr.slice(-2000)}`;
    expect(signal, `a process died of ${signal} ${last}`).to.equal(null);
    expect(code, `a process ended with ${code} ${last}`).to.equal(0);
    const report = JSON.parse(stdout.trim().split('\n').at(-1)!) as ChildReport;
    expect(report.violations.slice(0, 20), `seed ${seed}: ${report.violations.length} violations`).to.deep.equal([]);
    expect(report.refused, `refused of ${report.calls} calls`).to.be.at.least(count);
    expect(report.sound, 'a convolution is right afterwards').to.equal(true);
    expect(report.live[1], `seed ${seed}: live bytes afterwards`).to.equal(report.live[0]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const script = fileURLToPath(new URL('../support/bad_calls_child.js', import.meta.url));

function runNode(args: string[], cwd: string) {
  type End = { code: number | null; signal: NodeJS.Signals | null; stdout: string; stderr: string };
  return new Promise<End>((resolve) => {
    const process_ = spawn(process.execPath, args, { cwd, timeout: 300_000, killSignal: 'SIGABRT' });
    let [stdout, stderr] = ['', ''];
    process_.stdout.on('data', (text: Buffer) => {
      stdout += text;
    });
    process_.stderr.on('data', (text: Buffer) => {
      stderr += text;
    });
    process_.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}
