/** `fracstride doctor`: what it finds, what it advises, and that docs/doctor.md shows what it prints. */

import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { adviceFor, verdictFor } from '../../src/doctor/advice.js';
import { cudnnVersion, type Facts } from '../../src/doctor/facts.js';
import { fakeNvcc } from '../support/fake_nvcc.js';
import { CUDNN_SIMULATOR, SIMULATOR } from '../support/simulated.js';
import { fracstride } from './children.js';

const DOCS = fileURLToPath(new URL('../../../docs/doctor.md', import.meta.url));
/** Libraries that are not there, wherever this runs. */
const ABSENT = {
  FRACSTRIDE_LIBCUDA: '/absent/libcuda.so.1',
  FRACSTRIDE_LIBCUDNN: '/absent/libcudnn.so.9',
  FRACSTRIDE_LIBNVRTC: '/absent/libnvrtc.so',
  CUDA_HOME: undefined,
  CUDA_PATH: undefined,
  PATH: '/absent',
};

type Told = Facts & {
  readonly advice: readonly { readonly kind: string; readonly what: string }[];
  readonly said: string;
};

/** The block of docs/doctor.md under a heading. */
function documented(heading: string): string {
  const block = fs.readFileSync(DOCS, 'utf8').split(`## ${heading}\n`)[1]?.split('```text\n')[1]?.split('```')[0];
  expect(block, heading).to.be.a('string');
  return block!;
}

/** Headings with the labels under them, but for the environment's; what is missing without how it is put. */
function outline(text: string): string[] {
  let heading = '';
  return text.split('\n').flatMap((line) => {
    if (/^\S/.test(line)) {
      heading = line;
      return /^(Ready|Nothing runs)/.test(line) ? [line.replace(/\(.*?\)/, '(…)').slice(0, 20)] : [line];
    }
    if (heading === 'Environment' || heading === 'What is missing' || heading === 'Good to know') return [];
    return line.trim() === '' ? [] : [`  ${line.trim().split(/ {2,}/)[0]}`];
  });
}

describe('fracstride doctor', function () {
  this.timeout(60_000);
  let root: string;
  beforeEach(() => {
    root = fs.mkdtempSync(join(tmpdir(), 'fracstride-doctor-'));
  });
  afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

  const cache = (): string => join(root, 'cache');
  const tell = async (env: Readonly<Record<string, string | undefined>>): Promise<{ text: string; facts: Told }> => {
    const whole = { FRACSTRIDE_CACHE_DIR: cache(), ...env };
    const [plain, json] = await Promise.all([
      fracstride(['doctor'], { env: whole }),
      fracstride(['doctor', '--json'], { env: whole }),
    ]);
    expect(plain.code, plain.err).to.equal(0);
    expect(json.code, json.err).to.equal(0);
    expect(plain.err + json.err).to.equal('');
    return { text: plain.out, facts: JSON.parse(json.out) as Told };
  };

  it('tells of a machine with nothing as docs/doctor.md does', async () => {
    const { text, facts } = await tell(ABSENT);
    // The three variables are how nothing is found here; each is advised about.
    const own = documented('A machine with nothing');
    expect(outline(text)).to.deep.equal(outline(own));
    expect(facts.driver.version).to.equal(null);
    expect(facts.nvrtc.version).to.equal(null);
    expect(facts.nvcc).to.deep.equal({
      path: null,
      version: null,
      reason: 'it is neither on PATH nor in CUDA_HOME or CUDA_PATH',
    });
    expect(facts.addon.instructionSets).to.include('baseline');
    expect(facts.addon.path).to.match(/fracstride\.node$/);
    expect(facts.builtIn.baseline).to.be.greaterThan(100);
    expect(facts.advice[0]!.what).to.equal('FRACSTRIDE_LIBCUDA names a file that is not there: /absent/libcuda.so.1.');
    expect(facts.environment).to.include({ FRACSTRIDE_LIBCUDA: '/absent/libcuda.so.1' });
    expect(facts.said).to.match(/^Ready on the CPU \(\w+, \d+ threads?\)\.$/);
    expect(fs.existsSync(cache()), 'it makes nothing').to.equal(false);
  });

  it('tells of a machine with a toolkit as docs/doctor.md does', async () => {
    const { environment } = fakeNvcc(join(root, 'bin'));
    const { text, facts } = await tell({ ...ABSENT, PATH: environment.PATH });
    expect(outline(text)).to.deep.equal(outline(documented('A machine with a toolkit and no GPU')));
    expect(facts.nvcc.path).to.equal(join(root, 'bin/nvcc'));
    expect(facts.nvcc.version).to.match(/^\d/);
    expect(facts.advice.map(({ what }) => what)).to.include(
      `nvcc ${facts.nvcc.version} is here, so kernels for GPUs can be compiled without one.`,
    );
  });

  if (fs.existsSync(SIMULATOR) && fs.existsSync(CUDNN_SIMULATOR)) {
    it('tells of the simulator as docs/doctor.md does', async () => {
      const { environment } = fakeNvcc(join(root, 'bin'));
      const found = { FRACSTRIDE_LIBCUDA: SIMULATOR, FRACSTRIDE_LIBCUDNN: CUDNN_SIMULATOR };
      const { text, facts } = await tell({
        ...ABSENT,
        PATH: environment.PATH,
        ...found,
        FRACSTRIDE_LIBNVRTC: undefined,
      });
      if (facts.nvrtc.version !== null) expect(outline(text)).to.deep.equal(outline(documented('The simulator')));
      expect(fs.realpathSync(facts.driver.path!)).to.equal(fs.realpathSync(SIMULATOR));
      expect(facts.driver.version).to.match(/^\d+\.\d$/);
      expect(facts.driver.devices[0]).to.include({ arch: 90 });
      expect(fs.realpathSync(facts.cudnn.path!)).to.equal(fs.realpathSync(CUDNN_SIMULATOR));
      expect(facts.cudnn.version).to.match(/^9\.\d+\.\d+$/);
      expect(facts.said).to.match(/^Ready on the CPU .* and on cuda:0 \(.*\), with cuDNN\. 'fracstride verify' checks/);
    });
  }

  it('says what is wrong with a cache that others can write to', async () => {
    fs.mkdirSync(cache());
    fs.chmodSync(cache(), 0o777);
    const { text, facts } = await tell(ABSENT);
    expect(facts.cache.reason).to.match(/must be owned by this user and writable by nobody else, got the mode 0777$/);
    expect(text).to.include('The kernel cache is refused.').and.to.include(`'chmod go-w ${cache()}'`);
  });

  it('ends with 2 for what it does not understand, and has help', async () => {
    expect((await fracstride(['doctor', '--gpu'])).code).to.equal(2);
    const help = await fracstride(['doctor', '--help']);
    expect(help.code).to.equal(0);
    expect(help.out).to.match(/exit code/);
  });
});

describe('advice of the doctor', () => {
  const found = { path: '/lib/x', version: '13.0', reason: null };
  const none = { path: null, version: null, reason: 'it could not be opened (x); install it' };
  const gpu = {
    ...{ name: 'a GPU', arch: 90, multiprocessors: 132, totalMemory: 2 ** 36, clockRateKhz: 1, l2CacheBytes: 1 },
    ...{ memoryClockRateKhz: 1, memoryBusWidthBits: 1 },
  };
  const healthy: Facts = {
    package: { version: '0.1.0', path: '/app' },
    node: { version: '22.12.0', platform: 'linux', architecture: 'x64' },
    cpu: 'a CPU',
    addon: { ...found, version: null, instructionSets: ['avx2', 'baseline'], threads: 8 },
    driver: { ...found, devices: [gpu] },
    nvrtc: { ...found, architectures: [75, 80, 90] },
    nvcc: found,
    cudnn: { ...found, version: '9.10.2' },
    cache: { path: '/c', exists: true, kernels: 1, bytes: 1, limit: 2, writable: true, reason: null },
    builtIn: {},
    environment: {},
  };
  const first = (facts: Partial<Facts>): string => adviceFor({ ...healthy, ...facts })[0]?.what ?? '';

  it('has nothing to say where everything is there', () => {
    expect(adviceFor(healthy)).to.deep.equal([]);
    expect(verdictFor(healthy)).to.equal(
      "Ready on the CPU (avx2, 8 threads) and on cuda:0 (a GPU), with cuDNN. 'fracstride verify' checks that all of it computes what it should.",
    );
  });

  it('says what is missing, one thing after the other', () => {
    const noDevices = { ...found, reason: 'the driver reports no device', devices: [] };
    expect(first({ addon: { ...none, instructionSets: [], threads: 0 } })).to.equal(
      'The native addon cannot be loaded.',
    );
    expect(first({ driver: { ...none, devices: [] } })).to.equal('No CUDA driver was found.');
    expect(first({ driver: noDevices })).to.equal('The CUDA driver 13.0 is there, but no device can be used.');
    expect(first({ driver: { ...found, devices: [{ ...gpu, arch: 61 }] } })).to.equal(
      'a GPU has compute capability 6.1.',
    );
    expect(first({ nvrtc: { ...none, architectures: [] }, nvcc: none })).to.match(/^There is no compiler for kernels/);
    expect(first({ nvrtc: { ...found, architectures: [75, 86] }, nvcc: none })).to.equal(
      'NVRTC 13.0 is older than a GPU.',
    );
    expect(first({ cudnn: none })).to.equal('cuDNN cannot be used.');
    expect(first({ cache: { ...healthy.cache, writable: false } })).to.equal('The kernel cache cannot be written to.');
    expect(first({ environment: { FRACSTRIDE_NO_JIT: '1' } })).to.equal('FRACSTRIDE_NO_JIT is 1.');
  });

  it('says everything in whole sentences', () => {
    const worst: Facts = {
      ...healthy,
      ...{ driver: { ...none, devices: [] }, nvrtc: { ...none, architectures: [] }, nvcc: none, cudnn: none },
      cache: { ...healthy.cache, reason: 'cache: /c must be writable, got the mode 0555' },
      environment: { FRACSTRIDE_NO_JIT: '1', FRACSTRIDE_LIBNVRTC: '/absent/x' },
    };
    const all = adviceFor(worst);
    expect(all).to.have.length(4);
    for (const { what, means, next } of all) {
      for (const text of [what, means, next]) expect(text).to.match(/^[A-Z].*\.$/);
    }
  });
});

describe("cuDNN's version", () => {
  it('is read in both ways that it was counted', () => {
    expect([91002, 90100, 8907, 8005].map(cudnnVersion)).to.deep.equal(['9.10.2', '9.1.0', '8.9.7', '8.0.5']);
  });
});
