/** Whole files in and out. Writing goes through a temporary neighbour and a rename, so a reader never sees half a file. */

import { randomUUID } from 'node:crypto';
import { open, readFile, rename, unlink } from 'node:fs/promises';
import { options } from '../checks.js';
import { FracstrideError, show } from '../errors.js';

export interface LoadOptions {
  /** Where the tensors go; the default device when absent. */
  readonly device?: string;
}

/** The options of every reader, checked. */
export function readPlacement(where: string, value: LoadOptions): { device?: string } {
  return options(where, value, ['device']) as { device?: string };
}

/** @throws FracstrideError ERR_ARGUMENT when the file cannot be read; the sentence ends with the system's reason */
export async function readBytes(where: string, path: string): Promise<Uint8Array> {
  needPath(where, path);
  try {
    return await readFile(path);
  } catch (cause) {
    throw refused(where, 'a readable file', path, cause);
  }
}

/**
 * Writes `bytes` to `path`, replacing what was there in one step; a failure leaves the old file as it was.
 *
 * @throws FracstrideError ERR_ARGUMENT when the file cannot be written
 */
export async function writeBytes(where: string, path: string, bytes: Uint8Array): Promise<void> {
  needPath(where, path);
  const temporary = `${path}.${process.pid}.${randomUUID()}.tmp`;
  try {
    await writeSynced(temporary, bytes);
    await rename(temporary, path);
  } catch (cause) {
    await unlink(temporary).catch(() => undefined);
    throw refused(where, 'a writable file', path, cause);
  }
}

async function writeSynced(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'wx');
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

function needPath(where: string, path: unknown): void {
  if (typeof path === 'string' && path.length > 0 && !path.includes('\0')) return;
  throw new FracstrideError('ERR_ARGUMENT', `${where}: path must be a non-empty string, got ${show(path)}`);
}

function refused(where: string, rule: string, path: string, cause: unknown): FracstrideError {
  const reason = (cause as NodeJS.ErrnoException).code ?? 'an error';
  return new FracstrideError('ERR_ARGUMENT', `${where}: path must be ${rule}, got ${reason} for ${show(path)}`, {
    cause,
  });
}
