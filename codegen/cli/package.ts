/** Facts about this package on disk: its version, and what only a clone has. */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type KernelStore, openStore } from '../store.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  return version;
}

/** A folder of a clone's build, or null where this package is installed and is not built here. */
export function cloneBuildFolder(name: string): string | null {
  return existsSync(join(ROOT, 'binding.gyp')) ? join(ROOT, 'build', name) : null;
}

/** Where a clone's build keeps the kernels that become part of the addon; empty in an installed package. */
export function clonedStores(): KernelStore[] {
  const folder = cloneBuildFolder('kernels');
  // Whoever owns the clone could change what runs anyway.
  return folder === null ? [] : [openStore(folder, { owner: statSync(ROOT).uid })];
}
