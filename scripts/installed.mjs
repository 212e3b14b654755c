// Tells whether a folder's dependencies are there. Plain Node: this runs before any install.

import * as fs from 'node:fs';
import { join } from 'node:path';

/** Whether node_modules holds what the lock file names. npm writes its own record there when an install is complete. */
export function isInstalled(folder) {
  const wanted = packages(join(folder, 'package-lock.json'));
  const present = packages(join(folder, 'node_modules/.package-lock.json'));
  if (wanted === undefined || present === undefined) return false;
  return Object.entries(wanted).every(([path, entry]) => {
    const got = present[path];
    // Links, packages for other machines, and what npm notes without installing it.
    if (!path.startsWith('node_modules/')) return true;
    if (got === undefined) return entry.optional === true || entry.extraneous === true;
    return got.version === entry.version && fs.existsSync(join(folder, path));
  });
}

function packages(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')).packages;
  } catch {
    return undefined;
  }
}
