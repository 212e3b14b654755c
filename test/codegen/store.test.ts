/** The kernel store: many processes at once, processes killed half-way, contents that changed behind its back. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { FracstrideError } from '../../codegen/errors.js';
import { type BrokenKernel, defaultStoreDirectory, kernelKey, type NewKernel, openStore } from '../../codegen/store.js';

const STORE = new URL('../../codegen/store.js', import.meta.url).href;

function kernel(name: string, image: Uint8Array = Buffer.from(`image of ${name}`)): NewKernel {
  const source = `// ${name}\n`;
  const flags = ['-cubin'];
  const key = kernelKey(source, 'test 1', flags);
  const resources = { registers: 40, spillStores: 0, spillLoads: 0, shared: 1024, constant: 400 };
  return { name, key, source, image, format: 'cubin', compiler: 'test 1', flags, resources };
}

/** A Node process with the store as `openStore`, and `kernel` as above. */
function child(script: string): ChildProcess {
  const text = `import { openStore, kernelKey } from ${JSON.stringify(STORE)};\nconst kernel = ${kernel};\n${script}`;
  return spawn(process.execPath, ['--input-type=module', '-e', text], { stdio: ['ignore', 'pipe', 'inherit'] });
}

describe('store', function () {
  // Other processes take their time on a busy machine.
  this.timeout(60_000);
  let root: string;
  beforeEach(() => {
    root = fs.mkdtempSync(join(tmpdir(), 'fracstride-store-'));
  });
  afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

  const directory = () => join(root, 'kernels');
  const leftovers = () => fs.readdirSync(directory()).filter((name) => name.startsWith('.'));

  it('returns what was put, text and image, and nothing for another key', () => {
    const store = openStore(directory());
    const made = kernel('add_f32__gather__sm90');
    expect(store.find(made)).to.equal(null);
    store.put(made);
    const found = store.find(made)!;
    expect(Buffer.from(store.read(found, 'source')).toString()).to.equal(made.source);
    expect(store.read(found, 'image')).to.deep.equal(made.image);
    expect(found.meta).to.include({ name: made.name, compiler: 'test 1' });
    expect(store.find({ name: made.name, key: '0'.repeat(32) })).to.equal(null);
    expect(store.list().map((entry) => entry.name)).to.deep.equal([made.name]);
    expect(leftovers()).to.deep.equal([]);
  });

  it('keys by text, compiler and flags', () => {
    const base = kernelKey('text', 'nvcc 13', ['-a']);
    expect(kernelKey('text', 'nvcc 13', ['-a'])).to.equal(base);
    const others = [kernelKey('text ', 'nvcc 13', ['-a']), kernelKey('text', 'nvcc 12', ['-a'])];
    others.push(kernelKey('text', 'nvcc 13', ['-b']), kernelKey('text', 'nvcc 13', []));
    expect(new Set([base, ...others]).size).to.equal(5);
  });

  it('keeps its directories to the user', () => {
    const stored = openStore(directory()).put(kernel('private__k__ptx'));
    for (const path of [directory(), stored.directory]) expect(fs.statSync(path).mode & 0o777).to.equal(0o700);
  });

  it('finds its place by FRACSTRIDE_CACHE_DIR', () => {
    expect(defaultStoreDirectory({ FRACSTRIDE_CACHE_DIR: '/somewhere' })).to.equal('/somewhere');
    expect(defaultStoreDirectory({ FRACSTRIDE_CACHE_DIR: '' })).to.match(/fracstride/);
  });

  const damages: Record<string, (entry: string) => void> = {
    'a changed image': (entry) => fs.appendFileSync(join(entry, 'kernel.cubin'), 'x'),
    'a shortened text': (entry) => fs.truncateSync(join(entry, 'kernel.cu'), 2),
    'a missing image': (entry) => fs.rmSync(join(entry, 'kernel.cubin')),
    'half a meta.json': (entry) => fs.truncateSync(join(entry, 'meta.json'), 30),
    'a missing meta.json': (entry) => fs.rmSync(join(entry, 'meta.json')),
    'a meta.json of another kernel': (entry) => {
      const text = fs.readFileSync(join(entry, 'meta.json'), 'utf8');
      fs.writeFileSync(join(entry, 'meta.json'), text.replace('victim', 'impostor'));
    },
  };
  for (const [what, damage] of Object.entries(damages)) {
    it(`moves ${what} aside and takes a new one`, () => {
      const heard: BrokenKernel[] = [];
      const store = openStore(directory(), { onBroken: (broken) => heard.push(broken) });
      const made = kernel('victim__k__sm90');
      damage(store.put(made).directory);
      expect(store.find(made)).to.equal(null);
      expect(heard).to.have.length(1);
      expect(heard[0]!.reason).to.match(/meta\.json|kernel\.cu/);
      expect(fs.existsSync(heard[0]!.movedTo)).to.equal(true);
      store.put(made);
      expect(store.find(made)).to.not.equal(null);
      expect(store.prune()).to.have.length(1);
      expect(leftovers()).to.deep.equal([]);
    });
  }

  it('refuses to read an image that changed after it was found', () => {
    const store = openStore(directory());
    const found = store.put(kernel('late__k__sm90'));
    fs.appendFileSync(join(found.directory, 'kernel.cubin'), 'x');
    expect(() => store.read(found, 'image'))
      .to.throw(FracstrideError)
      .with.property('code', 'ERR_CACHE');
  });

  it('verify counts good and broken entries, clear leaves nothing', () => {
    const store = openStore(directory());
    for (const name of ['a__k__ptx', 'b__k__ptx', 'c__k__ptx']) store.put(kernel(name));
    fs.appendFileSync(join(store.list()[1]!.directory, 'kernel.cubin'), 'x');
    const { good, broken } = store.verify();
    expect(good.map((entry) => entry.name)).to.deep.equal(['a__k__ptx', 'c__k__ptx']);
    expect(broken.map((entry) => entry.entry.split('.')[0])).to.deep.equal(['b__k__ptx']);
    expect(store.clear()).to.equal(2);
    expect(fs.readdirSync(directory())).to.deep.equal([]);
  });

  it('says ERR_CACHE where it cannot work', () => {
    const file = join(root, 'file');
    fs.writeFileSync(file, '');
    for (const work of [() => openStore(file).list(), () => openStore(file).put(kernel('x__k__ptx'))]) {
      expect(work)
        .to.throw(FracstrideError, /must be a directory/)
        .with.property('code', 'ERR_CACHE');
    }
  });

  // Node's own recursive mkdir never returns there.
  const linux = process.platform === 'linux' ? it : () => {};
  linux('says so too where no folder can be made below one that is there', () => {
    const store = fileURLToPath(new URL('../../codegen/store.js', import.meta.url));
    const put = `import { openStore } from ${JSON.stringify(store)};
      try { openStore('/proc/none/of/these').put({}); } catch (error) { console.log(error.code); }`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', put], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    expect(stdout).to.equal('ERR_CACHE\n');
  });

  describe("is one user's own", () => {
    const refusal = (work: () => unknown, path: string, got: RegExp) =>
      expect(work)
        .to.throw(FracstrideError, got)
        .that.includes({ code: 'ERR_CACHE' })
        .with.property('message')
        .that.includes(`${path} must be owned by this user and writable by nobody else`);

    it('keeps files to the user whatever the umask', () => {
      const before = process.umask(0);
      try {
        const { directory: entry } = openStore(directory()).put(kernel('private__k__ptx'));
        for (const name of fs.readdirSync(entry)) expect(fs.statSync(join(entry, name)).mode & 0o777).to.equal(0o600);
      } finally {
        process.umask(before);
      }
    });

    it('refuses what others could have written, and verify moves it aside', () => {
      const made = kernel('open__k__sm90');
      const { directory: entry } = openStore(directory()).put(made);
      for (const [path, mode] of [
        [join(entry, 'kernel.cubin'), 0o602],
        [join(entry, 'kernel.cu'), 0o620],
        [join(entry, 'meta.json'), 0o666],
        [entry, 0o777],
      ] as const) {
        const before = fs.statSync(path).mode;
        fs.chmodSync(path, mode);
        refusal(() => openStore(directory()).find(made), path, /the mode 0\d{3}$/);
        fs.chmodSync(path, before);
      }
      expect(openStore(directory()).find(made)).to.not.equal(null);
      fs.chmodSync(directory(), 0o775);
      refusal(() => openStore(directory()), directory(), /the mode 0775$/);
      fs.chmodSync(directory(), 0o700);
      fs.chmodSync(entry, 0o777);
      const { good, broken } = openStore(directory()).verify();
      expect([good.length, broken.length]).to.deep.equal([0, 1]);
      expect(openStore(directory()).find(made)).to.equal(null);
    });

    it('refuses a link in place of a file', () => {
      const made = kernel('link__k__sm90');
      const { directory: entry } = openStore(directory()).put(made);
      fs.renameSync(join(entry, 'kernel.cubin'), join(root, 'elsewhere'));
      fs.symlinkSync(join(root, 'elsewhere'), join(entry, 'kernel.cubin'));
      refusal(() => openStore(directory()).find(made), join(entry, 'kernel.cubin'), /a link to somewhere else$/);
    });

    if (process.geteuid?.() === 0) {
      it('refuses what another user owns, also as the superuser', () => {
        const made = kernel('foreign__k__sm90');
        const { directory: entry } = openStore(directory()).put(made);
        fs.chownSync(join(entry, 'kernel.cubin'), 65534, 65534);
        refusal(() => openStore(directory()).find(made), join(entry, 'kernel.cubin'), /an owner who is user 65534$/);
        expect(openStore(directory(), { owner: 65534 }).find(made)).to.not.equal(null);
        fs.chownSync(directory(), 65534, 65534);
        refusal(() => openStore(directory()), directory(), /an owner who is user 65534$/);
      });

      it('refuses the directory of the superuser as anybody else', () => {
        process.seteuid!(65534);
        try {
          refusal(() => openStore('/'), '/', /an owner who is user 0$/);
        } finally {
          process.seteuid!(0);
        }
      });
    }
  });

  describe('is bounded', () => {
    const names = () =>
      openStore(directory())
        .list()
        .map(({ name }) => name);
    const aged = (entry: string, days: number) => {
      const then = new Date(Date.now() - days * 24 * 3600 * 1000);
      fs.utimesSync(join(entry, 'meta.json'), then, then);
    };

    it('what was not used for longest goes first, and a use counts', () => {
      const image = Buffer.alloc(100_000);
      const made = ['a', 'b', 'c', 'd'].map((letter) => kernel(`${letter}__k__sm90`, image));
      const first = openStore(directory());
      const stored = made.map((each) => first.put(each));
      for (const [i, each] of stored.entries()) aged(each.directory, 10 - i);
      expect(first.find(made[0]!)).to.not.equal(null);
      openStore(directory(), { limit: 300_000 }).put(kernel('e__k__sm90', image));
      // The least recent goes until there is room to spare, a and the new one stay.
      expect(names()).to.deep.equal(['a__k__sm90', 'd__k__sm90', 'e__k__sm90']);
      expect(leftovers()).to.deep.equal([]);
    });

    it('prune takes a limit of its own', () => {
      const store = openStore(directory());
      for (const [i, letter] of ['a', 'b', 'c'].entries())
        aged(store.put(kernel(`${letter}__k__sm90`, Buffer.alloc(100_000))).directory, 10 - i);
      expect(store.prune(250_000).map((entry) => entry[0])).to.deep.equal(['a']);
      expect(store.prune(0)).to.have.length(2);
    });

    it('notes a use at most once a day', () => {
      const store = openStore(directory());
      const { directory: entry } = store.put(kernel('a__k__sm90'));
      aged(entry, 0.5);
      const before = fs.statSync(join(entry, 'meta.json')).mtimeMs;
      store.find(kernel('a__k__sm90'));
      expect(fs.statSync(join(entry, 'meta.json')).mtimeMs).to.equal(before);
      aged(entry, 2);
      store.find(kernel('a__k__sm90'));
      expect(fs.statSync(join(entry, 'meta.json')).mtimeMs).to.be.greaterThan(before);
    });
  });

  it('finds a text whatever compiled it, the last used first', () => {
    const store = openStore(directory());
    const one = { ...kernel('a__k__sm90'), compiler: 'one 1', key: '1'.repeat(32) };
    const two = { ...one, compiler: 'two 1', key: '2'.repeat(32) };
    const ptx = { ...one, format: 'ptx' as const, key: '3'.repeat(32) };
    const other = { ...one, source: 'other', key: '4'.repeat(32) };
    for (const each of [one, two, ptx, other]) store.put(each);
    const old = new Date(Date.now() - 3600 * 1000);
    fs.utimesSync(join(store.find(two)!.directory, 'meta.json'), old, old);
    const found = store.matching({ name: one.name, format: 'cubin', source: () => one.source });
    expect(found.map(({ meta }) => meta.compiler)).to.deep.equal(['one 1', 'two 1']);
    expect(store.matching({ name: 'b__k__sm90', format: 'cubin', source: () => 'never asked' })).to.deep.equal([]);
  });

  it('reads its directory again for a text once that has changed, and not before', () => {
    const [store, other] = [openStore(directory()), openStore(directory())];
    const made = [kernel('a__k__sm90'), kernel('b__k__sm90'), kernel('c__k__sm90')];
    const seen = () =>
      made.map(({ name, source }) => store.matching({ name, format: 'cubin', source: () => String(source) }).length);
    const hourAgo = new Date(Date.now() - 3600 * 1000);
    const settle = () => fs.utimesSync(directory(), hourAgo, hourAgo);
    expect(seen()).to.deep.equal([0, 0, 0]);
    other.put(made[0]!);
    expect(seen()).to.deep.equal([1, 0, 0]);
    other.put(made[1]!);
    expect(seen(), 'a moment later').to.deep.equal([1, 1, 0]);
    settle();
    expect(seen()).to.deep.equal([1, 1, 0]);
    other.put(made[2]!);
    settle();
    expect(seen(), 'a change that the time does not tell').to.deep.equal([1, 1, 0]);
    fs.rmSync(store.find(made[0]!)!.directory, { recursive: true });
    expect(seen()).to.deep.equal([0, 1, 1]);
  });

  it('lets many processes put the same kernels at once', async () => {
    const script = `
      const store = openStore(${JSON.stringify(directory())}, { onBroken: (broken) => { throw new Error(JSON.stringify(broken)); } });
      for (let i = 0; i < 40; i++) store.put(kernel('k' + i + '__many__sm90', Buffer.alloc(20000, i)));
    `;
    const children = Array.from({ length: 6 }, () => child(script));
    const codes = await Promise.all(children.map(async (process) => (await once(process, 'exit'))[0]));
    expect(codes).to.deep.equal([0, 0, 0, 0, 0, 0]);
    const { good, broken } = openStore(directory()).verify();
    expect([good.length, broken.length]).to.deep.equal([40, 0]);
    expect(leftovers()).to.deep.equal([]);
  });

  it('has no broken entry after processes were killed half-way, and prunes what they left', async () => {
    const script = `
      const store = openStore(${JSON.stringify(directory())});
      process.stdout.write('ready');
      for (let i = 0; ; i++) store.put(kernel('k' + process.pid + '_' + i + '__killed__sm90', Buffer.alloc(4 << 20, i)));
    `;
    // Writing takes nearly all of its time, so a kill finds it half-way sooner or later.
    let found = 0;
    for (let attempt = 0; attempt < 30 && found === 0; attempt++) {
      const victim = child(script);
      await once(victim.stdout!, 'data');
      await new Promise((resolve) => setTimeout(resolve, 20 + 7 * attempt));
      victim.kill('SIGKILL');
      await once(victim, 'exit');
      found = leftovers().length;
    }
    expect(found, 'a half-written entry').to.be.greaterThan(0);
    const store = openStore(directory());
    expect(store.verify().broken).to.deep.equal([]);
    expect(store.prune()).to.have.length(found);
    expect(leftovers()).to.deep.equal([]);
  });

  it('does not prune what a living process is writing', () => {
    const store = openStore(directory());
    store.put(kernel('a__k__ptx'));
    fs.mkdirSync(join(directory(), `.new-${process.pid}-00`));
    expect(store.prune()).to.deep.equal([]);
  });
});
