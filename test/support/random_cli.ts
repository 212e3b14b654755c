/**
 * `node random_cli.js --device cuda:0 --variants gather,phase --runs 500 --seed N [--shard I/N]
 * [--settings deterministic,benchmark]`: random problems against the oracle on a device, each with every variant in turn
 * (`any`: what is chosen). The last line is a JSON summary.
 */

import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { zeros } from 'fracstride';
import { testSeed } from './devices.js';
import { checkProblem, type Place } from './random_check.js';
import { type RandomProblem, randomProblems } from './random_problems.js';
import { setLibrary, type VariantReport, watchVariant } from './variant_watch.js';

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda:0' },
    variants: { type: 'string', default: 'gather,phase' },
    settings: { type: 'string' },
    runs: { type: 'string', default: '500' },
    seed: { type: 'string' },
    shard: { type: 'string', default: '0/1' },
  },
});

export interface RandomSummary {
  readonly seed: number;
  readonly problems: number;
  readonly failures: readonly string[];
  readonly variants: Readonly<Record<string, VariantReport>>;
  /** SHA-256 over every result, for comparisons between runs of the same seed. */
  readonly digest: string;
}

const seed = values.seed === undefined ? testSeed() : Number(values.seed);
const [shard, shards] = values.shard.split('/').map(Number) as [number, number];
const problems = fc
  .sample(randomProblems, { seed, numRuns: Number(values.runs) })
  .filter((_, i) => i % shards === shard);

setLibrary(values.settings);
// guard zones are of the devices in use
zeros([1], { device: values.device }).dispose();
const failures: string[] = [];
const variants: Record<string, VariantReport> = {};
const hash = createHash('sha256');
for (const variant of values.variants.split(',')) {
  const report = watchVariant(variant === 'any' ? null : variant);
  const place: Place = {
    label: variant,
    within: (_, fn) => fn(),
    kernels: /__(sm\d+|ptx)$/,
    saw: (bytes) => void hash.update(bytes),
  };
  for (const problem of problems) check(problem, place);
  variants[variant] = report();
}
console.log(JSON.stringify({ seed, problems: problems.length, failures, variants, digest: hash.digest('hex') }));

function check(problem: RandomProblem, place: Place): void {
  try {
    checkProblem(problem, { device: values.device, places: [place] });
  } catch (error) {
    failures.push(`${place.label}: ${error instanceof Error ? error.message : error}\n${JSON.stringify(problem)}`);
  }
}
