/**
 * What was found fastest, by question, on disk: one JSON object a line in `timings.jsonl` of the kernel cache. The file
 * appears whole by renaming, so any number of processes may write; the first answer to a question stays, so that all of
 * them go the same way. A line that cannot be read is left out, and goes with the next write. What was not asked for
 * longest makes room; `fracstride cache clear` removes all of it.
 */

import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { makeFolder } from '../codegen/folders.js';
import { defaultStoreDirectory, TIMINGS } from '../codegen/store.js';
import { exclusively } from '../codegen/store_lock.js';
import { distrust } from '../codegen/store_trust.js';
import { debug } from './device.js';

export interface Timing {
  readonly question: string;
  /** Variant and settings of the fastest. */
  readonly words: string;
  /** Of each that was timed. */
  readonly microseconds: Readonly<Record<string, number>>;
  /** Day of the last use, counted from 1970. */
  readonly used: number;
}

const MOST_LINES = 4096;
const MOST_BYTES = 16 * 2 ** 20;
const today = (): number => Math.floor(Date.now() / 86_400_000);

/** The answer on disk, or null. */
export function readTiming(question: string): Timing | null {
  return guarded(null, (path) => {
    const found = linesOf(path).get(question) ?? null;
    if (found !== null && found.used !== today()) write(path, found);
    return found;
  });
}

/** Adds an answer; when another process was first, its answer is returned. Null when nothing can be kept here. */
export function addTiming(question: string, answer: Pick<Timing, 'words' | 'microseconds'>): Timing | null {
  return guarded(null, (path) => write(path, { question, ...answer, used: today() }));
}

/** Puts an answer in the place of any other. Null when nothing can be kept here. */
export function putTiming(question: string, answer: Pick<Timing, 'words' | 'microseconds'>): Timing | null {
  return guarded(null, (path) => write(path, { question, ...answer, used: today() }, 'last'));
}

/** Every answer on disk. */
export function allTimings(): Timing[] {
  return guarded([], (path) => [...linesOf(path).values()]);
}

function write(path: string, timing: Timing, stays: 'first' | 'last' = 'first'): Timing {
  makeFolder(dirname(path));
  return exclusively(join(dirname(path), '.lock-timings'), () => {
    const lines = new Map(linesOf(path));
    const before = stays === 'first' ? lines.get(timing.question) : undefined;
    const kept = { ...(before ?? timing), used: timing.used };
    // A Map keeps the order in which keys came: the last used stand last.
    lines.delete(timing.question);
    lines.set(timing.question, kept);
    const text = [...lines.values()].slice(-MOST_LINES).map((line) => `${JSON.stringify(line)}\n`);
    // Named as the cache's own: what a process that was killed leaves behind goes with theirs.
    const temporary = join(dirname(path), `.new-${process.pid}-${randomBytes(6).toString('hex')}`);
    try {
      fs.writeFileSync(temporary, text.join(''), { mode: 0o600, flag: 'wx' });
      fs.renameSync(temporary, path);
    } finally {
      fs.rmSync(temporary, { force: true });
    }
    return kept;
  });
}

/** The lines as they were read last, and the file that they are of. */
let read: { file: string; lines: Map<string, Timing> } = { file: '', lines: new Map() };

function linesOf(path: string): Map<string, Timing> {
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  if (stat === undefined || stat.size > MOST_BYTES) return new Map();
  // Another process renames a new file into its place.
  const file = `${path} ${stat.ino} ${stat.size} ${stat.mtimeMs}`;
  if (read.file !== file) read = { file, lines: parsed(fs.readFileSync(path, 'utf8')) };
  return read.lines;
}

function parsed(file: string): Map<string, Timing> {
  const lines = new Map<string, Timing>();
  for (const text of file.split('\n')) {
    const timing = timingOf(text);
    if (timing !== null) lines.set(timing.question, timing);
  }
  return lines;
}

function timingOf(text: string): Timing | null {
  try {
    const { question, words, microseconds, used } = JSON.parse(text) as Partial<Timing>;
    const sound =
      typeof question === 'string' &&
      typeof words === 'string' &&
      /^[a-z0-9_]{1,100}$/.test(words) &&
      typeof used === 'number' &&
      typeof microseconds === 'object' &&
      microseconds !== null;
    return sound ? { question, words, microseconds, used } : null;
  } catch {
    return null;
  }
}

/** A file that cannot be used or trusted is no reason not to run. */
function guarded<T>(otherwise: T, work: (path: string) => T): T {
  const folder = defaultStoreDirectory();
  const path = join(folder, TIMINGS);
  try {
    const why = distrust(folder, undefined, 'followed') ?? distrust(path, undefined, 'refused');
    if (why !== null) throw new Error(`it or its folder has ${why}`);
    return work(path);
  } catch (error) {
    debug(1, `timings: ${path} is not used: ${(error as Error).message}`);
    return otherwise;
  }
}
