/** Folders of folders that may not be there yet. */

import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a folder, and those above it, that only this user may enter unless `mode` says otherwise. Where a system answers
 * ENOENT below a folder that is there (/proc, mount points of file servers), Node's own `recursive` tries for ever; here that
 * is the error it is.
 */
export function makeFolder(path: string, mode = 0o700): void {
  if (attempt(path, mode)) return;
  const above = dirname(path);
  if (!existsSync(above)) makeFolder(above, mode);
  // The folder above is there by now, if only because another process has made it.
  if (!attempt(path, mode)) mkdirSync(path, { mode });
}

/** False where something above is missing. */
function attempt(path: string, mode: number): boolean {
  try {
    mkdirSync(path, { mode });
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && statSync(path).isDirectory()) return true;
    if (code !== 'ENOENT' || dirname(path) === path) throw error;
    return false;
  }
}
