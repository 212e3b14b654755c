/**
 * `npm run goldens -- [--dtype case|float64|float32|float16|bfloat16]… [--layout nchw|nhwc]… [--bits 8|24] [--tol X]
 *  [--filter REGEX] [--device cpu] [--adapter public|oracle|FILE]`: runs the golden cases, one line of counts a run.
 * Several dtypes or layouts are separated by commas; without any, all of them run.
 */

import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { Dtype } from '../../codegen/target.js';
import { publicAdapter } from './adapter.js';
import { goldenCases } from './cases.js';
import { type Adapter, type RunOptions, type RunReport, runGoldens } from './golden_check.js';
import { oracleAdapter } from './oracle_adapter.js';

const { values } = parseArgs({
  options: {
    dtype: { type: 'string', default: 'float64,float32,float16,bfloat16' },
    layout: { type: 'string', default: 'nchw,nhwc' },
    bits: { type: 'string' },
    tol: { type: 'string' },
    filter: { type: 'string' },
    device: { type: 'string', default: 'cpu' },
    adapter: { type: 'string', default: 'public' },
  },
});

async function main(): Promise<void> {
  let failed = 0;
  for (const layout of values.adapter === 'public' ? values.layout.split(',') : ['nchw']) {
    const adapter = await adapterFor(layout);
    for (const dtype of values.dtype.split(',')) failed += await once(adapter, dtype as Dtype | 'case', layout);
  }
  process.exitCode = failed ? 1 : 0;
}

async function adapterFor(layout: string): Promise<Adapter> {
  if (layout !== 'nchw' && layout !== 'nhwc') throw new Error(`--layout must be nchw or nhwc, got ${layout}`);
  if (values.adapter === 'public') return publicAdapter({ device: values.device, layout });
  if (values.adapter === 'oracle') return oracleAdapter();
  return (await import(pathToFileURL(resolve(values.adapter)).href)) as Adapter;
}

async function once(adapter: Adapter, dtype: Dtype | 'case', layout: string): Promise<number> {
  const started = Date.now();
  const cases = goldenCases().filter((c) => values.adapter !== 'oracle' || c.expect === 'ok');
  const report = await runGoldens(cases, adapter, optionsFor(dtype));
  for (const f of report.failures.slice(0, 30)) console.log(`FAIL ${f.id}\n     ${f.bad.join('\n     ')}`);
  for (const line of report.vague) console.log(`vague error message: ${line}`);
  const title = `${values.adapter} ${values.device} ${dtype} ${layout}${values.bits ? ` bits ${values.bits}` : ''}`;
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  console.log(
    `${title}: ${report.passed} passed, ${report.failures.length} failed in ${seconds} s; ${worstOf(report)}`,
  );
  return report.failures.length;
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
