/** The set-up scripts: what they take for installed, and that two of them do not get in each other's way. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const script = (name: string) => new URL(`../../scripts/${name}`, import.meta.url).href;

describe('set-up scripts', () => {
  let root: string;
  beforeEach(() => {
    root = fs.mkdtempSync(join(tmpdir(), 'fracstride-scripts-'));
  });
  afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

  describe('isInstalled', () => {
    type Entry = { version?: string; optional?: boolean; extraneous?: boolean; link?: boolean };

    async function isInstalled(wanted: Record<string, Entry> | null, present: Record<string, Entry> | null) {
      const write = (path: string, packages: Record<string, Entry> | null) => {
        if (packages !== null) fs.writeFileSync(join(root, path), JSON.stringify({ packages }));
      };
      fs.mkdirSync(join(root, 'node_modules/there'), { recursive: true });
      write('package-lock.json', wanted);
      write('node_modules/.package-lock.json', present);
      const { isInstalled: check } = (await import(script('installed.mjs'))) as {
        isInstalled(folder: string): boolean;
      };
      return check(root);
    }
    const there = { 'node_modules/there': { version: '1.0.0' } };

    it('is true of what npm ci made here', async () => {
      const { isInstalled: check } = (await import(script('installed.mjs'))) as {
        isInstalled(folder: string): boolean;
      };
      expect(check(ROOT)).to.equal(true);
    });

    it('takes what is there, and does without what npm leaves out', async () => {
      expect(await isInstalled(there, there)).to.equal(true);
      const more = { '': {}, '..': { version: '1.0.0' }, 'node_modules/mac': { version: '1.0.0', optional: true } };
      expect(await isInstalled({ ...there, ...more }, there)).to.equal(true);
      expect(await isInstalled({ ...there, 'node_modules/odd': { extraneous: true } }, there)).to.equal(true);
    });

    it('asks for an install when something is missing, older, or was removed', async () => {
      expect(await isInstalled(there, null)).to.equal(false);
      expect(await isInstalled(there, {})).to.equal(false);
      expect(await isInstalled({ 'node_modules/there': { version: '1.0.1' } }, there)).to.equal(false);
      const gone = { 'node_modules/gone': { version: '1.0.0' } };
      expect(await isInstalled(gone, gone)).to.equal(false);
    });
  });

  describe('withLock', () => {
    /** Enters, stays a moment, leaves; writes what it saw. A victim is killed inside. */
    function enter(how: 'leaves' | 'is killed'): ChildProcess {
      const text = `
        import { withLock } from ${JSON.stringify(script('lock.mjs'))};
        import * as fs from 'node:fs';
        const [lock, inside, log] = ['lock', 'inside', 'log'].map((name) => ${JSON.stringify(root)} + '/' + name);
        await withLock(lock, () => {}, async () => {
          if (${how === 'leaves'}) fs.writeFileSync(inside, '', { flag: 'wx' });
          await new Promise((resolve) => setTimeout(resolve, 20));
          if (${how === 'is killed'}) process.kill(process.pid, 'SIGKILL');
          fs.rmSync(inside);
          fs.appendFileSync(log, 'x');
        });`;
      return spawn(process.execPath, ['--input-type=module', '-e', text], { stdio: ['ignore', 'ignore', 'inherit'] });
    }
    const ended = async (child: ChildProcess) => (await once(child, 'exit'))[0];

    it('lets one in at a time, and takes over from the killed', async () => {
      const victims = [enter('is killed'), enter('is killed')];
      const children = Array.from({ length: 6 }, () => enter('leaves'));
      const codes = await Promise.all([...victims, ...children].map(ended));
      expect(codes).to.deep.equal([null, null, 0, 0, 0, 0, 0, 0]);
      // A victim may have been the last to enter, and left its lock.
      expect(await ended(enter('leaves'))).to.equal(0);
      expect(fs.readFileSync(join(root, 'log'), 'utf8')).to.equal('xxxxxxx');
      expect(fs.existsSync(join(root, 'lock'))).to.equal(false);
    });
  });
});
