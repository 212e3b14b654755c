// Formats the C++ of this package by .clang-format: --write changes files, --check shows what would change.
// Generated text and templates are left alone.

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const ARGUMENTS = { '--write': ['-i'], '--check': ['--dry-run', '--Werror'] };

const flags = ARGUMENTS[process.argv[2]];
if (flags === undefined) {
  console.error('usage: node scripts/format_cpp.mjs --write | --check');
  process.exit(2);
}
const clangFormat = createRequire(import.meta.url)('clang-format').location;
process.exitCode = spawnSync(process.execPath, [clangFormat, '--style=file', ...flags, ...sources()], {
  cwd: root,
  stdio: 'inherit',
}).status;

function sources() {
  return ['cuda', 'cpu', 'simulator', 'test'].flatMap((folder) => {
    if (!existsSync(join(root, folder))) return [];
    const entries = readdirSync(join(root, folder), { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile() && /\.(cc|h)$/.test(entry.name));
    return files.map((entry) => relative(root, join(entry.parentPath, entry.name)));
  });
}
