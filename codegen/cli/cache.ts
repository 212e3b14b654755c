/** `fracstride cache …`: looks after the kernel cache. */

import type { Command } from 'commander';
import { defaultStoreDirectory, openStore, STORE_LIMIT, type StoredKernel } from '../store.js';
import { parseBytes } from './arguments.js';
import { EXIT, type Session } from './session.js';
import { table } from './table.js';

interface Options {
  json?: true;
  limit?: number;
}

/** Prints the value with --json, else the text. */
type Show = (value: unknown, text: string) => void;

const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

export function addCache(program: Command, session: Session): void {
  const cache = program
    .command('cache')
    .description('look after the kernel cache')
    .addHelpText(
      'after',
      `
The cache is where FRACSTRIDE_CACHE_DIR says, else in the cache directory of the platform. It belongs to one user:
what somebody else owns or could write to is refused. It holds at most ${mebibytes(STORE_LIMIT)}; what was not used for
longest goes first.`,
    );
  const command = (name: string, description: string, run: (show: Show, options: Options) => void) =>
    cache
      .command(name)
      .description(description)
      .option('--json', 'JSON on stdout')
      .action((options: Options) =>
        run((value, text) => (options.json ? session.json(value) : session.line(text)), options),
      );

  command('path', 'print the directory', (show) => {
    const directory = defaultStoreDirectory();
    show({ directory }, directory);
  });
  command('ls', 'list the kernels in it', (show) => {
    const kernels = openStore().list().map(rowOf);
    const bytes = kernels.reduce((sum, kernel) => sum + kernel.bytes, 0);
    const total = `${kernels.length} kernels, ${mebibytes(bytes)} of at most ${mebibytes(STORE_LIMIT)}`;
    show({ kernels, bytes, limit: STORE_LIMIT }, `${kernelTable(kernels)}\n\n${total}`);
  });
  command('verify', 'check every kernel, move broken ones aside; exit code 1 when there were some', (show) => {
    const { good, broken } = openStore().verify();
    if (broken.length > 0) session.exitCode = EXIT.failed;
    for (const { entry, reason, movedTo } of broken) session.log(`broken: ${entry}: ${reason}; moved to ${movedTo}\n`);
    show({ good: good.length, broken }, `${good.length} good, ${broken.length} broken`);
  });
  command(
    'prune',
    'remove what was moved aside, what killed processes left behind, and what is too much',
    (show, { limit }) => {
      const removed = openStore().prune(limit);
      show({ removed }, `${removed.length} leftovers removed`);
    },
  ).option('--limit <bytes>', 'keep at most so much, like 200M: what was not used for longest goes', parseBytes);
  command('clear', 'remove everything', (show) => {
    const removed = openStore().clear();
    show({ removed }, `${removed} kernels removed`);
  });
}

type Row = ReturnType<typeof rowOf>;

/** `bytes` are those of the entry: text and image. */
function rowOf({ name, key, meta: { compiler, image, source, resources } }: StoredKernel) {
  const format = image.file.replace('kernel.', '');
  return { name, key, compiler, format, bytes: image.bytes + source.bytes, resources };
}

function kernelTable(kernels: readonly Row[]): string {
  const rows = kernels.map(({ name, compiler, format, bytes, resources }) => {
    return [name, compiler, format, `${bytes}`, resources === null ? '' : `${resources.registers}`];
  });
  return table(['kernel', 'compiler', 'image', 'bytes', 'registers'], rows);
}
