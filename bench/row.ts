/**
 * A measurement as a row: what was measured, the figures, and what they were measured on. Every program in this folder
 * prints its rows as JSON, one a line; with `--store` they are also added to bench/results/<bench>.jsonl.
 */

import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { circumstances, store } from '../src/bench/facts.js';

export { quantiles } from '../src/bench/facts.js';

/** NaN of none. */
export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

const RESULTS = fileURLToPath(new URL('../../bench/results/', import.meta.url));

/** Prints a row, and stores it where the command line says so. `figures` name their units, e.g. `forward_us`. */
export function report(bench: string, figures: Readonly<Record<string, unknown>>): void {
  // A figure may say more exactly what the circumstances only say of the machine, such as `threads`.
  const row = { bench, ...figures, ...circumstances(), ...figures };
  console.log(JSON.stringify(row));
  if (process.argv.includes('--store')) store(join(RESULTS, `${bench}.jsonl`), [row]);
}

/** Where the command line says so, keeps these rows instead of all that there were: of what is computed, not measured. */
export function keepOnly(bench: string, rows: readonly object[]): void {
  if (!process.argv.includes('--store')) return;
  const file = join(RESULTS, `${bench}.jsonl`);
  rmSync(file, { force: true });
  storeComputed(file, bench, rows);
}

/** Where the command line says so, adds rows of what is computed, not measured; of each key the last one stays. */
export function keepEach<Row extends object>(bench: string, rows: readonly Row[], key: (row: Row) => string): void {
  if (!process.argv.includes('--store')) return;
  const file = join(RESULTS, `${bench}.jsonl`);
  storeComputed(file, bench, rows);
  keepLatest(file, key);
}

/** Of what is computed the machine says nothing. */
function storeComputed(file: string, bench: string, rows: readonly object[]): void {
  const { date, version, commit } = circumstances();
  store(
    file,
    rows.map((row) => ({ bench, ...row, date, version, commit })),
  );
}

/** The rows of a file, JSON objects one a line; none where there is no file. */
export function readRows<Row>(file: string): Row[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Row);
}

/** A file keeps the last row of each key alone, the oldest first: what was measured again takes the place of what was. */
export function keepLatest<Row extends object>(file: string, key: (row: Row) => string): void {
  const last = new Map<string, Row>();
  for (const row of readRows<Row>(file)) {
    last.delete(key(row));
    last.set(key(row), row);
  }
  const beside = `${file}.new`;
  rmSync(beside, { force: true });
  store(beside, [...last.values()]);
  renameSync(beside, file);
}
