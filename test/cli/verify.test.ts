/** `fracstride verify`: all is well where all is well, and what is broken on purpose is found and named. */

import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { describeCuda, simulatedEnvironment, simulatorOnly } from '../support/simulated.js';
import { distinct, expectWhole, type Report } from '../support/verify_report.js';
import { fracstride, type Told } from './children.js';

const ABSENT = { FRACSTRIDE_LIBCUDA: '/absent/libcuda.so.1' };
const reportOf = ({ out }: Told): Report => JSON.parse(out) as Report;

describe('fracstride verify', function () {
  this.timeout(600_000);
  let root: string;
  beforeEach(() => {
    root = fs.mkdtempSync(join(tmpdir(), 'fracstride-verify-'));
  });
  afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

  it('finds everything right on the CPU', async () => {
    const told = await fracstride(['verify', '--device', 'cpu', '--json'], { env: ABSENT });
    expect(told.code, told.err).to.equal(0);
    const report = reportOf(told);
    expectWhole(report, 'cpu');
    expect(report.seconds).to.be.above(0);
    expect(report.devices.map(({ device }) => device)).to.deep.equal(['cpu']);
    expect(told.err).to.match(/^cpu: convolutions: \d+ results$/m);
  });

  it('says so in a table and in words, and takes the CPU alone where there is nothing else', async () => {
    const { code, out } = await fracstride(['verify'], { env: ABSENT });
    expect(code).to.equal(0);
    expect(out).to.match(/^convTranspose2d forward +nchw +igemm, \d+ kernels .* ok$/m);
    expect(out)
      .to.match(/^36 element-wise operations .* ok$/m)
      .and.to.match(/^No CUDA device was checked: [^\n]+\.$/m);
    expect(out.trimEnd().split('\n').at(-1)).to.match(
      /^Everything works: \d+ results on cpu agree with the reference\. \([\d.]+ s\)$/,
    );
  });

  it('--all has a line for each result', async () => {
    const { code, out } = await fracstride(['verify', '--device', 'cpu', '--all'], { env: ABSENT });
    expect(code).to.equal(0);
    expect(out).to.match(/^exp +special numbers and noise +float16 +exp_f16__pointwise__\w+ .* ok$/m);
  });

  it('finds a result that is wrong, says which and where, and exits with 1', async () => {
    const native = fileURLToPath(new URL('../../src/native.js', import.meta.url));
    // The one element-wise result of 60 elements in this type that is read: the eighth element of the sum that is broadcast.
    const preload = `
      import { native } from ${JSON.stringify(`file://${native}`)};
      const addon = native();
      const copyOut = addon.copyOut;
      addon.copyOut = (device, handle, offset, target) => {
        copyOut.call(addon, device, handle, offset, target);
        if (target instanceof Float64Array && target.length === 60) target[27] += 0.5;
      };`;
    const { code, out } = await fracstride(['verify', '--device', 'cpu'], { env: ABSENT, preload });
    expect(code).to.equal(1);
    expect(out).to.match(
      /^FAILED add, float64 on cpu \(permuted and broadcast\): \[1, 1, 2\] is -?[\d.e-]+ instead of -?[\d.e-]+, off by 0\.50 where [\d.e-]+ is allowed; kernel add_f64__pointwise__\w+$/m,
    );
    expect(out).to.match(/^36 element-wise operations .* FAILED$/m);
    expect(out.trimEnd().split('\n').at(-1)).to.match(
      /^FAILED: \d+ of \d+ results on cpu are not what they should be\./,
    );
    const told = await fracstride(['verify', '--device', 'cpu', '--json'], { env: ABSENT, preload });
    expect(told.code).to.equal(1);
    const { ok, rows } = reportOf(told);
    expect(ok).to.equal(false);
    const wrong = rows.find(({ operation, fault }) => operation === 'add' && fault !== null)!;
    expect(wrong.fault!.index).to.deep.equal([1, 1, 2]);
    expect(wrong.fault!.got - wrong.fault!.expected).to.be.closeTo(0.5, 1e-12);
  });

  it('exits with 4 where a GPU is required and absent, and with 2 for what it does not understand', async () => {
    const absent = await fracstride(['verify', '--require-cuda'], { env: ABSENT });
    expect(absent.code).to.equal(4);
    expect(absent.out).to.equal('');
    expect(absent.err).to.match(/^fracstride: verify: a CUDA device must be available, got none; [^\n]+\n$/);
    const asJson = await fracstride(['verify', '--device', 'cuda', '--json'], { env: ABSENT });
    expect(asJson.code).to.equal(4);
    expect((JSON.parse(asJson.out) as { error: { code: string } }).error.code).to.equal('ERR_DEVICE_UNAVAILABLE');
    for (const words of [
      ['--device', 'gpu'],
      ['--device', 'cpu', '--require-cuda'],
      ['--devices'],
      ['--device', 'auto'],
    ]) {
      const { code, err } = await fracstride(['verify', ...words], { env: ABSENT });
      expect(code, words.join(' ')).to.equal(2);
      expect(err.trim().split('\n'), err).to.have.length(1);
    }
    const help = await fracstride(['verify', '--help']);
    expect(help.code).to.equal(0);
    expect(help.out)
      .to.match(/--require-cuda/)
      .and.to.match(/Exit codes/);
  });

  describeCuda('on a CUDA device', () => {
    simulatorOnly('finds a kernel in the cache that computes something else', async () => {
      const cache = join(root, 'cache');
      // Nothing else is compiled: what has no kernel is not checked.
      const env = { ...simulatedEnvironment({}), FRACSTRIDE_CACHE_DIR: cache, FRACSTRIDE_NO_JIT: '1' };
      const words = ['neg_f64__pointwise', '--target', 'sm_90', '--format', 'ptx'];
      const built = await fracstride(['build', ...words], { env });
      expect(built.code, built.err).to.equal(0);
      const planted = plant(cache, 'neg_f64__pointwise__', (ptx) => ptx.replaceAll(/\bneg\.f64/g, 'abs.f64'));
      expect(planted).to.be.greaterThan(0);
      const { code, out } = await fracstride(['verify', '--device', 'cuda', '--json'], { env });
      expect(code).to.equal(1);
      const wrong = (JSON.parse(out) as Report).rows.filter(({ status }) => status === 'failed');
      expect(distinct(wrong, ({ operation, dtype }) => `${operation} ${dtype}`)).to.deep.equal(['neg float64']);
      expect(wrong[0]!.kernel).to.match(/^neg_f64__pointwise__/);
    });

    simulatorOnly('says what could not be compiled, and exits with 5', async () => {
      const env = { ...simulatedEnvironment({}), FRACSTRIDE_CACHE_DIR: join(root, 'empty'), FRACSTRIDE_NO_JIT: '1' };
      const { code, out } = await fracstride(['verify', '--device', 'cuda'], { env });
      expect(code).to.equal(5);
      expect(out).to.match(/^not compiled: kernels: \S+ must be built ahead of time/m);
      expect(out.trimEnd().split('\n').at(-1)).to.match(
        /^What ran agrees with the reference, but \d+ of \d+ results on cuda:0 need kernels that could not be compiled here; 'fracstride doctor' says what is missing\./,
      );
    });
  });
});

/** Changes the images of kernels in a cache, with hashes that fit; returns how many changed. */
function plant(cache: string, name: string, change: (ptx: string) => string): number {
  let changed = 0;
  for (const entry of fs.readdirSync(cache).filter((each) => each.startsWith(name))) {
    const file = join(cache, entry, 'kernel.ptx');
    if (!fs.existsSync(file)) continue;
    const before = fs.readFileSync(file, 'utf8');
    const after = change(before);
    if (after === before) continue;
    changed++;
    fs.writeFileSync(file, after);
    const metaFile = join(cache, entry, 'meta.json');
    const meta = JSON.parse(fs.readFileSync(metaFile, 'utf8')) as { image: { bytes: number; sha256: string } };
    meta.image.bytes = Buffer.byteLength(after);
    meta.image.sha256 = createHash('sha256').update(after).digest('hex');
    fs.writeFileSync(metaFile, JSON.stringify(meta));
  }
  return changed;
}
