/** The order of work, and who waits for it: launches return at once, `data()` never blocks the event loop. */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { io, memory, noGrad, ones, randn, scope, Tensor, tensor, zeros } from '../../src/index.js';
import { native } from '../../src/native.js';
import { convTranspose2d } from '../../src/nn/functional.js';

const CPU = { device: 'cpu' } as const;
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const support = (name: string): string => fileURLToPath(new URL(`../support/${name}.js`, import.meta.url));

/** Work that takes a while: `count` convolutions of 2.1 GFLOP each, and what to read of them. */
function work(count: number): { result: Tensor; sum: number } {
  return scope(() => {
    const x = ones([8, 64, 32, 32], CPU);
    const w = ones([64, 64, 4, 4], CPU);
    let y = x;
    for (let i = 0; i < count; i++) y = convTranspose2d(x, w, null, { stride: 2, padding: 1 });
    // A position of the output meets two taps on each axis, at the edges one.
    return { result: y.sum(), sum: 8 * 64 * 64 * 126 ** 2 };
  });
}

/**
 * A copy of `result`'s one value asked for now. `ended` tells whether the device has come to it: without a clock, on any
 * machine, what waited for the work would find it so.
 */
function watch(result: Tensor): { ended: () => boolean; read: Promise<void> } {
  const value = Float32Array.of(Number.NaN);
  const read = native().copyOutAsync(0, Tensor.window(result).storage.handle, 0, value);
  return { ended: () => !Number.isNaN(value[0]), read };
}

/** Whether `pending` holds for some work: twice as much again where a thread was kept from running until all was done. */
async function holdsOfWork(
  pending: (launched: ReturnType<typeof work>) => boolean | Promise<boolean>,
): Promise<boolean> {
  for (let count = 20; count <= 320; count *= 2) {
    const launched = work(count);
    const held = await pending(launched);
    expect(Math.abs(launched.result.item() / launched.sum - 1)).below(1e-5);
    launched.result.dispose();
    if (held) return true;
  }
  return false;
}

describe('work of the cpu', function () {
  this.timeout(60_000);
  let before = 0;
  beforeEach(() => {
    before = memory().cpu.live;
  });
  afterEach(() => {
    expect(memory().cpu.live).equals(before);
  });

  it('is launched at once, and waited for by who reads', async () => {
    const held = await holdsOfWork(async ({ result }) => {
      const { ended, read } = watch(result);
      const pending = !ended();
      result.item();
      expect(ended()).equals(true);
      await read;
      return pending;
    });
    expect(held).equals(true);
  });

  it('lets timers fire while a read is awaited', async () => {
    const held = await holdsOfWork(async ({ result, sum }) => {
      const values = result.data();
      const { ended, read } = watch(result);
      await new Promise((fired) => setTimeout(fired, 1));
      const pending = !ended();
      expect(Math.abs((await values)[0]! / sum - 1)).below(1e-5);
      await read;
      return pending;
    });
    expect(held).equals(true);
  });

  it('is read as it was when data() was called, whatever comes afterwards', async () => {
    const x = tensor([1, 2, 3], CPU);
    const reads = [];
    for (let i = 0; i < 100; i++) {
      reads.push(x.data());
      const next = x.add(1);
      x.copy_(next);
      next.dispose();
    }
    const last = x.dataSync();
    x.dispose();
    expect([...last]).deep.equals([101, 102, 103]);
    for (const [i, values] of (await Promise.all(reads)).entries())
      expect([...values]).deep.equals([1 + i, 2 + i, 3 + i]);
  });

  it('keeps the values of what is disposed right after the launch', async () => {
    const reads: [number, Promise<ArrayLike<number>>][] = [];
    for (let i = 0; i < 300; i++) {
      const x = tensor([i, i], CPU);
      const y = x.mul(3);
      x.dispose();
      // Memory of x serves z at once: the device gets to it in order.
      const z = zeros([2], CPU);
      z.dispose();
      reads.push([3 * i, y.data()]);
      y.dispose();
    }
    for (const [value, read] of reads) expect([...Array.from(await read)]).deep.equals([value, value]);
  });

  it('resolves reads of 16-bit and strided tensors and of none, in the order they were asked for', async () => {
    const order: number[] = [];
    const half = tensor([0.5, 1.5, 2.5, 3.5], { ...CPU, dtype: 'float16', shape: [2, 2] });
    const turned = half.transpose();
    const none = zeros([0, 3], CPU);
    const note = async (i: number, read: Promise<ArrayLike<number>>): Promise<number[]> => {
      const values = Array.from(await read);
      order.push(i);
      return values;
    };
    const [a, b, c] = await Promise.all([note(0, half.data()), note(1, turned.data()), note(2, none.data())]);
    for (const t of [half, turned, none]) t.dispose();
    expect([a, b, c]).deep.equals([[0.5, 1.5, 2.5, 3.5], [0.5, 2.5, 1.5, 3.5], []]);
    expect(order.indexOf(0)).below(order.indexOf(1));
  });

  it('takes uploads larger than what is copied aside, and many of them', async () => {
    const big = new Float32Array(20 * 2 ** 20);
    const tensors: Tensor[] = [];
    const pending = work(5);
    for (let i = 0; i < 3; i++) {
      big.fill(i + 1);
      tensors.push(tensor(big, CPU));
    }
    const sums = await Promise.all(tensors.map(async (x) => scope(async () => (await x.max().data())[0])));
    expect(sums).deep.equals([1, 2, 3]);
    for (const x of [...tensors, pending.result]) x.dispose();
  });

  it('copies in place: broadcast, converted, and refused where a gradient would be lost', () => {
    const x = zeros([2, 3], CPU);
    const row = tensor([1.5, 2.5, 3.5], { ...CPU, dtype: 'float64' });
    expect(x.copy_(row)).equals(x);
    expect(x.toArray()).deep.equals([
      [1.5, 2.5, 3.5],
      [1.5, 2.5, 3.5],
    ]);
    const leaf = randn([3], { ...CPU, requiresGrad: true });
    expect(() => leaf.copy_(row)).throws(/^copy_: x and source must be without gradients/);
    expect(() => x.copy_(leaf)).throws(/^copy_: x and source must be without gradients/);
    noGrad(() => leaf.copy_(row));
    expect(leaf.toArray()).deep.equals([1.5, 2.5, 3.5]);
    expect(() => row.copy_(x)).throws(/^copy_: source must be of a shape that broadcasts to \[3\], got /);
    for (const t of [x, row, leaf]) t.dispose();
  });

  it('is awaited by what writes files', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'fracstride-async-'));
    const x = randn([3, 16, 16], CPU);
    const y = x.sigmoid();
    const saved = [
      io.npy.save(join(folder, 'y.npy'), y),
      io.safetensors.save(join(folder, 'y.safetensors'), { y }),
      io.png.save(join(folder, 'y.png'), y),
    ];
    const values = y.toArray();
    y.dispose();
    x.dispose();
    await Promise.all(saved);
    const npy = await io.npy.load(join(folder, 'y.npy'), CPU);
    const { y: second } = await io.safetensors.load(join(folder, 'y.safetensors'), CPU);
    const png = await io.png.load(join(folder, 'y.png'), CPU);
    rmSync(folder, { recursive: true });
    expect(npy.toArray()).deep.equals(values);
    expect(second!.toArray()).deep.equals(values);
    expect(png.shape).deep.equals([3, 16, 16]);
    for (const t of [npy, second!, png]) t.dispose();
  });

  it('rejects reads of disposed tensors and bad copies with a code', async () => {
    const x = zeros([2], CPU);
    x.dispose();
    const refused = await x.data().then(
      () => null,
      (error: { code: string }) => error.code,
    );
    expect(refused).equals('ERR_DISPOSED');
    const handle = native().alloc(0, 8);
    expect(() => native().copyOutAsync(0, handle, 4, new Uint8Array(8)))
      .throws(/^copyOutAsync: the range must lie inside its buffer of 8 bytes/)
      .with.property('code', 'ERR_ARGUMENT');
    const shared = new Uint8Array(new SharedArrayBuffer(8));
    native().copyIn(0, handle, 0, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    await native().copyOutAsync(0, handle, 0, shared);
    native().free(0, handle);
    expect([...shared]).deep.equals([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('is recorded into no graph', () => {
    expect(() => native().beginCapture(0))
      .throws('graph: device must be a CUDA device, got cpu')
      .with.property('code', 'ERR_ARGUMENT');
  });
});

describe('work of several threads', function () {
  this.timeout(60_000);

  it('does not mix, and ends with a worker that is terminated while reads are pending', () => {
    const child = execFileSync(process.execPath, [support('async_workers_child'), 'cpu', '64'], { encoding: 'utf8' });
    expect(JSON.parse(child)).deep.equals({ wrong: [0, 0, 0], left: 0, after: [1, 2] });
  });
});

describe('the end of a process', function () {
  this.timeout(60_000);
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [support('async_child'), ...args], { encoding: 'utf8', timeout: 50_000 });

  it('comes at once by process.exit, whatever is under way', () => {
    // 62 TFLOP are under way: minutes, so a process that waited for them would be killed, and have no status.
    expect(run('exit', '900', '256').status).equals(7);
  });

  it('waits for a pending read otherwise', () => {
    const { status, stdout } = run('end', '10', '64');
    expect(status).equals(0);
    expect(Math.abs(Number(stdout) / (8 * 64 * 64 * 254 ** 2) - 1)).below(1e-5);
  });
});

describe('the stream below', function () {
  this.timeout(120_000);
  const folder = mkdtempSync(join(tmpdir(), 'fracstride-stream-'));
  after(() => rmSync(folder, { recursive: true }));

  it('keeps the order of four threads, tells each its own failures and gives up copies', () => {
    const program = join(folder, 'stream_check');
    const sources = ['test/support/stream_check.cc', 'cpu/stream.cc'];
    const flags = ['-std=c++17', '-O1', '-pthread', `-I${ROOT}`, ...sources, '-ldl', '-o', program];
    execFileSync(process.env.CXX ?? 'c++', flags, { cwd: ROOT, stdio: ['ignore', 'ignore', 'pipe'] });
    expect(execFileSync(program, ['40'], { encoding: 'utf8' })).equals('ok\n');
  });
});
