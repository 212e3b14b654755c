/**
 * Builds one host program out of many rendered CUDA kernels (host_cuda.h says how it runs them) and runs lists of jobs
 * with it. Needs a C++ compiler, no CUDA.
 */

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ArgKind } from '../../codegen/passes.js';
import { renderKernel } from '../../codegen/render.js';
import { kernelName, type LaunchGeometry, type Spec, specArguments } from '../../codegen/spec.js';
import { DTYPE_TABLE } from '../../codegen/target.js';

export const ORDERS = ['ascending', 'descending'] as const;

/** One launch: operands by the names of the argument table; an output is given by its size in bytes. */
export interface Job {
  readonly spec: Spec;
  readonly launch: LaunchGeometry;
  readonly order: (typeof ORDERS)[number];
  readonly operands: Readonly<Record<string, Uint8Array | number | null>>;
  readonly scalars: Readonly<Record<string, number>>;
}

export interface JobResult {
  /** Bytes around buffers, and inputs, that a kernel wrote to. */
  readonly damaged: number;
  /** Threads that ended while others of their block waited at a barrier. */
  readonly missed: number;
  readonly output: Uint8Array;
}

const HEADER = fileURLToPath(new URL('../../../test/kernels/host_cuda.h', import.meta.url));
/** What a GPU would not forgive stops the program: stores at odd addresses, indices outside of tables, division by 0. */
const CHECKS = ['-fsanitize=alignment,bounds,shift,integer-divide-by-zero', '-fsanitize-undefined-trap-on-error'];
const FLAGS = ['-std=c++17', '-O1', '-fwrapv', '-fno-strict-aliasing', '-ffp-contract=off', '-w', ...CHECKS];
const run = promisify(execFile);

/** Runs jobs in `parts` programs at the same time; results are in the order of the jobs. */
export async function runOnHost(jobs: readonly Job[], parts: number): Promise<JobResult[]> {
  const names = [...new Set(jobs.map((job) => kernelName(job.spec)))];
  const part = (job: Job) => names.indexOf(kernelName(job.spec)) % parts;
  const folder = mkdtempSync(join(tmpdir(), 'fracstride-host-'));
  const results = new Map<Job, JobResult>();
  await Promise.all(
    Array.from({ length: parts }, async (_, at) => {
      const mine = jobs.filter((job) => part(job) === at);
      const done = await runPart(mine, join(folder, `part${at}`));
      for (const [i, job] of mine.entries()) results.set(job, done[i]!);
    }),
  );
  rmSync(folder, { recursive: true });
  return jobs.map((job) => results.get(job)!);
}

async function runPart(jobs: readonly Job[], base: string): Promise<JobResult[]> {
  const specs = [...new Map(jobs.map((job) => [kernelName(job.spec), job.spec])).values()];
  writeFileSync(`${base}.cc`, programText(specs));
  await run(process.env.CXX ?? 'c++', [...FLAGS, `${base}.cc`, '-o', base], { maxBuffer: 1 << 26 });
  writeFileSync(`${base}.jobs`, Buffer.concat([int(jobs.length), ...jobs.flatMap((job) => jobBytes(job, specs))]));
  await run(base, [`${base}.jobs`, `${base}.results`]).catch((cause: { stderr?: string }) => {
    const at = Number(/^job (\d+)/.exec(cause.stderr ?? '')?.[1]);
    throw new Error(`${cause.stderr}${at >= 0 ? kernelName(jobs[at]!.spec) : ''}`, { cause });
  });
  return parseResults(jobs, readFileSync(`${base}.results`));
}

/** Every kernel in a namespace of its own, and a table of entries with cuLaunchKernel's way of passing arguments. */
function programText(specs: readonly Spec[]): string {
  const kernels = specs.map(
    (spec, i) => `namespace kernel_${i} {\n${withoutPtx(renderKernel(spec))}\n${entryText(spec)}\n}`,
  );
  const table = specs.map((_, i) => `kernel_${i}::entry`).join(', ');
  const main = `int main(int count, char** words) { return host::run(count, words, kernels); }`;
  const text = [`#include ${JSON.stringify(HEADER)}`, ...kernels, `const host::Kernel kernels[] = {${table}};`, main];
  return `${text.join('\n')}\n`;
}

/** The PTX of a kernel's text, and what it does in host_cuda.h's plain arithmetic. */
const PTX: readonly (readonly [RegExp, string])[] = [
  [/asm\("cvt\.f32\.f16 %0, %1;" : "=f"\((\w+)\) : "h"\((\w+)\)\)/g, '$1 = host::float_of_half($2)'],
  [/asm\("cvt\.rn\.f16\.f32 %0, %1;" : "=h"\((\w+)\) : "f"\((\w+)\)\)/g, '$1 = host::half_of_float($2)'],
];

function withoutPtx(text: string): string {
  const plain = PTX.reduce((rest, [ptx, arithmetic]) => rest.replace(ptx, arithmetic), text);
  if (/\basm\b/.test(plain)) throw new Error(`the host cannot run this PTX: ${/.*\basm\b.*/.exec(plain)?.[0]}`);
  return plain;
}

const C_TYPES: Readonly<Record<Exclude<ArgKind, 'p'>, string>> = { i: 'int', l: 'long long', f: 'float', d: 'double' };

function entryText(spec: Spec): string {
  const { storage } = DTYPE_TABLE[spec.dtype];
  const values = specArguments(spec).map(
    ({ kind }, i) => `*(${kind === 'p' ? `${storage}*` : C_TYPES[kind]}*)params[${i}]`,
  );
  return `static void entry(void** params) { ${kernelName(spec)}(${values.join(', ')}); }`;
}

function jobBytes(job: Job, specs: readonly Spec[]): Buffer[] {
  const name = kernelName(job.spec);
  const args = specArguments(job.spec);
  const head = [
    specs.findIndex((spec) => kernelName(spec) === name),
    ORDERS.indexOf(job.order),
    ...job.launch.grid,
    ...job.launch.block,
    args.length,
  ];
  return [
    int(...head),
    ...args.flatMap((arg) => argumentBytes(arg.kind, job.operands[arg.name], job.scalars[arg.name])),
  ];
}

function argumentBytes(kind: ArgKind, operand: Uint8Array | number | null | undefined, scalar = Number.NaN): Buffer[] {
  if (kind === 'i') return [int(3, scalar)];
  if (kind === 'l') return [int(4), long(scalar)];
  if (kind === 'd') return [int(5), Buffer.from(Float64Array.of(scalar).buffer)];
  if (operand === null) return [int(0)];
  if (typeof operand === 'number') return [int(2), long(operand)];
  return [int(1), long(operand!.length), Buffer.from(operand!)];
}

const int = (...values: number[]) => Buffer.from(Int32Array.from(values).buffer);
const long = (value: number) => Buffer.from(BigInt64Array.of(BigInt(value)).buffer);

function parseResults(jobs: readonly Job[], bytes: Buffer): JobResult[] {
  let at = 0;
  const results = jobs.map((job) => {
    const size = Object.values(job.operands).reduce<number>(
      (sum, value) => sum + (typeof value === 'number' ? value : 0),
      0,
    );
    const result = {
      damaged: bytes.readInt32LE(at),
      missed: bytes.readInt32LE(at + 4),
      output: bytes.subarray(at + 8, at + 8 + size),
    };
    at += 8 + size;
    return result;
  });
  if (at !== bytes.length) throw new Error(`results must have ${at} bytes, got ${bytes.length}`);
  return results;
}
