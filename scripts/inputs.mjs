// What a step of the build reads, as a digest, and which digests the last one left. All paths are relative to the root of
// the package.

import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const stampFile = join(root, 'build/stamps.json');

export function files(folder, ending) {
  const absolute = join(root, folder);
  if (!fs.existsSync(absolute)) return [];
  const entries = fs.readdirSync(absolute, { recursive: true, withFileTypes: true });
  const found = entries.filter((entry) => entry.isFile() && entry.name.endsWith(ending));
  return found.map((entry) => relative(root, join(entry.parentPath, entry.name))).sort();
}

export function digest(paths, words = []) {
  const hash = createHash('sha256');
  for (const path of paths) {
    hash.update(`${path}\0`);
    hash.update(fs.readFileSync(join(root, path)));
    hash.update('\0');
  }
  return hash.update(words.join('\0')).digest('hex');
}

export function missing(outputs) {
  return outputs.filter((path) => !fs.existsSync(join(root, path)));
}

/** Version of an installed package. */
export function versionOf(name) {
  const file = join(root, 'node_modules', name, 'package.json');
  return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')).version : 'absent';
}

export function readStamps() {
  try {
    return JSON.parse(fs.readFileSync(stampFile, 'utf8'));
  } catch {
    return {};
  }
}

export function writeStamps(stamps) {
  fs.mkdirSync(dirname(stampFile), { recursive: true });
  const temporary = `${stampFile}.${process.pid}`;
  fs.writeFileSync(temporary, `${JSON.stringify(stamps, null, 2)}\n`);
  fs.renameSync(temporary, stampFile);
}
