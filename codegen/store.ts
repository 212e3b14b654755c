/**
 * Kernel directories: one a compiled kernel, holding its text, its image and `meta.json`.
 *
 *   <root>/<kernel name>.<key>/{kernel.cu, kernel.cubin | kernel.ptx, meta.json}
 *
 * The key is a hash of text, compiler and flags and of nothing else, so an entry never goes stale: it is there or not.
 * An entry appears whole by the renaming of a temporary directory beside it, so any number of processes may write at
 * once and any of them may be killed. It is verified whenever it is read; what does not verify is moved aside. The store
 * is one user's own, and bounded: what was not used for longest goes first (the time of a `meta.json` is its last use).
 */

import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import envPaths from 'env-paths';
import { FracstrideError } from './errors.js';
import { makeFolder } from './folders.js';
import {
  checkEntry,
  codeOf,
  digestOf,
  entryName,
  isEntryName,
  type KernelId,
  metaOf,
  type NewKernel,
  readEntry,
  readIfSound,
  readVerified,
  type StoredKernel,
} from './store_entry.js';
import { exclusively, isStale } from './store_lock.js';
import { distrust, distrustEntry, namesIn, untrusted } from './store_trust.js';
import type { ImageFormat } from './toolchain.js';

export { type KernelId, type KernelMeta, kernelKey, type NewKernel, type StoredKernel } from './store_entry.js';

/** An entry that did not verify, why, and where it was moved to. */
export interface BrokenKernel {
  readonly entry: string;
  readonly reason: string;
  readonly movedTo: string;
}

export interface StoreOptions {
  /** Hears of every entry that is moved aside. */
  readonly onBroken?: (broken: BrokenKernel) => void;
  /** A user whose files are trusted like one's own. */
  readonly owner?: number;
  /** Bytes that it may hold. */
  readonly limit?: number;
}

export interface Wanted {
  readonly name: string;
  readonly format: ImageFormat;
  /** The text; only asked for when there is an entry of that name. */
  readonly source: () => string;
}

export interface KernelStore {
  readonly directory: string;
  /** The verified entry, or null. */
  find(id: KernelId): StoredKernel | null;
  /** Verified entries of this very text, whatever compiled them and however; the last used first. */
  matching(wanted: Wanted): StoredKernel[];
  /** Every entry, sorted by name, not verified; what cannot be read as one is left out. */
  list(): StoredKernel[];
  /** Adds an entry; when another process was first, its entry is returned. */
  put(kernel: NewKernel): StoredKernel;
  /** Text or image of an entry, verified. */
  read(kernel: StoredKernel, what: 'source' | 'image'): Uint8Array;
  /** The image of an entry, verified; null when it has gone or changed since it was found. */
  imageOf(kernel: StoredKernel): Uint8Array | null;
  /** Runs `work` while no other process or thread does so for this name, as far as that can be had; see store_lock.ts. */
  exclusively<T>(name: string, work: () => T): T;
  /** Checks every entry and moves the broken ones aside. */
  verify(): { good: StoredKernel[]; broken: BrokenKernel[] };
  /**
   * Removes what dead processes left behind, what was moved aside, and what was not used for longest while there is more
   * than `limit` bytes (default: the store's own limit); returns their names.
   */
  prune(limit?: number): string[];
  /** Removes every entry, what was timed, and all that prune removes; returns the number of entries. */
  clear(): number;
}

const TEMPORARY = '.new-';
const BROKEN = '.broken-';
const REMOVED = '.removed-';
const LOCK = '.lock-';
/** What was found fastest on this machine's devices, beside the kernels; src/timings.ts writes it. */
export const TIMINGS = 'timings.jsonl';
const DAY = 24 * 3600 * 1000;
/** Bytes that a store may hold: about 20,000 kernels. */
export const STORE_LIMIT = 2 ** 30;
/** Room is made for this part of the limit at a time, and looked for once in so many puts. */
const SPARE = 0.1;
const PUTS_BETWEEN_LOOKS = 16;
/** A directory that changed less long ago may change again without a new time: file systems count up to two seconds at once. */
const SETTLED_AFTER = 3000;

/** FRACSTRIDE_CACHE_DIR, else the platform's cache directory. */
export function defaultStoreDirectory(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const chosen = environment.FRACSTRIDE_CACHE_DIR;
  return chosen !== undefined && chosen !== '' ? chosen : join(envPaths('fracstride', { suffix: '' }).cache, 'kernels');
}

/** A store that is opened: where it is, and what was asked of it. */
interface Opened extends Required<Omit<StoreOptions, 'owner'>> {
  readonly root: string;
  readonly owner: number | undefined;
  puts: number;
  /** What `matching` read of the directory last. */
  listing: Listing | null;
}

/** Entries by the kernel's name, and the time of the directory's last change when they were read. */
interface Listing {
  readonly changed: bigint;
  readonly entries: ReadonlyMap<string, readonly string[]>;
}

/**
 * Opens a store. The directory is made, for this user only, when something is first put there.
 *
 * @throws FracstrideError ERR_CACHE, from this and every method, when the directory cannot be used or trusted.
 */
export function openStore(directory: string = defaultStoreDirectory(), options: StoreOptions = {}): KernelStore {
  const { onBroken = () => {}, owner, limit = STORE_LIMIT } = options;
  const opened: Opened = { root: directory, onBroken, owner, limit, puts: 0, listing: null };
  const guarded = <T>(work: () => T): T => {
    try {
      refuseForeign(opened);
      return work();
    } catch (cause) {
      throw cause instanceof FracstrideError ? cause : unusable(directory, cause);
    }
  };
  guarded(() => {});
  return {
    directory,
    find: (id) => guarded(() => find(opened, id)),
    matching: (wanted) => guarded(() => matching(opened, wanted)),
    list: () => guarded(() => entries(directory).flatMap((entry) => readEntry(directory, entry) ?? [])),
    put: (kernel) => guarded(() => put(opened, kernel)),
    read: (kernel, what) => guarded(() => readVerified(kernel, kernel.meta[what])),
    imageOf: (kernel) => guarded(() => readIfSound(kernel, kernel.meta.image)),
    exclusively: (name, work) => exclusively(join(directory, `${LOCK}${name}`.slice(0, 250)), work),
    verify: () => guarded(() => verifyAll(opened)),
    prune: (most = limit) => guarded(() => [...prune(directory, 0), ...makeRoom(opened, most, null)]),
    clear: () => guarded(() => clear(directory)),
  };
}

/** @throws FracstrideError ERR_CACHE for an entry that is not this user's own */
function find({ root, onBroken, owner }: Opened, id: KernelId): StoredKernel | null {
  const entry = entryName(id);
  if (!fs.existsSync(join(root, entry))) return null;
  const foreign = distrustEntry(join(root, entry), owner);
  if (foreign !== null) throw untrusted(foreign.path, foreign.why);
  const checked = checkEntry(root, entry);
  if (typeof checked !== 'string') {
    noteUse(checked);
    return checked;
  }
  const broken = moveAside(root, entry, checked);
  if (broken !== null) onBroken(broken);
  return null;
}

function matching(opened: Opened, { name, source, format }: Wanted): StoredKernel[] {
  const { root } = opened;
  const own = entriesOf(opened, name);
  if (own.length === 0) return [];
  const digest = digestOf(source());
  const stored = own.flatMap(
    (entry) => readEntry(root, entry) ?? { name, key: entry.slice(name.length + 1), meta: null },
  );
  const wanted = stored.filter(
    ({ meta }) => meta === null || (meta.source.sha256 === digest && meta.image.file === `kernel.${format}`),
  );
  // What cannot be read is found broken, and moved aside, here too.
  const sound = wanted.map((id) => ({ at: lastUse(root, entryName(id)), kernel: find(opened, id) }));
  return sound.sort((a, b) => b.at - a.at).flatMap(({ kernel }) => kernel ?? []);
}

/**
 * The entries of a kernel's name. A store may hold thousands, and a program asks for each of its kernels, so the directory is
 * read again only when it has changed.
 */
function entriesOf(opened: Opened, name: string): readonly string[] {
  const stat = fs.statSync(opened.root, { bigint: true, throwIfNoEntry: false });
  if (stat === undefined) return [];
  const known = opened.listing;
  if (known?.changed === stat.mtimeNs) return known.entries.get(name) ?? [];
  const read = new Map<string, string[]>();
  for (const entry of entries(opened.root)) {
    const kernel = entry.slice(0, entry.lastIndexOf('.'));
    const own = read.get(kernel);
    if (own === undefined) read.set(kernel, [entry]);
    else own.push(entry);
  }
  const isSettled = Date.now() - Number(stat.mtimeMs) > SETTLED_AFTER;
  opened.listing = isSettled ? { changed: stat.mtimeNs, entries: read } : null;
  return read.get(name) ?? [];
}

function put(opened: Opened, kernel: NewKernel): StoredKernel {
  const { root } = opened;
  makeFolder(root);
  if (opened.puts++ % PUTS_BETWEEN_LOOKS === 0) {
    prune(root, DAY);
    makeRoom(opened, opened.limit, entryName(kernel));
  }
  const temporary = join(root, `${TEMPORARY}${process.pid}-${randomBytes(6).toString('hex')}`);
  fs.mkdirSync(temporary, { mode: 0o700 });
  try {
    const meta = metaOf(kernel);
    fs.writeFileSync(join(temporary, meta.source.file), kernel.source, { mode: 0o600 });
    fs.writeFileSync(join(temporary, meta.image.file), kernel.image, { mode: 0o600 });
    fs.writeFileSync(join(temporary, 'meta.json'), `${JSON.stringify(meta, null, 2)}\n`, { mode: 0o600 });
    return publish(opened, temporary, kernel);
  } finally {
    fs.rmSync(temporary, { recursive: true, force: true });
  }
}

/** Renames a finished directory to its entry; an entry that is already there stays if it is sound. */
function publish(opened: Opened, temporary: string, kernel: NewKernel): StoredKernel {
  const directory = join(opened.root, entryName(kernel));
  for (let attempt = 0; attempt < 10; attempt++) {
    const existing = find(opened, kernel);
    if (existing !== null) return existing;
    try {
      fs.renameSync(temporary, directory);
      return { name: kernel.name, key: kernel.key, directory, meta: metaOf(kernel) };
    } catch (error) {
      if (!['EEXIST', 'ENOTEMPTY', 'EPERM'].includes(codeOf(error) ?? '')) throw error;
    }
  }
  throw unusable(opened.root, `an entry that can be neither read nor replaced at ${directory}`);
}

/** What is not this user's own counts as broken: verifying is how one gets rid of it. */
function verifyAll({ root, onBroken, owner }: Opened) {
  const good: StoredKernel[] = [];
  const broken: BrokenKernel[] = [];
  for (const entry of entries(root)) {
    const foreign = distrustEntry(join(root, entry), owner);
    const checked = foreign === null ? checkEntry(root, entry) : `${foreign.path} has ${foreign.why}`;
    if (typeof checked !== 'string') good.push(checked);
    else broken.push(...[moveAside(root, entry, checked) ?? []].flat());
  }
  broken.forEach(onBroken);
  return { good, broken };
}

/** Null when another process was faster. */
function moveAside(root: string, entry: string, reason: string, prefix = BROKEN): BrokenKernel | null {
  const movedTo = join(root, `${prefix}${randomBytes(6).toString('hex')}-${entry}`.slice(0, 250));
  try {
    fs.renameSync(join(root, entry), movedTo);
    return { entry, reason, movedTo };
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  }
}

/** Removes leftovers; what was moved aside as broken is kept for this long, for somebody to look at. */
function prune(root: string, keepBroken: number): string[] {
  const leftovers = namesIn(root).filter((name) => isLeftover(root, name, keepBroken));
  for (const name of leftovers) fs.rmSync(join(root, name), { recursive: true, force: true });
  return leftovers;
}

function isLeftover(root: string, name: string, keepBroken: number): boolean {
  if (name.startsWith(REMOVED)) return true;
  if (name.startsWith(LOCK)) return isStale(join(root, name));
  if (name.startsWith(BROKEN)) return ageOf(root, name) >= keepBroken;
  if (!name.startsWith(TEMPORARY)) return false;
  // A process id is used again one day.
  return !isAlive(Number.parseInt(name.slice(TEMPORARY.length), 10)) || ageOf(root, name) > DAY;
}

/** By the time of its last change of name: renaming a directory sets it. */
function ageOf(root: string, name: string): number {
  const stat = fs.statSync(join(root, name), { throwIfNoEntry: false });
  return stat === undefined ? 0 : Math.max(0, Date.now() - stat.ctimeMs);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}

/** Sets the time of the last use, at most once a day; a store that cannot be written is still one to read from. */
function noteUse({ directory }: StoredKernel): void {
  const path = join(directory, 'meta.json');
  const now = new Date();
  try {
    if (now.getTime() - fs.statSync(path).mtimeMs > DAY) fs.utimesSync(path, now, now);
  } catch (error) {
    if (!['ENOENT', 'EROFS', 'EPERM', 'EACCES'].includes(codeOf(error) ?? '')) throw error;
  }
}

function lastUse(root: string, entry: string): number {
  return fs.statSync(join(root, entry, 'meta.json'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** Bytes of an entry's files. */
function sizeOf(root: string, entry: string): number {
  const sizes = namesIn(join(root, entry)).map((name) =>
    fs.statSync(join(root, entry, name), { throwIfNoEntry: false }),
  );
  return sizes.reduce((sum, stat) => sum + (stat?.size ?? 0), 0);
}

/**
 * While there is more than `limit` bytes, removes what was not used for longest, and then some. Whoever loaded a kernel
 * has read all of it, and whoever is about to finds it gone as a whole.
 */
function makeRoom({ root }: Opened, limit: number, keep: string | null): string[] {
  const all = entries(root).map((entry) => ({ entry, bytes: sizeOf(root, entry), used: lastUse(root, entry) }));
  let total = all.reduce((sum, { bytes }) => sum + bytes, 0);
  const removed: string[] = [];
  if (total <= limit) return removed;
  for (const { entry, bytes } of all.sort((a, b) => a.used - b.used)) {
    if (total <= limit * (1 - SPARE)) break;
    if (entry === keep) continue;
    total -= bytes;
    const moved = moveAside(root, entry, 'not used for longest', REMOVED);
    if (moved === null) continue;
    fs.rmSync(moved.movedTo, { recursive: true, force: true });
    removed.push(entry);
  }
  return removed;
}

function clear(root: string): number {
  const all = entries(root);
  // Renamed first: a reader sees a whole entry or none.
  for (const entry of all) moveAside(root, entry, 'cleared', REMOVED);
  prune(root, 0);
  fs.rmSync(join(root, TIMINGS), { force: true });
  return all.length;
}

function entries(root: string): string[] {
  return namesIn(root).filter(isEntryName);
}

/** Code comes out of this directory: one that somebody else could write to is not trusted. */
function refuseForeign({ root, owner }: Opened): void {
  const why = distrust(root, owner, 'followed');
  if (why !== null) throw untrusted(root, why);
}

function unusable(directory: string, cause: unknown): FracstrideError {
  const got = cause instanceof Error ? cause.message : String(cause);
  const sentence = `cache: ${directory} must be a directory that this user owns and can write to, got ${got}`;
  return new FracstrideError('ERR_CACHE', sentence, cause instanceof Error ? { cause } : undefined);
}
