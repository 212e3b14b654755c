/**
 * Whether the files of a kernel store are this user's own: what they hold runs on the device, so whoever could have
 * written them could run code as this user. That counts for the superuser too.
 */

import * as fs from 'node:fs';
import { join } from 'node:path';
import { FracstrideError } from './errors.js';

/** Why a path is not to be trusted, or null. What does not exist is no danger. `owner` is trusted beside this user. */
export function distrust(path: string, owner: number | undefined, link: 'followed' | 'refused'): string | null {
  const user = process.geteuid?.();
  const stat = (link === 'followed' ? fs.statSync : fs.lstatSync)(path, { throwIfNoEntry: false });
  if (user === undefined || stat === undefined) return null;
  if (stat.isSymbolicLink()) return 'a link to somewhere else';
  if (stat.uid !== user && stat.uid !== owner) return `an owner who is user ${stat.uid}`;
  return (stat.mode & 0o022) === 0 ? null : `the mode ${(stat.mode & 0o777).toString(8).padStart(4, '0')}`;
}

/** The first file of an entry that is not to be trusted, and why; null when all are. */
export function distrustEntry(directory: string, owner: number | undefined): { path: string; why: string } | null {
  const own = distrust(directory, owner, 'refused');
  if (own !== null) return { path: directory, why: own };
  const isFolder = fs.lstatSync(directory, { throwIfNoEntry: false })?.isDirectory() === true;
  for (const name of isFolder ? namesIn(directory) : []) {
    const path = join(directory, name);
    const why = distrust(path, owner, 'refused');
    if (why !== null) return { path, why };
  }
  return null;
}

/** None where another process was faster and removed it. */
export function namesIn(directory: string): string[] {
  try {
    return fs.readdirSync(directory).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

export function untrusted(path: string, why: string): FracstrideError {
  const rule = 'owned by this user and writable by nobody else';
  return new FracstrideError('ERR_CACHE', `cache: ${path} must be ${rule}, got ${why}`);
}
