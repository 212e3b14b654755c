/**
 * A measurement as a row: what was measured, the figures, and what they were measured on. Every program in this folder
 * prints its rows as JSON, one a line; with `--store` they are also added to bench/results/<bench>.jsonl.
 */

import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const RESULTS = fileURLToPath(new URL('../../bench/results/', import.meta.url));

/** Prints a row, and stores it where the command line says so. `figures` name their units, e.g. `forward_us`. */
export function report(bench: string, figures: Readonly<Record<string, unknown>>): void {
  const row = JSON.stringify({ bench, ...figures, ...circumstances() });
  console.log(row);
  if (!process.argv.includes('--store')) return;
  mkdirSync(RESULTS, { recursive: true });
  appendFileSync(join(RESULTS, `${bench}.jsonl`), `${row}\n`);
}

/** Middle of the values, and that of the values above it: what a noisy machine should be quoted with. */
export function quantiles(values: readonly number[]): { median: number; p90: number; min: number } {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { median: at(0.5), p90: at(0.9), min: at(0) };
}

function circumstances(): Record<string, unknown> {
  return {
    date: new Date().toISOString().slice(0, 10),
    commit: commit(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    threads: availableParallelism(),
    node: process.version,
    load: Number(loadavg()[0]!.toFixed(2)),
  };
}

/** The commit that was measured; changes on top of it are marked by a plus. */
function commit(): string {
  const git = (...args: string[]) =>
    execFileSync('git', args, { cwd: RESULTS.replace(/bench.results.$/, '') })
      .toString()
      .trim();
  try {
    return (
      git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no') === '' ? '' : '+')
    );
  } catch {
    return 'unknown';
  }
}
