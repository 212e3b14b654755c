/** `fracstride cache …`: looks after the kernel cache. */

import type { Command } from 'commander';
import { defaultStoreDirectory, openStore, type StoredKernel } from '../store.js';
import { EXIT, type Session } from './session.js';
import { table } from './table.js';

interface Options {
  json?: true;
}

/** Prints the value with --json, else the text. */
type Show = (value: unknown, text: string) => void;

export function addCache(program: Command, session: Session): void {
  const cache = program
    .command('cache')
    .description('look after the kernel cache')
    .addHelpText(
      'after',
      '\nThe cache is where FRACSTRIDE_CACHE_DIR says, else in the cache directory of the platform.',
    );
  const command = (name: string, description: string, run: (show: Show) => void) =>
    cache
      .command(name)
      .description(description)
      .option('--json', 'JSON on stdout')
      .action((options: Options) => run((value, text) => (options.json ? session.json(value) : session.line(text))));

  command('path', 'print the directory', (show) => {
    const directory = defaultStoreDirectory();
    show({ directory }, directory);
  });
  command('ls', 'list the kernels in it', (show) => {
    const kernels = openStore().list();
    show({ kernels: kernels.map(rowOf) }, kernelTable(kernels));
  });
  command('verify', 'check every kernel, move broken ones aside; exit code 1 when there were some', (show) => {
    const { good, broken } = openStore().verify();
    if (broken.length > 0) session.exitCode = EXIT.failed;
    for (const { entry, reason, movedTo } of broken) session.log(`broken: ${entry}: ${reason}; moved to ${movedTo}\n`);
    show({ good: good.length, broken }, `${good.length} good, ${broken.length} broken`);
  });
  command('prune', 'remove what was moved aside and what killed processes left behind', (show) => {
    const removed = openStore().prune();
    show({ removed }, `${removed.length} leftovers removed`);
  });
  command('clear', 'remove everything', (show) => {
    const removed = openStore().clear();
    show({ removed }, `${removed} kernels removed`);
  });
}

function rowOf({ name, key, meta }: StoredKernel) {
  return { name, key, compiler: meta.compiler, bytes: meta.image.bytes, resources: meta.resources };
}

function kernelTable(kernels: readonly StoredKernel[]): string {
  const rows = kernels.map((kernel) => {
    const { name, compiler, bytes, resources } = rowOf(kernel);
    return [name, compiler, `${bytes}`, resources === null ? '' : `${resources.registers}`];
  });
  return table(['kernel', 'compiler', 'bytes', 'registers'], rows);
}
