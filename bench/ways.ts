/** Times of every kernel that could compute a problem, where nothing is kept for the user's own runs. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Problem } from '../codegen/problem.js';
import { tune } from '../src/bench/tune.js';
import { resolveDevice } from '../src/device.js';

/** Candidates that are timed, beside one of each variant. */
const MOST = 8;

export interface Ways {
  /** What costs choose. */
  readonly chosen: string;
  /** The least of the rounds in microseconds, by variant and settings. */
  readonly us: Readonly<Record<string, number>>;
}

/** Runs with a kernel cache of its own, which is removed. */
export function withoutKeeping(run: () => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'fracstride-bench-'));
  process.env.FRACSTRIDE_CACHE_DIR = folder;
  try {
    run();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Problems take turns in each round. */
export function timeWays(problems: readonly Problem[], rounds: number): Ways[] {
  const device = resolveDevice('bench', 'cpu');
  const least = problems.map((): Record<string, number> => ({}));
  const chosen: string[] = [];
  for (let round = 0; round < rounds; round++) {
    problems.forEach((problem, i) => {
      const { microseconds, expected } = tune(device, problem, MOST);
      chosen[i] = expected!;
      for (const [name, us] of Object.entries(microseconds)) least[i]![name] = Math.min(us, least[i]![name] ?? us);
    });
  }
  return least.map((us, i) => ({ chosen: chosen[i]!, us }));
}
