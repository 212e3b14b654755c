/** From specs to images: what is compiled again and what is not, failures, several builds at once, a real compiler. */

import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { planBuild, runBuild } from '../../codegen/build.js';
import { writeEmbeddedImages } from '../../codegen/embed.js';
import { FracstrideError } from '../../codegen/errors.js';
import { type KernelSpec, nameOf } from '../../codegen/kernel.js';
import { PRESETS, specsFor } from '../../codegen/presets.js';
import { openStore } from '../../codegen/store.js';
import { type CompileRequest, type Compiler, findNvcc, nvcc, parseResources } from '../../codegen/toolchain.js';
import { fakeNvcc } from '../support/fake_nvcc.js';

const ITEMS = ['ct2d_fwd_f32_nchw__gather', 'ct2d_dgrad_f32_nhwc__gather', 'ct2d_wgrad_f16_nchw__gather'];
const SPECS = specsFor(ITEMS, [{ kind: 'cuda', arch: 90 }, { kind: 'ptx' }]);
const NAMES = SPECS.map(nameOf).sort();

describe('build', function () {
  // Compilers take their time on a busy machine.
  this.timeout(60_000);
  let root: string;
  beforeEach(() => {
    root = fs.mkdtempSync(join(tmpdir(), 'fracstride-build-'));
  });
  afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

  const store = () => openStore(join(root, 'kernels'));
  const build = (compiler: Compiler, options: { specs?: readonly KernelSpec[]; jobs?: number } = {}) => {
    const place = { store: store(), compiler };
    return runBuild(planBuild(options.specs ?? SPECS, place), place, { jobs: options.jobs ?? 4 });
  };

  it('compiles each kernel once, and nothing when nothing changed', async () => {
    const fake = fakeNvcc(join(root, 'bin'));
    const compiler = nvcc(fake.environment);
    expect(compiler.id).to.equal('nvcc 99.0.1');
    const first = await build(compiler, { specs: [...SPECS, ...SPECS] });
    expect(first).to.include({ built: 6, reused: 0, failed: 0 });
    expect(fake.compiled()).to.deep.equal(NAMES);
    expect(await build(compiler)).to.include({ built: 0, reused: 6, failed: 0 });
    expect(fake.compiled()).to.deep.equal([]);
  });

  it('stores text, image and resources', async () => {
    const report = await build(nvcc(fakeNvcc(join(root, 'bin')).environment));
    const cubin = report.kernels.find((each) => each.name.endsWith('__sm90'))!.kernel!;
    const text = Buffer.from(store().read(cubin, 'source')).toString();
    expect(Buffer.from(store().read(cubin, 'image')).toString()).to.equal(`fake cubin\n${text}`);
    expect(text).to.include(cubin.name);
    expect(cubin.meta.image.file).to.equal('kernel.cubin');
    expect(cubin.meta.resources).to.deep.equal({
      registers: 40,
      spillStores: 0,
      spillLoads: 0,
      shared: 1024,
      constant: 408,
    });
  });

  it('compiles everything again for another compiler, and only what is missing otherwise', async () => {
    const old = nvcc(fakeNvcc(join(root, 'old')).environment);
    await build(old);
    const next = fakeNvcc(join(root, 'new'), { version: '99.0.2' });
    expect(await build(nvcc(next.environment))).to.include({ built: 6 });
    const lost = store()
      .list()
      .find((each) => each.meta.compiler === 'nvcc 99.0.2')!;
    fs.rmSync(lost.directory, { recursive: true });
    next.compiled();
    expect(await build(nvcc(next.environment))).to.include({ built: 1, reused: 5 });
    expect(next.compiled()).to.deep.equal([lost.name]);
  });

  it('a plan compiles nothing and tells what is missing', async () => {
    const fake = fakeNvcc(join(root, 'bin'));
    const place = { store: store(), compiler: nvcc(fake.environment) };
    expect(planBuild(SPECS, place).filter((planned) => planned.stored === null)).to.have.length(6);
    await build(place.compiler, { specs: SPECS.slice(0, 2) });
    expect(planBuild(SPECS, place).filter((planned) => planned.stored === null)).to.have.length(4);
    expect(fake.compiled()).to.have.length(2);
  });

  it('reports a kernel that does not compile, and builds the rest', async () => {
    const fake = fakeNvcc(join(root, 'bin'), { refuses: 'ct2d_wgrad*__ptx' });
    const report = await build(nvcc(fake.environment));
    expect(report).to.include({ built: 5, failed: 1 });
    const failed = report.kernels.find((each) => each.state === 'failed')!;
    expect(failed.name).to.match(/^ct2d_wgrad.*__ptx$/);
    const path = /its text is in (\S+)/.exec(failed.error!)![1]!;
    expect(failed.error).to.match(/must compile, got .*\(7\): error: the fake refuses/);
    expect(fs.readFileSync(path, 'utf8')).to.include(failed.name);
    fs.rmSync(join(path, '..'), { recursive: true });
  });

  it('runs no more compilations at once than asked for', async () => {
    let now = 0;
    let most = 0;
    const compile = async ({ source }: CompileRequest) => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 5));
      now--;
      return { format: 'ptx' as const, bytes: Buffer.from(source), resources: null };
    };
    const compileSync = () => {
      throw new Error('nothing waits here');
    };
    const seen: number[] = [];
    const place = {
      store: store(),
      compiler: { id: 'counting 1', formats: () => ['ptx' as const], flags: () => [], compile, compileSync },
    };
    const options = { jobs: 2, progress: (step: { done: number }) => seen.push(step.done) };
    await runBuild(planBuild(SPECS, place), place, options);
    expect(most).to.equal(2);
    expect(seen).to.deep.equal([1, 2, 3, 4, 5, 6]);
  });

  it('stops at a cache that cannot be written', async () => {
    const fake = fakeNvcc(join(root, 'bin'));
    fs.writeFileSync(join(root, 'kernels'), 'a file where a folder belongs');
    const error = await build(nvcc(fake.environment)).catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(FracstrideError).with.property('code', 'ERR_CACHE');
  });

  it('has no compiler running when it fails, and starts no other', async () => {
    const real = nvcc(fakeNvcc(join(root, 'bin')).environment);
    fs.writeFileSync(join(root, 'kernels'), 'a file where a folder belongs');
    let started = 0;
    let running = 0;
    const compile = async (request: CompileRequest) => {
      const place = started++;
      running++;
      await new Promise((resolve) => setTimeout(resolve, 100 * place));
      return real.compile(request).finally(() => running--);
    };
    const error = await build({ ...real, compile }, { jobs: 3 }).catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(FracstrideError).with.property('code', 'ERR_CACHE');
    expect({ started, running }).to.deep.equal({ started: 3, running: 0 });
  });

  it('finds nvcc on PATH, then in CUDA_HOME and CUDA_PATH, else says so', async () => {
    fakeNvcc(join(root, 'one'));
    fakeNvcc(join(root, 'home', 'bin'));
    expect(findNvcc({ PATH: `/nowhere:${join(root, 'one')}`, CUDA_HOME: join(root, 'home') })).to.equal(
      join(root, 'one', 'nvcc'),
    );
    expect(findNvcc({ PATH: '/nowhere', CUDA_HOME: join(root, 'home') })).to.equal(join(root, 'home', 'bin', 'nvcc'));
    expect(findNvcc({ PATH: '', CUDA_PATH: join(root, 'home') })).to.equal(join(root, 'home', 'bin', 'nvcc'));
    expect(findNvcc({ PATH: '/nowhere' })).to.equal(null);
    expect(() => nvcc({ PATH: '/nowhere' }))
      .to.throw(FracstrideError)
      .with.property('code', 'ERR_KERNEL_COMPILE');
  });

  it('reads the report of ptxas', () => {
    const report = `ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'k' for 'sm_75'
ptxas info    : Function properties for k
    32 bytes stack frame, 24 bytes spill stores, 28 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 1024 bytes smem, 372 bytes cmem[0], 16 bytes cmem[2]`;
    const expected = { registers: 64, spillStores: 24, spillLoads: 28, shared: 1024, constant: 388 };
    expect(parseResources(report)).to.deep.equal(expected);
    expect(parseResources('')).to.equal(null);
  });

  it('presets are legal, and the default one has a kernel for every problem', () => {
    const names = specsFor(PRESETS.default!, [{ kind: 'ptx' }]).map(nameOf);
    for (const pass of ['fwd', 'dgrad', 'wgrad', 'bgrad'])
      for (const dtype of ['f32', 'f64', 'f16', 'bf16'])
        for (const layout of ['nchw', 'nhwc'])
          expect(
            names.some((name) => name.startsWith(`ct2d_${pass}_${dtype}_${layout}__`)),
            `${pass} ${dtype} ${layout}`,
          ).to.equal(true);
    for (const operation of [
      'add_f32__pointwise',
      'sum_f32__reduce',
      'adam_group_f32__optimizer',
      'cast_f32_f16__cast',
    ])
      expect(names).to.include(`${operation}__ptx`);
    expect(specsFor(PRESETS.full!, [{ kind: 'ptx' }]).length).to.be.greaterThan(200);
  });

  describe('images in the addon', () => {
    const HEADERS = fileURLToPath(new URL('../../../cuda/', import.meta.url));
    const MAIN = `#include <stdio.h>
#include "embedded_images.h"
int main() {
  for (size_t i = 0; i < fs_embedded_image_count; i++) {
    const EmbeddedImage& image = fs_embedded_images[i];
    printf("%s %s %zu %d ", image.kernel, image.target, image.size, image.data[image.size]);
    fwrite(image.data, 1, image.size, stdout);
    printf("\\n");
  }
}
`;
    const linked = (folder: string): string => {
      fs.writeFileSync(join(root, 'main.cc'), MAIN);
      const program = join(root, 'main');
      execFileSync('c++', [
        '-std=c++17',
        '-fPIC',
        '-I',
        HEADERS,
        join(root, 'main.cc'),
        join(folder, 'images.cc'),
        '-o',
        program,
      ]);
      return execFileSync(program, { encoding: 'utf8' });
    };

    it('are the bytes of the store, ended by a zero, and none where there are none', () => {
      const folder = join(root, 'a "folder"');
      const put = (name: string, key: string, format: 'cubin' | 'ptx', image: string) =>
        store().put({
          name,
          key: key.repeat(32),
          source: '',
          image: Buffer.from(image),
          format,
          compiler: 'c',
          flags: [],
          resources: null,
        });
      const kernels = [put('b__k__ptx', 'b', 'ptx', 'text'), put('a__k__sm90', 'a', 'cubin', 'bytes')];
      writeEmbeddedImages(kernels, store(), folder);
      expect(linked(folder)).to.equal('a__k__sm90 sm_90 5 0 bytes\nb__k__ptx ptx 4 0 text\n');
      const before = fs.statSync(join(folder, 'images.cc')).mtimeMs;
      writeEmbeddedImages(kernels, store(), folder);
      expect(fs.statSync(join(folder, 'images.cc')).mtimeMs).to.equal(before);
      writeEmbeddedImages([], store(), folder);
      expect(fs.readdirSync(folder)).to.deep.equal(['images.cc']);
      expect(linked(folder)).to.equal('');
    });
  });

  // With no compiler on the machine these do not exist; everything above runs without one.
  if (findNvcc() !== null) {
    describe('with the installed nvcc', () => {
      it('makes a cubin with its resources, and PTX with the kernel as its entry', async () => {
        const report = await build(nvcc(), { specs: SPECS.slice(0, 2), jobs: 2 });
        expect(report).to.include({ built: 2, failed: 0 });
        const [cubin, ptx] = report.kernels.map((each) => each.kernel!);
        expect(Buffer.from(store().read(cubin!, 'image').subarray(0, 4)).toString('latin1')).to.equal('\u007fELF');
        expect(cubin!.meta.resources!.registers).to.be.within(8, 255);
        const text = Buffer.from(store().read(ptx!, 'image')).toString();
        expect(text)
          .to.match(new RegExp(`\\.entry ${ptx!.name}\\b`))
          .and.to.include('.target sm_75');
        expect(ptx!.meta.resources).to.equal(null);
      });

      it('tells what the compiler said and where the text lies', async () => {
        const request = {
          name: 'broken__k__sm90',
          source: 'int main( {',
          target: SPECS[0]!.target,
          format: 'cubin' as const,
        };
        const error = await nvcc()
          .compile(request)
          .catch((reason: unknown) => reason);
        expect(error).to.be.instanceOf(FracstrideError).with.property('code', 'ERR_KERNEL_COMPILE');
        const { message } = error as FracstrideError;
        expect(message).to.match(/^toolchain: broken__k__sm90 must compile, got .*\(1\): error/);
        const path = /its text is in (\S+)/.exec(message)![1]!;
        expect(fs.readFileSync(path, 'utf8')).to.equal(request.source);
        fs.rmSync(join(path, '..'), { recursive: true });
      });
    });
  } else {
    console.log('build.test: no nvcc here, so the tests that compile with one are not defined');
  }
});
