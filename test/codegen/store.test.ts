/** The kernel store: many processes at once, processes killed half-way, contents that changed behind its back. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

describe('store', () => {
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

  if (process.geteuid !== undefined) {
    it('does not trust the directory of another user', () => {
      const superuser = process.geteuid!() === 0;
      if (superuser) process.seteuid!(65534);
      try {
        expect(() => openStore('/'))
          .to.throw(FracstrideError, /user 0/)
          .with.property('code', 'ERR_CACHE');
      } finally {
        if (superuser) process.seteuid!(0);
      }
    });
  }

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
