/**
 * Kernel directories: one a compiled kernel, holding its text, its image and `meta.json`.
 *
 *   <root>/<kernel name>.<key>/{kernel.cu, kernel.cubin | kernel.ptx, meta.json}
 *
 * The key is a hash of text, compiler and flags and of nothing else, so an entry never goes stale: it is there or not.
 * An entry appears whole by the renaming of a temporary directory beside it, so any number of processes may write at
 * once and any of them may be killed. It is verified whenever it is read; what does not verify is moved aside.
 */

import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import envPaths from 'env-paths';
import { FracstrideError } from './errors.js';
import {
  checkEntry,
  codeOf,
  entryName,
  isEntryName,
  type KernelId,
  metaOf,
  type NewKernel,
  readEntry,
  readVerified,
  type StoredKernel,
} from './store_entry.js';

export { type KernelId, type KernelMeta, kernelKey, type NewKernel, type StoredKernel } from './store_entry.js';

/** An entry that did not verify, why, and where it was moved to. */
export interface BrokenKernel {
  readonly entry: string;
  readonly reason: string;
  readonly movedTo: string;
}

export interface KernelStore {
  readonly directory: string;
  /** The verified entry, or null. */
  find(id: KernelId): StoredKernel | null;
  /** Every entry, sorted by name, not verified; what cannot be read as one is left out. */
  list(): StoredKernel[];
  /** Adds an entry; when another process was first, its entry is returned. */
  put(kernel: NewKernel): StoredKernel;
  /** Text or image of an entry, verified. */
  read(kernel: StoredKernel, what: 'source' | 'image'): Uint8Array;
  /** Checks every entry and moves the broken ones aside. */
  verify(): { good: StoredKernel[]; broken: BrokenKernel[] };
  /** Removes what dead processes left behind and what was moved aside; returns their names. */
  prune(): string[];
  /** Removes every entry and all that prune removes; returns their number. */
  clear(): number;
}

const TEMPORARY = '.new-';
const BROKEN = '.broken-';
/** A process id is used again one day; whatever is older than this was left behind. */
const LEFTOVER_AGE = 24 * 3600 * 1000;

/** FRACSTRIDE_CACHE_DIR, else the platform's cache directory. */
export function defaultStoreDirectory(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const chosen = environment.FRACSTRIDE_CACHE_DIR;
  return chosen !== undefined && chosen !== '' ? chosen : join(envPaths('fracstride', { suffix: '' }).cache, 'kernels');
}

/**
 * Opens a store; `onBroken` hears of every entry that is moved aside.
 *
 * The directory is made, for this user only, when something is first put there.
 *
 * @throws FracstrideError ERR_CACHE, from this and every method, when the directory cannot be used.
 */
export function openStore(
  directory: string = defaultStoreDirectory(),
  onBroken: (broken: BrokenKernel) => void = () => {},
): KernelStore {
  refuseForeign(directory);
  const guarded = <T>(work: () => T): T => {
    try {
      return work();
    } catch (cause) {
      throw cause instanceof FracstrideError ? cause : unusable(directory, cause);
    }
  };
  return {
    directory,
    find: (id) => guarded(() => find(directory, id, onBroken)),
    list: () => guarded(() => entries(directory).flatMap((entry) => readEntry(directory, entry) ?? [])),
    put: (kernel) => guarded(() => put(directory, kernel, onBroken)),
    read: (kernel, what) => guarded(() => readVerified(kernel, kernel.meta[what])),
    verify: () => guarded(() => verifyAll(directory, onBroken)),
    prune: () => guarded(() => prune(directory)),
    clear: () => guarded(() => clear(directory)),
  };
}

function find(root: string, id: KernelId, onBroken: (broken: BrokenKernel) => void): StoredKernel | null {
  const entry = entryName(id);
  if (!fs.existsSync(join(root, entry))) return null;
  const checked = checkEntry(root, entry);
  if (typeof checked !== 'string') return checked;
  const broken = moveAside(root, entry, checked);
  if (broken !== null) onBroken(broken);
  return null;
}

function put(root: string, kernel: NewKernel, onBroken: (broken: BrokenKernel) => void): StoredKernel {
  fs.mkdirSync(root, { recursive: true, mode: 0o700 });
  const temporary = join(root, `${TEMPORARY}${process.pid}-${randomBytes(6).toString('hex')}`);
  fs.mkdirSync(temporary, { mode: 0o700 });
  try {
    const meta = metaOf(kernel);
    fs.writeFileSync(join(temporary, meta.source.file), kernel.source, { mode: 0o600 });
    fs.writeFileSync(join(temporary, meta.image.file), kernel.image, { mode: 0o600 });
    fs.writeFileSync(join(temporary, 'meta.json'), `${JSON.stringify(meta, null, 2)}\n`, { mode: 0o600 });
    return publish(root, temporary, kernel, onBroken);
  } finally {
    fs.rmSync(temporary, { recursive: true, force: true });
  }
}

/** Renames a finished directory to its entry; an entry that is already there stays if it is sound. */
function publish(
  root: string,
  temporary: string,
  kernel: NewKernel,
  onBroken: (broken: BrokenKernel) => void,
): StoredKernel {
  const directory = join(root, entryName(kernel));
  for (let attempt = 0; attempt < 10; attempt++) {
    const existing = find(root, kernel, onBroken);
    if (existing !== null) return existing;
    try {
      fs.renameSync(temporary, directory);
      return { name: kernel.name, key: kernel.key, directory, meta: metaOf(kernel) };
    } catch (error) {
      if (!['EEXIST', 'ENOTEMPTY', 'EPERM'].includes(codeOf(error) ?? '')) throw error;
    }
  }
  throw unusable(root, `an entry that can be neither read nor replaced at ${directory}`);
}

function verifyAll(root: string, onBroken: (broken: BrokenKernel) => void) {
  const good: StoredKernel[] = [];
  const broken: BrokenKernel[] = [];
  for (const entry of entries(root)) {
    const checked = checkEntry(root, entry);
    if (typeof checked !== 'string') good.push(checked);
    else broken.push(...[moveAside(root, entry, checked) ?? []].flat());
  }
  broken.forEach(onBroken);
  return { good, broken };
}

/** Null when another process was faster. */
function moveAside(root: string, entry: string, reason: string): BrokenKernel | null {
  const movedTo = join(root, `${BROKEN}${randomBytes(6).toString('hex')}-${entry}`.slice(0, 250));
  try {
    fs.renameSync(join(root, entry), movedTo);
    return { entry, reason, movedTo };
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  }
}

function prune(root: string): string[] {
  const leftovers = names(root).filter((name) => name.startsWith(BROKEN) || isLeftover(root, name));
  for (const name of leftovers) fs.rmSync(join(root, name), { recursive: true, force: true });
  return leftovers;
}

function isLeftover(root: string, name: string): boolean {
  if (!name.startsWith(TEMPORARY)) return false;
  if (!isAlive(Number.parseInt(name.slice(TEMPORARY.length), 10))) return true;
  const stat = fs.statSync(join(root, name), { throwIfNoEntry: false });
  return stat !== undefined && Date.now() - stat.mtimeMs > LEFTOVER_AGE;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}

function clear(root: string): number {
  const all = entries(root);
  // Renamed first: a reader sees a whole entry or none.
  for (const entry of all) moveAside(root, entry, 'cleared');
  prune(root);
  return all.length;
}

function entries(root: string): string[] {
  return names(root).filter(isEntryName);
}

function names(root: string): string[] {
  return fs.existsSync(root) ? fs.readdirSync(root).sort() : [];
}

/** Code comes out of this directory: one that another user owns is not trusted. */
function refuseForeign(directory: string): void {
  const user = process.geteuid?.() ?? 0;
  const stat = fs.statSync(directory, { throwIfNoEntry: false });
  if (stat === undefined || user === 0 || stat.uid === user) return;
  throw unusable(directory, `a directory of user ${stat.uid}`);
}

function unusable(directory: string, cause: unknown): FracstrideError {
  const got = cause instanceof Error ? cause.message : String(cause);
  const sentence = `cache: ${directory} must be a directory that this user owns and can write to, got ${got}`;
  return new FracstrideError('ERR_CACHE', sentence, cause instanceof Error ? { cause } : undefined);
}
