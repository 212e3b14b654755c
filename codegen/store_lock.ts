/**
 * An advisory lock, so that processes that start together do not all compile the same kernel. Nothing depends on it but
 * time: whoever has waited long enough, or cannot lock at all, works without it.
 */

import * as fs from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { threadId } from 'node:worker_threads';
import { makeFolder } from './folders.js';

/** Longest wait for another's work. */
const PATIENCE = 60_000;
/** A lock as old as this belongs to nobody who can be asked: on another machine, or a thread that was ended. */
const OLDEST = 120_000;
const INTERVAL = 20;

/** Runs `work`, while this thread holds `file` if that can be had. */
export function exclusively<T>(file: string, work: () => T): T {
  const words = `${identity(process.pid)} ${threadId} ${hostname()}`;
  const held = acquire(file, words);
  try {
    return work();
  } finally {
    if (held && read(file) === words) remove(file);
  }
}

/** Whether nobody can be waiting behind this lock any more. */
export function isStale(file: string): boolean {
  const age = ageOf(file);
  const words = read(file);
  if (words === null || age === null) return false;
  if (age > OLDEST) return true;
  // Made and not yet written: its process has a moment to do so.
  if (words === '') return age > 2000;
  const [pid, started, , host] = words.split(' ');
  return host === hostname() && identity(Number(pid)) !== `${pid} ${started}`;
}

function acquire(file: string, words: string): boolean {
  const end = Date.now() + PATIENCE;
  if (!isFolder(dirname(file))) return false;
  do {
    try {
      fs.writeFileSync(file, words, { flag: 'wx', mode: 0o600 });
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return false;
    }
    if (isStale(file)) remove(file);
    else sleep(INTERVAL);
  } while (Date.now() < end);
  return false;
}

/** Made where it is not there. */
function isFolder(path: string): boolean {
  try {
    makeFolder(path);
    return true;
  } catch {
    return false;
  }
}

/** Process id and, where the system tells it, the time it started: ids are used again. Empty when it is gone. */
function identity(pid: number): string {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return '';
  }
  const stat = read(`/proc/${pid}/stat`);
  if (stat === null) return `${pid} -`;
  const fields = stat.slice(stat.lastIndexOf(')')).split(' ');
  return fields[1] === 'Z' ? '' : `${pid} ${fields[20]}`;
}

function ageOf(file: string): number | null {
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  return stat === undefined ? null : Date.now() - stat.mtimeMs;
}

function read(file: string): string | null {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}

function remove(file: string): void {
  fs.rmSync(file, { force: true });
}

function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
