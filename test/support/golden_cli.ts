/**
 * `npm run goldens -- [--dtype case|float64|float32|float16|bfloat16]… [--layout nchw|nhwc]… [--bits 8|24] [--tol X]
 *  [--filter REGEX] [--device cpu|cuda] [--variant NAME] [--settings deterministic,benchmark] [--every N]
 *  [--adapter public|oracle|FILE] [--json]`: runs the golden cases, one line of counts a run. Several dtypes or layouts are
 * separated by commas; without any, all of them run.
 *
 * With --variant contractions run that variant wherever it is legal; one that runs another then counts as failed.
 * --every N takes one case in N, others for each dtype and layout. --json ends with a line for programs.
 */

import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { Dtype } from '../../codegen/target.js';
import { publicAdapter } from './adapter.js';
import { goldenCases } from './cases.js';
import { digesting } from './digest.js';
import { type Adapter, type RunOptions, type RunReport, runGoldens } from './golden_check.js';
import { oracleAdapter } from './oracle_adapter.js';
import { setLibrary, type VariantReport, watchVariant } from './variant_watch.js';

const { values } = parseArgs({
  options: {
    dtype: { type: 'string', default: 'float64,float32,float16,bfloat16' },
    layout: { type: 'string', default: 'nchw,nhwc' },
    bits: { type: 'string' },
    tol: { type: 'string' },
    filter: { type: 'string' },
    device: { type: 'string', default: 'cpu' },
    adapter: { type: 'string', default: 'public' },
    variant: { type: 'string' },
    settings: { type: 'string' },
    every: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  },
});

/** What --json prints. */
export interface GoldenSummary {
  passed: number;
  failed: number;
  /** SHA-256 over every output and gradient, a run each. */
  digests: Record<string, string>;
  variants: VariantReport | null;
}

const summary: GoldenSummary = { passed: 0, failed: 0, digests: {}, variants: null };
let runs = 0;

async function main(): Promise<void> {
  setLibrary(values.settings);
  const watched = values.device === 'cpu' ? null : watchVariant(values.variant ?? null);
  for (const layout of values.adapter === 'public' ? values.layout.split(',') : ['nchw']) {
    for (const dtype of values.dtype.split(',')) await once(await adapterFor(layout), dtype as Dtype | 'case', layout);
  }
  if (watched !== null) reportVariants(watched());
  if (values.json) console.log(JSON.stringify(summary));
  process.exitCode = summary.failed > 0 ? 1 : 0;
}

function reportVariants(report: VariantReport): void {
  summary.variants = report;
  summary.failed += report.wrong.length;
  for (const line of report.wrong) console.log(`FAIL ${line}`);
  const counts = (table: Readonly<Record<string, number>>) =>
    Object.entries(table).map(([name, count]) => `${count} × ${name}`);
  console.log(`contractions: ${counts(report.ran).join(', ')}`);
  for (const line of counts(report.refused)) console.log(`  not ${values.variant}: ${line}`);
}

async function adapterFor(layout: string): Promise<Adapter> {
  if (layout !== 'nchw' && layout !== 'nhwc') throw new Error(`--layout must be nchw or nhwc, got ${layout}`);
  if (values.adapter === 'public') return publicAdapter({ device: values.device, layout });
  if (values.adapter === 'oracle') return oracleAdapter();
  return (await import(pathToFileURL(resolve(values.adapter)).href)) as Adapter;
}

async function once(plain: Adapter, dtype: Dtype | 'case', layout: string): Promise<void> {
  const started = Date.now();
  const { adapter, digest } = digesting(plain);
  const [every, offset] = [Number(values.every), runs++];
  const cases = goldenCases()
    .filter((c) => values.adapter !== 'oracle' || c.expect === 'ok')
    .filter((_, i) => i % every === offset % every);
  const report = await runGoldens(cases, adapter, optionsFor(dtype));
  for (const f of report.failures.slice(0, 30)) console.log(`FAIL ${f.id}\n     ${f.bad.join('\n     ')}`);
  for (const line of report.vague) console.log(`vague error message: ${line}`);
  const title = `${values.adapter} ${values.device} ${dtype} ${layout}${values.bits ? ` bits ${values.bits}` : ''}`;
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  console.log(
    `${title}: ${report.passed} passed, ${report.failures.length} failed in ${seconds} s; ${worstOf(report)}`,
  );
  summary.passed += report.passed;
  summary.failed += report.failures.length;
  summary.digests[title] = digest();
}

function optionsFor(dtype: Dtype | 'case'): RunOptions {
  return {
    dtype,
    ...(values.bits ? { bits: Number(values.bits) as 8 | 24 } : {}),
    ...(values.tol ? { tolerance: Number(values.tol) } : {}),
    ...(values.filter ? { filter: new RegExp(values.filter) } : {}),
  };
}

function worstOf(report: RunReport): string {
  const worst = [...report.worst].map(([name, w]) => `${name} ${w.error.toExponential(1)}`);
  return `worst errors ${worst.join(', ') || 'none'}`;
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 2;
});
