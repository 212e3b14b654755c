/**
 * Which image a device gets, and from where: a driver that is picky (picky_libcuda.cc) and a compiler that is quick
 * (fake_nvcc.ts), in processes of their own; many at once, and killed.
 */

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { openStore } from '../../codegen/store.js';
import { type FakeNvcc, fakeNvcc } from '../support/fake_nvcc.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const CHILD = fileURLToPath(new URL('../support/images_child.js', import.meta.url));
// None of these is built into the addon of a clone.
const NAMES = [
  'add_f64__pointwise__sm90',
  'mul_f64__pointwise__sm90',
  'ct2d_fwd_f64_nchw_k3s1p1__phase_t4x1_b128x1__sm90',
];
const [NAME] = NAMES as [string];

type Outcome = { name?: string; images?: string[]; code?: string; message?: string };

describe('images', function () {
  this.timeout(180_000);
  const place = fs.mkdtempSync(join(tmpdir(), 'fracstride-images-'));
  const library = join(place, 'libcuda.so');
  let root: string;
  let fake: FakeNvcc;

  before(() => {
    const source = join(ROOT, 'test/support/picky_libcuda.cc');
    execFileSync('c++', ['-std=c++17', '-shared', '-fPIC', '-pthread', '-I', ROOT, source, '-o', library]);
  });
  after(() => fs.rmSync(place, { recursive: true, force: true }));
  beforeEach(() => {
    root = fs.mkdtempSync(join(place, 'case-'));
    fake = fakeNvcc(join(root, 'bin'));
  });

  const cache = () => join(root, 'cache');
  const environment = (more: Record<string, string> = {}, compiler = fake): NodeJS.ProcessEnv => ({
    ...compiler.environment,
    FRACSTRIDE_CACHE_DIR: cache(),
    FRACSTRIDE_LIBCUDA: library,
    FRACSTRIDE_LIBNVRTC: '/nowhere/libnvrtc.so',
    FRACSTRIDE_NO_JIT: '',
    FRACSTRIDE_DEBUG: '',
    ...more,
  });

  function load(names: readonly string[], more: Record<string, string> = {}): { told: Outcome[]; err: string } {
    const { stdout, stderr, status } = spawnSync(process.execPath, [CHILD, ...names], {
      env: environment(more),
      encoding: 'utf8',
    });
    expect(status, stderr).to.equal(0);
    return { told: JSON.parse(stdout), err: stderr };
  }

  it('compiles what is in no cache, and loads it from there afterwards', () => {
    const whole = NAMES.map((name) => ({ name, loaded: true, images: ['cubin'] }));
    expect(load(NAMES).told).to.deep.equal(whole);
    expect(fake.compiled()).to.deep.equal([...NAMES].sort());
    expect(load(NAMES).told).to.deep.equal(whole);
    expect(fake.compiled()).to.deep.equal([]);
  });

  it('goes on to PTX where the driver refuses machine code, and remembers it', () => {
    const { told, err } = load(NAMES.slice(0, 2), { FAKE_REFUSES: 'cubin', FRACSTRIDE_DEBUG: '1' });
    expect(told).to.deep.equal([
      { name: NAMES[0], loaded: true, images: ['cubin', 'ptx'] },
      { name: NAMES[1], loaded: true, images: ['ptx'] },
    ]);
    expect(err.match(/compiled \w+ to (cubin|ptx)/g)).to.deep.equal([
      `compiled ${NAMES[0]} to cubin`,
      `compiled ${NAMES[0]} to ptx`,
      `compiled ${NAMES[1]} to ptx`,
    ]);
  });

  it('makes PTX of the newest architecture that the compiler knows for a device that is newer', () => {
    fake = fakeNvcc(join(root, 'old'), { architectures: [75, 80, 86] });
    const { told } = load([NAME]);
    expect(told).to.deep.equal([{ name: NAME, loaded: true, images: ['ptx'] }]);
    expect(openStore(cache()).list()[0]!.meta.flags).to.include('-arch=compute_86');
  });

  it('takes the portable kernel of the cache before it compiles one', () => {
    const portable = NAME.replace('sm90', 'ptx');
    const cli = fileURLToPath(new URL('../../src/bin.js', import.meta.url));
    execFileSync(process.execPath, [cli, 'build', portable], { env: environment(), stdio: 'ignore' });
    expect(load([NAME]).told[0]).to.deep.include({ name: portable, loaded: true });
    expect(fake.compiled()).to.deep.equal([portable]);
  });

  it('says what was tried where nothing works', () => {
    const refused = load([NAME], { FAKE_REFUSES: 'cubin,ptx' }).told[0]!;
    expect(refused.code).to.equal('ERR_KERNEL_COMPILE');
    expect(refused.message)
      .to.match(/^kernels: add_f64__pointwise__sm90 must have an image that cuda:0 takes, got none: /)
      .and.to.include('cubin of nvcc 99.0.1 was refused')
      .and.to.include('ptx of nvcc 99.0.1 was refused')
      .and.to.match(/NVRTC could not be opened .*the driver may be older/);
    const none = load([NAME.replace('add', 'sub')], { PATH: '/nowhere' }).told[0]!;
    expect(none.code).to.equal('ERR_KERNEL_COMPILE');
    expect(none.message).to.match(/nvcc must be on PATH.*; install NVRTC or nvcc, or run 'fracstride build sub_f64__/);
  });

  it('passes over a compiler that does not compile it, and tells what it said', () => {
    fake = fakeNvcc(join(root, 'refuses'), { refuses: '*_f64_*' });
    const told = load([NAME]).told[0]!;
    expect(told.message).to.match(/add_f64__pointwise__sm90 must compile, got .*the fake refuses/);
    for (const [, file] of told.message!.matchAll(/its text is in (\S+)/g))
      fs.rmSync(join(file!, '..'), { recursive: true, force: true });
  });

  it('FRACSTRIDE_NO_JIT compiles nothing, and names what to build', () => {
    const cli = fileURLToPath(new URL('../../src/bin.js', import.meta.url));
    const told = load([NAME], { FRACSTRIDE_NO_JIT: '1' }).told[0]!;
    expect(told.code).to.equal('ERR_KERNEL_NOT_PREBUILT');
    expect(fake.compiled()).to.deep.equal([]);
    const words = /'fracstride (build \S+)' makes it$/.exec(told.message!)![1]!.split(' ');
    execFileSync(process.execPath, [cli, ...words], { env: environment(), stdio: 'ignore' });
    // Nothing but the image is needed any more: no compiler on this machine.
    expect(load([NAME], { FRACSTRIDE_NO_JIT: '1', PATH: '/nowhere' }).told[0]!.name).to.equal(NAME);
  });

  it('FRACSTRIDE_NO_JIT names PTX where the driver refused machine code', () => {
    load([NAME]);
    const env = { FRACSTRIDE_NO_JIT: '1', FAKE_REFUSES: 'cubin' };
    const told = load([NAME], env).told[0]!;
    const words = /'fracstride (build \S+ --format ptx)' makes it$/.exec(told.message!)![1]!.split(' ');
    const cli = fileURLToPath(new URL('../../src/bin.js', import.meta.url));
    execFileSync(process.execPath, [cli, ...words], { env: environment(), stdio: 'ignore' });
    expect(load([NAME], env).told[0]!.name).to.equal(NAME);
  });

  it('moves a damaged entry aside, makes it again and says so', () => {
    load([NAME]);
    fs.appendFileSync(join(openStore(cache()).list()[0]!.directory, 'kernel.cubin'), 'x');
    const { told, err } = load([NAME], { FRACSTRIDE_DEBUG: '1' });
    expect(told[0]).to.deep.include({ name: NAME, images: ['cubin'] });
    expect(err).to.match(/cache: moved add_f64__pointwise__sm90\.\w+ aside to .*kernel\.cubin has changed/);
  });

  it('runs nothing from a cache that others could have written', () => {
    load([NAME]);
    const { directory } = openStore(cache()).list()[0]!;
    for (const [path, mode] of [
      [join(directory, 'kernel.cubin'), 0o622],
      [directory, 0o770],
      [cache(), 0o777],
    ] as const) {
      const before = fs.statSync(path).mode;
      fs.chmodSync(path, mode);
      const told = load([NAME]).told[0]!;
      expect(told.code, path).to.equal('ERR_CACHE');
      expect(told.message).to.include(path);
      fs.chmodSync(path, before);
    }
    expect(load([NAME]).told[0]!.name).to.equal(NAME);
  });

  it('goes on without a cache that cannot be used', () => {
    fs.writeFileSync(cache(), 'a file where a folder belongs');
    const { told, err } = load([NAME], { FRACSTRIDE_DEBUG: '3' });
    // The child looks into the cache too, and says that it cannot.
    expect(told[0]!.message).to.match(/^cache: /);
    expect(err).to.match(/cache: .* must be a directory/);
    expect(err).to.include(`cuda:0 took ${NAME}, cubin of nvcc 99.0.1`);
  });

  it('prints the text with FRACSTRIDE_DEBUG=4', () => {
    expect(load([NAME], { FRACSTRIDE_DEBUG: '4' }).err).to.include(`extern "C" __global__ void __launch_bounds__(`);
  });

  describe('in 30 processes that start at once with an empty cache', () => {
    /** Processes that wait for a byte on stdin, all started. */
    async function waiting(count: number, env: NodeJS.ProcessEnv): Promise<ChildProcess[]> {
      const children = Array.from({ length: count }, () =>
        spawn(process.execPath, [CHILD, '--wait', ...NAMES], { env, stdio: ['pipe', 'pipe', 'inherit'] }),
      );
      for (const child of children) child.stdin!.on('error', () => {});
      await Promise.all(children.map((child) => once(child.stdout!, 'data')));
      return children;
    }
    async function told(child: ChildProcess): Promise<Outcome[]> {
      let text = '';
      child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      child.stdin!.write('\n');
      await once(child, 'close');
      return JSON.parse(text) as Outcome[];
    }
    const right = NAMES.map((name) => ({ name, loaded: true, images: ['cubin'] }));

    it('every one is right, and each kernel is compiled once', async () => {
      fake = fakeNvcc(join(root, 'slow'), { seconds: 0.1 });
      const children = await waiting(30, environment());
      for (const outcome of await Promise.all(children.map(told))) expect(outcome).to.deep.equal(right);
      expect(fake.compiled()).to.deep.equal([...NAMES].sort());
      const { good, broken } = openStore(cache()).verify();
      expect([good.length, broken.length]).to.deep.equal([NAMES.length, 0]);
      expect(fs.readdirSync(cache()).filter((name) => name.startsWith('.'))).to.deep.equal([]);
    });

    it('those that are left are right when half of them are killed', async () => {
      fake = fakeNvcc(join(root, 'slow'), { seconds: 0.2 });
      const children = await waiting(30, environment());
      const victims = children.filter((_, i) => i % 2 === 0);
      const others = children.filter((_, i) => i % 2 === 1);
      // The victims go first, so that they hold what the others wait for.
      for (const victim of victims) victim.stdin!.write('\n');
      const outcomes = others.map(told);
      for (const victim of victims) {
        await new Promise((resolve) => setTimeout(resolve, 40));
        victim.kill('SIGKILL');
      }
      for (const outcome of await Promise.all(outcomes)) expect(outcome).to.deep.equal(right);
      const store = openStore(cache());
      expect(store.verify().broken).to.deep.equal([]);
      store.prune();
      expect(fs.readdirSync(cache()).filter((name) => name.startsWith('.'))).to.deep.equal([]);
    });
  });
});
