/** What a measurement was made on, for every row that is kept, and how many times are summed up. */

import { appendFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { dirname, join } from 'node:path';
import { cloneBuildFolder, packageVersion } from '../../codegen/cli/package.js';
import { makeFolder } from '../../codegen/folders.js';
import { runSync } from '../../codegen/processes.js';
import { cpuModel } from '../cpu_model.js';

/** Middle of the values, and that of the values above it: what a noisy machine should be quoted with. */
export function quantiles(values: readonly number[]): { median: number; p90: number; min: number } {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { median: at(0.5), p90: at(0.9), min: at(0) };
}

/** The day, the version and the machine. */
export function circumstances(): Record<string, unknown> {
  return {
    date: new Date().toISOString().slice(0, 10),
    version: packageVersion(),
    commit: commit(),
    cpu: cpuModel(),
    threads: availableParallelism(),
    node: process.version,
    load: Number(loadavg()[0]!.toFixed(2)),
  };
}

/** Adds rows to a file, one JSON object a line. */
export function store(file: string, rows: readonly object[]): void {
  makeFolder(dirname(file), 0o777);
  appendFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
}

/** The commit that was measured, with a plus for changes on top of it; null in an installed package. */
function commit(): string | null {
  const build = cloneBuildFolder('Release');
  if (build === null) return null;
  const root = join(build, '../..');
  const git = (...words: string[]): string => runSync('git', words, root).stdout.trim();
  try {
    const changed = git('status', '--porcelain', '--untracked-files=no') !== '';
    return `${git('rev-parse', '--short', 'HEAD')}${changed ? '+' : ''}`;
  } catch {
    return null;
  }
}
