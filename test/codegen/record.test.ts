/** `fracstride record`: what a run asked for, however it ends, and that what is built from its list is all it needs. */

import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { specsFor } from '../../codegen/presets.js';
import { findNvcc } from '../../codegen/toolchain.js';
import { SIMULATOR } from '../support/simulated.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const BIN = fileURLToPath(new URL('../../src/bin.js', import.meta.url));
const PROGRAM = `
import { nn, optim, ones } from 'fracstride';
const device = process.env.FRACSTRIDE_DEVICE;
const layer = new nn.ConvTranspose2d(4, 3, 4, { stride: 2, padding: 1, device });
const optimiser = new optim.Adam(layer.parameters(), { lr: 0.01 });
const y = layer.forward(ones([2, 4, 5, 5], { device }));
const loss = y.mul(y).mean();
loss.backward();
optimiser.step();
console.log(loss.item() > 0, layer.weight.dataSync().every(Number.isFinite));
`;
const ENDS: Record<string, { end: string; code: number }> = {
  'runs to its end': { end: '', code: 0 },
  'calls process.exit': { end: 'process.exit(7);', code: 7 },
  'is interrupted': {
    end: "process.kill(process.pid, 'SIGINT'); await new Promise(() => setInterval(() => {}, 1000));",
    code: 130,
  },
  'is killed': {
    end: "process.kill(process.pid, 'SIGKILL'); await new Promise(() => setInterval(() => {}, 1000));",
    code: 137,
  },
};

describe('record', function () {
  this.timeout(120_000);
  let root: string;
  beforeEach(() => {
    root = fs.mkdtempSync(join(tmpdir(), 'fracstride-record-test-'));
    fs.mkdirSync(join(root, 'node_modules'));
    fs.symlinkSync(ROOT, join(root, 'node_modules/fracstride'));
  });
  afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

  const list = () => join(root, 'list.txt');
  const items = () =>
    fs
      .readFileSync(list(), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
  const environment = (more: Record<string, string> = {}) => ({
    ...process.env,
    FRACSTRIDE_CACHE_DIR: join(root, 'cache'),
    FRACSTRIDE_DEVICE: 'cpu',
    FRACSTRIDE_NO_JIT: '',
    FRACSTRIDE_DEBUG: '',
    ...more,
  });
  const run = (words: readonly string[], more: Record<string, string> = {}) =>
    spawnSync(process.execPath, words, { cwd: root, env: environment(more), encoding: 'utf8' });
  const record = (text: string, more: Record<string, string> = {}) => {
    fs.writeFileSync(join(root, 'program.mjs'), text);
    return run([BIN, 'record', '--out', list(), '--', process.execPath, 'program.mjs'], more);
  };

  for (const [title, { end, code }] of Object.entries(ENDS)) {
    it(`writes problems and operations when the run ${title}, and passes its exit code on`, () => {
      const { status, stdout, stderr } = record(`${PROGRAM}${end}`);
      expect(status, stderr).to.equal(code);
      expect(stdout).to.equal('true true\n');
      expect(items()).to.include('convT2d n=2 c=4 k=3 h=5 w=5 r=4 stride=2 padding=1 bias=true');
      expect(items()).to.include('mul_f32__pointwise').and.to.include('adam_group_f32__optimizer');
      expect(specsFor(items(), [{ kind: 'ptx' }])).to.have.length(items().length);
      expect(fs.readdirSync(root).sort()).to.deep.equal(['list.txt', 'node_modules', 'program.mjs']);
    });
  }

  it('covers worker threads and child processes, and keeps NODE_OPTIONS', () => {
    const { status, stderr, stdout } = record(
      `import { Worker, isMainThread } from 'node:worker_threads';
       import { execFileSync } from 'node:child_process';
       import { ones } from 'fracstride';
       const x = ones([3], { device: 'cpu' });
       if (process.argv[2] === 'child') x.exp();
       else if (!isMainThread) x.tanh();
       else {
         await new Promise((resolve) => new Worker(new URL(import.meta.url)).on('exit', resolve));
         execFileSync(process.execPath, [process.argv[1], 'child'], { stdio: 'inherit' });
         console.log(typeof gc);
       }`,
      { NODE_OPTIONS: '--expose-gc' },
    );
    expect(status, stderr).to.equal(0);
    expect(stdout).to.equal('function\n');
    expect(items()).to.include('tanh_f32__pointwise').and.to.include('exp_f32__pointwise');
  });

  it('says so where nothing was recorded, and where the command is none', () => {
    expect(record('').stderr).to.match(/no kernel was asked for/);
    const { status, stderr } = run([BIN, 'record', '--out', list(), '--', join(root, 'absent')]);
    expect(status).to.equal(2);
    expect(stderr).to.match(/^fracstride: record: .* must be a command, got [^\n]+\n$/);
    expect(run([BIN, 'record', '--out', join(root, 'no/such/folder'), '--', 'true']).status).to.equal(2);
  });

  if (findNvcc() !== null && fs.existsSync(SIMULATOR)) {
    it('a run on the CPU tells what one on a GPU needs: built from the list, nothing is compiled any more', () => {
      expect(record(PROGRAM).status).to.equal(0);
      const built = run([BIN, 'build', list(), '--target', 'sm_90', '--format', 'ptx']);
      expect(built.status, built.stderr).to.equal(0);
      const { status, stdout, stderr } = run([join(root, 'program.mjs')], {
        FRACSTRIDE_DEVICE: 'cuda',
        FRACSTRIDE_LIBCUDA: SIMULATOR,
        CUDA_SIMULATOR: 'arch=90',
        FRACSTRIDE_NO_JIT: '1',
        FRACSTRIDE_DEBUG: '3',
      });
      expect(status, stderr).to.equal(0);
      expect(stdout).to.equal('true true\n');
      // From the cache that was built, not from the addon.
      expect(stderr).to.match(/took adam_group_f32__optimizer__sm90, ptx of nvcc/);
    });
  }
});
