// A lock between processes of one machine: a file that names its holder. A lock whose holder is gone is taken over;
// taking over is itself guarded, so that two waiters cannot both do it. Plain Node: this runs before any install.

import { mkdirSync, readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Runs `work` while this process holds `file`; `waiting` is called once when somebody else holds it. */
export async function withLock(file, waiting, work) {
  mkdirSync(dirname(file), { recursive: true });
  let told = false;
  while (!tryCreate(file)) {
    if (takeOver(file)) continue;
    if (!told) waiting();
    told = true;
    await sleep(200);
  }
  const release = () => remove(file);
  process.once('exit', release);
  try {
    return await work();
  } finally {
    process.off('exit', release);
    release();
  }
}

function tryCreate(file) {
  try {
    writeFileSync(file, identity(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

/** Removes the lock of a process that is gone. */
function takeOver(file) {
  if (!isAbandoned(file)) return false;
  const guard = `${file}.guard`;
  if (!tryCreate(guard)) {
    if (ageOf(guard) > 10_000) remove(guard);
    return false;
  }
  const abandoned = isAbandoned(file);
  if (abandoned) remove(file);
  remove(guard);
  return abandoned;
}

function isAbandoned(file) {
  const holder = read(file);
  if (holder === undefined) return false;
  // Created but not yet written: its process has a moment to do so.
  if (holder === '') return ageOf(file) > 10_000;
  return identity(Number.parseInt(holder, 10)) !== holder;
}

/** Process id and, where the system tells it, the time it started: ids are used again. Empty when it is gone. */
function identity(pid) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (error.code !== 'EPERM') return '';
  }
  const stat = read(`/proc/${pid}/stat`);
  if (stat === undefined) return `${pid} `;
  const fields = stat.slice(stat.lastIndexOf(')')).split(' ');
  return fields[1] === 'Z' ? '' : `${pid} ${fields[20]}`;
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

function ageOf(file) {
  try {
    return Date.now() - statSync(file).mtimeMs;
  } catch {
    return 0;
  }
}

function remove(file) {
  try {
    unlinkSync(file);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
}
