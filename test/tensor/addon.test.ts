/** The addon's verbs: buffers, copies, launches, errors, guards, threads, workers, and arguments of every bad kind. */

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { hasOperation, OPERATIONS, operationArguments, operationKernel } from '../../codegen/operations.js';
import { native } from '../../src/native.js';
import { isas, Memory } from '../support/kernels.js';

const CHILD = fileURLToPath(new URL('../support/addon_child.js', import.meta.url));
const ADDON = fileURLToPath(new URL('../../../build/Release/fracstride.node', import.meta.url));
const addon = native();

/** What the addon threw: its code and sentence. */
function refusal(call: () => unknown): { code: string; message: string } {
  try {
    call();
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error('the call must throw');
}

function load(operation: string, type: 'f32' | 'f64' = 'f32'): number {
  const kinds = operationArguments(operation).map((arg) => arg.kind);
  return addon.load(0, operationKernel(operation, type, isas()[0]!), kinds.join(''), null);
}

const launch = (kernel: number) => addon.launch(0, kernel);

describe('addon: kernels by name', () => {
  it('hold every operation, element type and instruction set that this machine runs', () => {
    const names = new Set(addon.kernelNames(0));
    for (const isa of isas()) {
      for (const operation of OPERATIONS.values()) {
        // some are those of CUDA devices
        if (!hasOperation(operation.name, { kind: 'cpu', isa })) continue;
        for (const type of operation.types) expect(names).to.include(operationKernel(operation.name, type, isa));
      }
    }
    expect(names.size).to.equal(addon.kernelNames(0).length);
  });

  it('are loaded once, with the kinds that the argument table says', () => {
    expect(load('add')).to.equal(load('add'));
    const name = operationKernel('fill', 'f32', isas()[0]!);
    expect(refusal(() => addon.load(0, name, 'pl', null))).to.include({ code: 'ERR_ARGUMENT' });
    expect(refusal(() => addon.load(0, name, 'pld', new Uint8Array(4)))).to.include({ code: 'ERR_ARGUMENT' });
    expect(refusal(() => addon.load(0, `${name}x`, 'pld', null))).to.include({ code: 'ERR_KERNEL_NOT_PREBUILT' });
    expect(refusal(() => addon.load(0, name, 'pxd', null)).message).to.match(
      /^load: kinds must be at most 128 letters of p i l f d/,
    );
  });
});

describe('addon: buffers', () => {
  it('are counted in exact bytes, kept for re-use and given back', () => {
    addon.emptyCache(0);
    const before = addon.memory(0);
    const handles = [0, 1, 63, 64, 1000, 123_457].map((bytes) => addon.alloc(0, bytes));
    expect(addon.memory(0).live - before.live).to.equal(124_585);
    expect(addon.memory(0).peak).to.be.at.least(before.live + 124_585);
    for (const handle of handles) addon.free(0, handle);
    expect(addon.memory(0).live).to.equal(before.live);
    const { cached } = addon.memory(0);
    expect(cached).to.be.within(124_585, 160_000);
    addon.free(0, addon.alloc(0, 123_400));
    expect(addon.memory(0).cached).to.equal(cached);
    addon.emptyCache(0);
    expect(addon.memory(0).cached).to.equal(0);
  });

  it('have handles that are never given out again', () => {
    const seen = new Set<number>();
    for (let i = 0; i < 10_000; i++) {
      const handle = addon.alloc(0, 16);
      expect(Number.isSafeInteger(handle) && handle > 0 && !seen.has(handle)).to.equal(true);
      seen.add(handle);
      addon.free(0, handle);
      addon.free(0, handle);
    }
  });

  it('move bytes of any typed array or DataView at any offset', () => {
    const handle = addon.alloc(0, 64);
    const bytes = Uint8Array.from({ length: 64 }, (_, i) => i);
    addon.copyIn(0, handle, 0, bytes);
    const shared = new Float32Array(new SharedArrayBuffer(16));
    addon.copyOut(0, handle, 8, shared);
    expect([...new Uint8Array(shared.buffer)]).to.deep.equal([...bytes.subarray(8, 24)]);
    addon.copyIn(0, handle, 3, new DataView(bytes.buffer, 40, 5));
    const back = new BigInt64Array(8);
    addon.copyOut(0, handle, 0, back);
    expect([...new Uint8Array(back.buffer, 3, 5)]).to.deep.equal([40, 41, 42, 43, 44]);
    addon.free(0, handle);
  });

  it('refuse dead handles, other devices and ranges outside', () => {
    const handle = addon.alloc(0, 16);
    const four = new Float32Array(1);
    for (const [at, offset] of [
      [handle, 13],
      [handle, -4],
      [handle, 0.5],
      [handle, Number.NaN],
      [handle, 2 ** 53],
    ] as const) {
      expect(refusal(() => addon.copyIn(0, at, offset, four)).message).to.match(
        /^copyIn: the range must lie inside its buffer of 16 bytes/,
      );
    }
    addon.free(0, handle);
    for (const bad of [handle, handle + 1, 0, -1, 0.5, Number.NaN, Infinity, 2 ** 53, 1]) {
      expect(refusal(() => addon.copyOut(0, bad, 0, four)).message).to.match(
        /must be a live buffer of cpu, got handle/,
      );
    }
    for (const device of [-1, 0.5, Number.NaN, 99]) {
      expect(refusal(() => addon.alloc(device, 1)).message).to.match(/^alloc: device must be an integer from 0 to 31/);
    }
  });

  it('read nothing of a detached array', () => {
    const memory = Memory.of('f32', [1, 2, 3]);
    const gone = new Float32Array([7, 8, 9]);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    addon.copyIn(0, memory.handle, 0, gone);
    expect([...memory.read()]).to.deep.equal([1, 2, 3]);
    memory.free();
  });

  it('are refused beyond what the machine has, naming the sizes', () => {
    for (const bytes of [1e15, 4e12, 2 ** 53 - 1]) {
      const { code, message } = refusal(() => addon.alloc(0, bytes));
      expect(code).to.equal('ERR_OUT_OF_MEMORY');
      expect(message).to.match(/^alloc: size must be at most what is left on cpu, [\d.]+ GiB, got [\d.]+ [TP]iB \(/);
    }
  });

  it('are refused beyond the limit, and not before', () => {
    const { live } = addon.memory(0);
    addon.setMemoryLimit(0, live + 1000);
    const fits = addon.alloc(0, 1000);
    expect(refusal(() => addon.alloc(0, 1))).to.include({ code: 'ERR_OUT_OF_MEMORY' });
    addon.setMemoryLimit(0, 0);
    addon.free(0, addon.alloc(0, 5000));
    addon.free(0, fits);
  });

  it('are poisoned in debug mode', () => {
    addon.debugMemory(true);
    const memory = new Memory('f32', 5);
    expect([...memory.read()].every(Number.isNaN)).to.equal(true);
    memory.free();
    expect(addon.checkGuards()).to.equal(0);
    addon.debugMemory(false);
  });
});

describe('addon: launches', () => {
  const fill = load('fill');
  const memory = new Memory('f32', 16);
  const stage = (...values: number[]) => addon.args.set(values);
  const good = [memory.handle, 0, 64, 16, 1.5];
  after(() => memory.free());

  it('write what they are asked to', () => {
    stage(...good);
    launch(fill);
    expect([...memory.read()]).to.deep.equal(new Array(16).fill(1.5));
    stage(memory.handle, 8, 8, 2, -2);
    launch(fill);
    expect([...memory.read().subarray(1, 5)]).to.deep.equal([1.5, -2, -2, 1.5]);
  });

  for (const [title, at, value, rule] of [
    ['a dead handle', 0, 12345, /argument 0 must be a live buffer of cpu, got handle 12345/],
    ['a range outside', 2, 65, /argument 0 must lie inside its buffer of 64 bytes, got 65 bytes at offset 0/],
    [
      'too few bytes',
      2,
      60,
      /argument 0 of fill_f32__fill__\w+ must be aligned and as large as the sizes ask for, got 60 bytes/,
    ],
    ['a null pointer', 0, 0, /argument 0 of fill_f32__fill__\w+ must be aligned/],
    ['a misaligned offset', 1, 2, /argument 0 (of|must)/],
    ['a fraction', 3, 1.5, /argument 1 of fill_f32__fill__\w+ must be an integer from/],
    ['a count that is no number', 3, Number.NaN, /argument 1 of fill_f32__fill__\w+ must be an integer/],
    ['a negative count', 3, -1, /must be aligned and as large/],
    ['an endless count', 3, Infinity, /must be an integer/],
    ['a huge count', 3, 2 ** 53 - 1, /must be aligned and as large/],
  ] as const) {
    it(`are refused with ${title}`, () => {
      const values: number[] = [...good];
      values[at] = value;
      stage(...values);
      const { code, message } = refusal(() => launch(fill));
      expect(code).to.equal('ERR_ARGUMENT');
      expect(message)
        .to.match(/^launch: /)
        .and.match(rule);
    });
  }

  it('are refused with more elements than the output holds, however they are laid out', () => {
    const copy = load('copy');
    for (const stride of [0, 1]) {
      const shape = [1000, 1000, 1, 1, 1, 1];
      const strides = [stride, 0, 0, 0, 0, 0];
      stage(memory.handle, 0, 64, memory.handle, 0, 64, 2, ...shape, ...strides, 0, 0, 0, 0, 0, 0);
      expect(refusal(() => launch(copy)).message).to.match(
        /^launch: argument 0 of copy_f32\S+ must be aligned and as large/,
      );
    }
  });

  it('are refused for kernels and shapes that are none', () => {
    stage(...good);
    for (const kernel of [0, -1, 0.5, Number.NaN, 1e9, memory.handle]) {
      expect(refusal(() => launch(kernel)).message).to.match(/^launch: kernel must be a handle that load returned/);
    }
    addon.grid[1] = 0;
    const shape = refusal(() => launch(fill));
    addon.grid[1] = 1;
    expect(shape.message).to.equal('launch: grid y must be an integer from 1 to 2147483647, got 0');
  });
});

describe('addon: environments', () => {
  it('keep their buffers to themselves and release them when they end', async () => {
    const before = addon.memory(0).live;
    const worker = new Worker(new URL('../support/addon_worker.js', import.meta.url));
    const ended = new Promise((resolve) => worker.once('exit', resolve));
    const { handle, sum } = await new Promise<{ handle: number; sum: number }>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    expect(sum).to.equal(1_000_000);
    expect(addon.memory(0).live - before).to.equal(4_000_004);
    expect(refusal(() => addon.copyOut(0, handle, 0, new Float32Array(1)))).to.include({ code: 'ERR_ARGUMENT' });
    worker.postMessage('end');
    await ended;
    expect(addon.memory(0).live).to.equal(before);
  });

  it('share the team: kernels of several workers at once give what one alone gives', async () => {
    const workers = [0, 1, 2].map(() => new Worker(new URL('../support/addon_worker.js', import.meta.url)));
    const sums = workers.map((worker) => new Promise((resolve) => worker.once('message', ({ sum }) => resolve(sum))));
    expect(await Promise.all(sums)).to.deep.equal([1_000_000, 1_000_000, 1_000_000]);
    await Promise.all(workers.map((worker) => worker.terminate()));
  });
});

describe('addon: bad arguments', () => {
  it('of every kind to every verb end in an error with a code and a sentence, never in the end of the process', () => {
    const seed = Number(process.env.SEED ?? Date.now() % 1e6);
    const text = execFileSync(process.execPath, [CHILD, String(seed), '10000'], { encoding: 'utf8', timeout: 50_000 });
    const report = JSON.parse(text) as { refused: number; returned: number; launched: number; violations: string[] };
    expect(report.violations, `seed ${seed}`).to.deep.equal([]);
    expect(report.refused).to.be.at.least(3000);
    expect(report.launched, 'launches that ran').to.be.at.least(100);
  }).timeout(60_000);

  it('name a CUDA library that is none', () => {
    const script = `console.log(JSON.stringify(require(${JSON.stringify(ADDON)}).cudaInfo()))`;
    const env = { ...process.env, FRACSTRIDE_LIBCUDA: '/nowhere/libcuda.so.1' };
    const info = JSON.parse(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8', env }));
    expect(info).to.include({ available: false, driverVersion: 0 });
    expect(info.reason).to.match(
      /^the CUDA driver library could not be opened \(\/nowhere\/libcuda.so.1: .*\); install an NVIDIA driver, or set/,
    );
  });
});
