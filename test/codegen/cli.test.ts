/** The command: exit codes, what goes to which stream, what hostile input gets, builds that are killed or run twice. */

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { Session } from '../../codegen/cli/session.js';
import { main } from '../../codegen/cli.js';
import { renderKernel } from '../../codegen/render.js';
import { parseKernelName } from '../../codegen/spec.js';
import { openStore } from '../../codegen/store.js';
import { type FakeNvcc, fakeNvcc } from '../support/fake_nvcc.js';

const CLI = fileURLToPath(new URL('../../src/bin.js', import.meta.url));
const PROBLEM = 'convT2d n=16 c=256 k=128 h=8 w=8 r=4 stride=2 padding=1';
const KERNEL = 'ct2d_fwd_f32_nchw__gather__sm90';

interface Told {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function tell(...words: string[]): Promise<Told> {
  let out = '';
  let err = '';
  const sinks = { write: (text: string) => (out += text), log: (text: string) => (err += text), interactive: false };
  const code = await main(words, { session: new Session(sinks) });
  return { code, out, err };
}

describe('fracstride', function () {
  // Other processes take their time on a busy machine.
  this.timeout(120_000);
  let root: string;
  let fake: FakeNvcc;
  const saved = { ...process.env };
  const cache = () => join(root, 'cache');

  beforeEach(() => {
    root = fs.mkdtempSync(join(tmpdir(), 'fracstride-cli-'));
    use(fakeNvcc(join(root, 'bin')));
  });
  afterEach(() => {
    process.env = { ...saved };
    fs.rmSync(root, { recursive: true, force: true });
  });

  /** Makes this the nvcc of the process. */
  function use(compiler: FakeNvcc): void {
    fake = compiler;
    process.env = { ...compiler.environment, FRACSTRIDE_CACHE_DIR: cache() } as NodeJS.ProcessEnv;
  }

  function start(...words: string[]): ChildProcess {
    return spawn(process.execPath, [CLI, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  }

  const GROUPS = ['list', 'render', 'build', 'explain', 'inspect', 'record', 'cache'];

  it('tells its version and helps with every command', async () => {
    expect(await tell('--version')).to.deep.equal({ code: 0, out: '0.1.0\n', err: '' });
    const help = await tell('--help');
    expect(help).to.include({ code: 0, err: '' });
    for (const group of GROUPS) {
      expect(help.out).to.match(new RegExp(`^  ${group}\\b`, 'm'));
      const own = await tell(group, '--help');
      expect(own).to.include({ code: 0, err: '' });
      expect(own.out).to.include(`fracstride ${group}`);
    }
  });

  it('has the commands of this version and no others', async () => {
    for (const word of ['verify', 'doctor', 'bench']) expect((await tell(word)).code).to.equal(2);
  });

  describe('usage errors are one sentence and exit code 2', () => {
    const cases: string[][] = [
      ['frobnicate'],
      ['buidl'],
      ['list', '--bogus'],
      ['render'],
      ['cache', 'melt'],
      ['build', '--jobs', '0'],
      ['build', '--jobs', '1e3'],
      ['build', '--jobs', 'NaN'],
      ['build', '--target', 'sm_74'],
      ['build', '--target', 'sm_90,,ptx'],
      ['build', 'no-such-preset'],
      ['build', '__proto__'],
      ['build', 'constructor'],
      ['build', '/dev/zero'],
      ['build', '.'],
      ['render', PROBLEM, '--target', 'sm_90; rm -rf /'],
      ['explain', '/etc/passwd'],
      ['explain', '../../package.json'],
      ['explain', ''],
      ['explain', '{'],
      ['explain', '{}'],
      ['explain', 'null'],
      ['explain', '[]'],
      ['explain', '{"op":"convT2d","n":1e400}'],
      ['explain', '{"op":"convT2d","__proto__":{"n":1}}'],
      ['explain', 'convT2d'],
      ['explain', PROBLEM.replace('n=16', 'n=-1')],
      ['explain', PROBLEM.replace('n=16', 'n=99999999999999999999999')],
      ['explain', PROBLEM.replace('n=16', 'n=1e9')],
      ['explain', PROBLEM.replace('n=16', 'n=NaN')],
      ['explain', PROBLEM.replace('r=4', 'r=3x4x5')],
      ['explain', PROBLEM.replace('r=4', 'r=0')],
      ['explain', PROBLEM.replace('padding=1', 'padding=1000')],
      ['explain', `${PROBLEM} groups=7`],
      ['explain', `${PROBLEM} dtype=int8`],
      ['explain', `${PROBLEM} dtype="; system(\\"x\\"); //`],
      ['explain', `${PROBLEM} n=16`],
      ['explain', `${PROBLEM} shell=$(id)`],
      ['explain', PROBLEM.replace('stride=2', 'stride=2\u0000')],
      ['explain', 'convT2d '.repeat(20_000)],
      ['render', 'ct2d_fwd_f32_nchw__gather__sm74'],
      ['render', 'ct2d_fwd_f32_nchw__gather__sm90__sm90'],
      ['render', 'ct2d_../../../etc__gather__sm90'],
      ['render', `ct2d_fwd_f32_nchw__${'x'.repeat(100_000)}__sm90`],
      ['inspect', '../../etc/passwd'],
      ['inspect', 'ct2d_fwd_f32_nchw__gather'],
      ['render', 'add_f32__reduce__sm90'],
      ['render', 'add_i8__pointwise__sm90'],
      ['build', '--format', 'elf'],
      ['build', '--compiler', 'gcc'],
      ['record'],
      ['cache', 'prune', '--limit', '-1'],
    ];
    for (const words of cases) {
      it(JSON.stringify(words).slice(0, 90), async () => {
        const told = await tell(...words);
        expect(told.out).to.equal('');
        expect(told.err).to.match(/^fracstride: [^\n]{1,400}\n$/);
        expect(told.code, told.err).to.equal(2);
      });
    }
  });

  describe('render', () => {
    it('prints exactly what is compiled, by problem and by name', async () => {
      const byProblem = await tell('render', PROBLEM, '--target', 'sm_90');
      expect(byProblem).to.include({ code: 0, err: '' });
      const chosen = JSON.parse((await tell('explain', PROBLEM, '--target', 'sm_90', '--json')).out).chosen;
      expect((await tell('render', chosen)).out).to.equal(byProblem.out);
      expect(byProblem.out).to.equal(renderKernel(parseKernelName(chosen)));
      expect(await tell('render', ...PROBLEM.split(' '), '--target', 'sm_90')).to.deep.equal(byProblem);
    });

    it('takes a name without its target, and every target', async () => {
      for (const [flag, zone] of [
        ['sm_75', 'sm75'],
        ['sm_121', 'sm121'],
        ['ptx', 'ptx'],
      ]) {
        const { out } = await tell('render', 'ct2d_wgrad_bf16_nhwc__gather', '--target', flag!);
        expect(out).to.include(`ct2d_wgrad_bf16_nhwc__gather__${zone}`);
      }
    });

    it('has the other operations too, and list shows them', async () => {
      const { code, out } = await tell('render', 'add_f32__pointwise__sm90');
      expect(code).to.equal(0);
      expect(out).to.include('add_f32__pointwise__sm90(');
      expect((await tell('render', 'add_f32__pointwise', '--target', 'sm_90')).out).to.equal(out);
      expect((await tell('list')).out).to.match(/^add \(pointwise\) +f32 f64 f16 bf16$/m);
      expect(JSON.parse((await tell('list', '--json')).out).operations).to.include('add_f32__pointwise');
    });

    it('has the CPU kernels too', async () => {
      const { code, out } = await tell('render', PROBLEM, '--target', 'cpu_avx2');
      expect(code).to.equal(0);
      expect(out).to.match(/ct2d_fwd_f32_nchw__[a-z]\w*__avx2/);
    });
  });

  describe('explain', () => {
    it('gives every candidate a cost or a reason, and takes the cheapest', async () => {
      const { code, out } = await tell('explain', PROBLEM, '--target', 'sm_80', '--json');
      expect(code).to.equal(0);
      const { candidates, chosen } = JSON.parse(out);
      expect(candidates.length).to.be.greaterThan(1);
      for (const each of candidates) expect((each.cost === null) !== (each.reason === null)).to.equal(true);
      const legal = candidates.filter((each: { cost: number | null }) => each.cost !== null);
      const cheapest = legal.reduce((a: { cost: number }, b: { cost: number }) => (b.cost < a.cost ? b : a));
      expect(cheapest.kernel).to.equal(chosen);
      const plain = await tell('explain', PROBLEM, '--target', 'sm_80');
      expect(plain.out).to.match(new RegExp(`^\\*.*${chosen}`, 'm'));
    });
  });

  describe('build', () => {
    it('builds, then has nothing to do; --check and --dry-run tell before and after', async () => {
      const words = ['build', KERNEL];
      expect(await tell(...words, '--check')).to.include({ code: 3 });
      expect((await tell(...words, '--dry-run')).out).to.match(/^missing +ct2d_fwd_f32_nchw__gather__sm90$/m);
      expect(fake.compiled()).to.deep.equal([]);
      const built = await tell(...words);
      expect(built).to.include({ code: 0 });
      expect(built.out).to.match(/^1 built, 0 already there, 0 failed in /);
      expect(fake.compiled()).to.deep.equal([KERNEL]);
      expect((await tell(...words)).out).to.match(/^0 built, 1 already there, 0 failed in /);
      expect(await tell(...words, '--check')).to.include({ code: 0 });
      expect(fake.compiled()).to.deep.equal([]);
    });

    it('takes a list file of names, problems and objects, for several targets', async () => {
      const list = join(root, 'list.json');
      const layer = { op: 'convT2d', n: 1, c: 8, k: 8, h: 4, w: 4, r: 2, stride: 2 };
      fs.writeFileSync(list, JSON.stringify(['ct2d_fwd_f64_nchw__gather', PROBLEM, layer, KERNEL]));
      const { code, out } = await tell('build', list, '--target', 'sm_80,ptx', '--jobs', '2', '--json');
      expect(code).to.equal(0);
      const report = JSON.parse(out);
      expect(report).to.include({ built: 7, failed: 0, directory: cache() });
      expect(fake.compiled()).to.deep.equal(report.kernels.map((each: { name: string }) => each.name).sort());
    });

    it('takes a list with a line an item, and makes the formats that are asked for', async () => {
      const list = join(root, 'list.txt');
      fs.writeFileSync(list, `# what a run needed\n${PROBLEM}\nadd_f32__pointwise # an operation\n\n`);
      const { code, out } = await tell('build', list, '--target', 'sm_90,ptx', '--format', 'cubin,ptx', '--json');
      expect(code).to.equal(0);
      // PTX is all there is for the target ptx.
      expect(JSON.parse(out)).to.include({ built: 6, failed: 0 });
      const kept = openStore(cache())
        .list()
        .filter(({ name }) => name === 'add_f32__pointwise__sm90');
      expect(kept.map(({ meta }) => meta.image.file).sort()).to.deep.equal(['kernel.cubin', 'kernel.ptx']);
      expect((await tell('inspect', 'add_f32__pointwise__sm90', '--ptx')).out).to.match(/^fake ptx/);
    });

    it('refuses a list that is none', async () => {
      const list = join(root, 'list.json');
      for (const text of ['{}', '[1]', '["convT2d n=1"]', '[null]', '{"a"', '[["x"]]', '"default"']) {
        fs.writeFileSync(list, text);
        const told = await tell('build', list);
        expect(told, text).to.include({ code: 2, out: '' });
        expect(told.err, text).to.match(/^fracstride: [^\n]+\n$/);
      }
    });

    it('exits with 5 when a kernel does not compile, and names it', async () => {
      use(fakeNvcc(join(root, 'bin'), { refuses: '*_f64_*' }));
      const told = await tell('build', 'ct2d_fwd_f64_nchw__gather', '--target', 'sm_80,sm_90', '--json');
      expect(told.code).to.equal(5);
      const report = JSON.parse(told.out);
      expect(report).to.include({ built: 0, failed: 2 });
      expect(told.err).to.include('ct2d_fwd_f64_nchw__gather__sm80 must compile');
      for (const { error } of report.kernels)
        fs.rmSync(join(/text is in (\S+)/.exec(error)![1]!, '..'), { recursive: true });
    });

    it('says so where there is no compiler', async () => {
      process.env.PATH = '/nowhere';
      const told = await tell('build', KERNEL);
      expect(told).to.include({ code: 1, out: '' });
      expect(told.err).to.match(/^fracstride: toolchain: nvcc must be on PATH.*\n$/);
    });

    it('writes the sources of the CPU kernels without a compiler', async () => {
      process.env.PATH = '/nowhere';
      const told = await tell('build', '--target', 'cpu', '--out', join(root, 'cpu'));
      expect(told.code).to.equal(0);
      expect(fs.readdirSync(join(root, 'cpu')).some((name) => name.endsWith('.baseline.cc'))).to.equal(true);
    });

    it('two at once end with the same sound cache', async () => {
      use(fakeNvcc(join(root, 'bin'), { seconds: 0.05 }));
      const words = ['build', 'default', '--target', 'sm_90', '--jobs', '4', '--json'];
      const children = [start(...words), start(...words), start(...words)];
      const codes = await Promise.all(children.map(async (child) => (await once(child, 'exit'))[0]));
      expect(codes).to.deep.equal([0, 0, 0]);
      const { good, broken } = openStore(cache()).verify();
      expect(broken).to.deep.equal([]);
      expect(new Set(good.map((each) => each.name)).size).to.equal(good.length);
      expect(await tell('build', 'default', '--target', 'sm_90', '--check')).to.include({ code: 0 });
    });

    it('ends with its compilers at a signal, and leaves nothing of them behind', async () => {
      use(fakeNvcc(join(root, 'bin'), { seconds: 2 }));
      const temporary = join(root, 'tmp');
      fs.mkdirSync(temporary);
      process.env.TMPDIR = temporary;
      const child = start('build', 'default', '--target', 'sm_90', '--jobs', '2');
      const ended = once(child, 'exit');
      while (fs.readdirSync(temporary).length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
      child.kill('SIGTERM');
      expect(await ended).to.deep.equal([null, 'SIGTERM']);
      expect(fs.readdirSync(temporary)).to.deep.equal([]);
      expect(openStore(cache()).verify()).to.deep.equal({ good: [], broken: [] });
    });

    it('survives kill -9 half-way: no broken entry, and the next run does the rest', async () => {
      use(fakeNvcc(join(root, 'bin'), { seconds: 0.05 }));
      const victim = start('build', 'default', '--target', 'sm_90', '--jobs', '2');
      let lines = 0;
      victim.stderr!.on('data', (chunk: Buffer) => {
        lines += chunk.toString().split('\n').length - 1;
        if (lines >= 5) victim.kill('SIGKILL');
      });
      const [, signal] = await once(victim, 'exit');
      expect(signal).to.equal('SIGKILL');
      const { good, broken } = openStore(cache()).verify();
      expect(broken).to.deep.equal([]);
      expect(good.length).to.be.greaterThan(0);
      const { code, out } = await tell('build', 'default', '--target', 'sm_90', '--jobs', '8', '--json');
      expect(code).to.equal(0);
      const report = JSON.parse(out);
      expect(report.reused).to.be.at.least(good.length);
      expect(report.built).to.be.greaterThan(0);
      expect(fs.readdirSync(cache()).filter((name) => name.startsWith('.'))).to.deep.equal([]);
    });
  });

  describe('inspect and cache', () => {
    it('show what was built', async () => {
      await tell('build', 'ct2d_fwd_f32_nchw__gather', '--target', 'sm_90,ptx');
      const source = await tell('inspect', KERNEL, '--source');
      expect(source).to.include({ code: 0, out: (await tell('render', KERNEL)).out });
      expect((await tell('inspect', KERNEL, '--resources')).out).to.include('registers 40');
      const told = JSON.parse((await tell('inspect', KERNEL, '--json')).out);
      expect(told).to.include({ name: KERNEL, compiler: 'nvcc 99.0.1' });
      expect(told.arguments[0]).to.include({ kind: 'p' });
      expect((await tell('inspect', KERNEL.replace('sm90', 'ptx'), '--ptx')).out).to.match(/^fake ptx/);
      expect(await tell('inspect', KERNEL, '--ptx')).to.include({ code: 2, out: '' });
      expect(JSON.parse((await tell('list', '--json')).out).built[0].kernels).to.deep.equal([
        { kernel: 'ct2d_fwd_f32_nchw__gather', targets: ['ptx', 'sm90'] },
      ]);
      expect((await tell('list')).out).to.include('gather');
    });

    it('a kernel that was not built is an error that says how to build it', async () => {
      const name = 'ct2d_bgrad_f64_nhwc__gather__sm121';
      const told = await tell('inspect', name, '--json');
      expect(told.code).to.equal(1);
      expect(JSON.parse(told.out).error.code).to.equal('ERR_CACHE');
      expect(told.err).to.include(`fracstride build ${name}`);
    });

    it('path, ls, verify, prune and clear', async () => {
      expect((await tell('cache', 'path')).out).to.equal(`${cache()}\n`);
      await tell('build', KERNEL);
      expect((await tell('cache', 'ls')).out).to.include(KERNEL);
      expect(await tell('cache', 'verify')).to.include({ code: 0, out: '1 good, 0 broken\n' });
      fs.appendFileSync(join(openStore(cache()).list()[0]!.directory, 'kernel.cubin'), 'x');
      const verified = await tell('cache', 'verify');
      expect(verified).to.include({ code: 1, out: '0 good, 1 broken\n' });
      expect(verified.err).to.match(/^broken: .*kernel\.cubin has changed/);
      expect((await tell('cache', 'prune')).out).to.equal('1 leftovers removed\n');
      await tell('build', KERNEL);
      expect((await tell('cache', 'clear')).out).to.equal('1 kernels removed\n');
      expect(JSON.parse((await tell('cache', 'ls', '--json')).out)).to.deep.include({ kernels: [], bytes: 0 });
    });

    it('a cache that cannot be used is exit code 1', async () => {
      fs.writeFileSync(cache(), '');
      for (const words of [['cache', 'ls'], ['build', KERNEL], ['list']]) {
        const told = await tell(...words);
        expect(told, words.join(' ')).to.include({ code: 1, out: '' });
        expect(told.err).to.match(/^fracstride: cache: [^\n]+\n$/);
      }
    });
  });

  describe('as a process', () => {
    it('keeps stdout pure JSON with --json, also when it fails', () => {
      const commands = [
        ['list', '--json'],
        ['explain', PROBLEM, '--json'],
        ['explain', 'nonsense', '--json'],
        ['build', KERNEL, '--json'],
        ['build', KERNEL, '--check', '--json'],
        ['build', KERNEL, '--dry-run', '--json'],
        ['inspect', KERNEL, '--json'],
        ['inspect', KERNEL, '--resources', '--json'],
        ...['path', 'ls', 'verify', 'prune', 'clear'].map((name) => ['cache', name, '--json']),
      ];
      for (const words of commands) {
        const { stdout, status } = spawnSync(process.execPath, [CLI, ...words], { encoding: 'utf8' });
        expect(() => JSON.parse(stdout), words.join(' ')).not.to.throw();
        expect(status).to.equal(words.includes('nonsense') ? 2 : 0);
      }
    });

    it('runs through a link, as node_modules/.bin has it, and survives a reader that leaves', () => {
      const link = join(root, 'fracstride');
      fs.symlinkSync(CLI, link);
      expect(execFileSync(process.execPath, [link, '--version'], { encoding: 'utf8' })).to.equal('0.1.0\n');
      const script = `"${process.execPath}" "${CLI}" render ${KERNEL} | head -n 1`;
      const { stdout, stderr } = spawnSync('sh', ['-c', script], { encoding: 'utf8' });
      expect(stdout.split('\n')).to.have.length(2);
      expect(stderr).to.equal('');
    });

    it('ends with its code when nobody reads its messages', async () => {
      const child = spawn(process.execPath, [CLI, 'nonsense'], { stdio: ['ignore', 'ignore', 'pipe'] });
      child.stderr.destroy();
      expect(await once(child, 'close')).to.deep.equal([2, null]);
    });
  });
});
