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
import { C_TYPES } from '../../codegen/context.js';
import { parameterTypes } from '../../codegen/cuda_operations.js';
import { argumentsOf, isOperation, type KernelSpec, nameOf, textOf } from '../../codegen/kernel.js';
import { operationOf } from '../../codegen/operations.js';
import type { Arg } from '../../codegen/passes.js';
import type { LaunchGeometry } from '../../codegen/spec.js';

export const ORDERS = ['ascending', 'descending'] as const;

/** What lies behind a pointer: what is read only, the size of an output in bytes, what is changed in place, nothing. */
export type Buffered = Uint8Array | number | { readonly inout: Uint8Array } | null;

/** What a kernel is given by name: a buffer, or the entries of a table of pointers or of numbers. */
export type Operand = Buffered | { readonly table: readonly Buffered[] } | { readonly counts: readonly number[] };

/** One launch: operands by the names of the argument table. */
export interface Job {
  readonly spec: KernelSpec;
  readonly launch: LaunchGeometry;
  readonly order: (typeof ORDERS)[number];
  readonly operands: Readonly<Record<string, Operand>>;
  readonly scalars: Readonly<Record<string, number>>;
}

export interface JobResult {
  /** Bytes around buffers, and inputs, that a kernel wrote to. */
  readonly damaged: number;
  /** Threads that ended while others of their block waited at a barrier. */
  readonly missed: number;
  /** What each output, and what was changed in place, holds afterwards, in the order of the arguments. */
  readonly outputs: readonly Uint8Array[];
  /** The first of them. */
  readonly output: Uint8Array;
}

const HEADER = fileURLToPath(new URL('../../../test/kernels/host_cuda.h', import.meta.url));
/** What a GPU would not forgive stops the program: stores at odd addresses, indices outside of tables, division by 0. */
const CHECKS = ['-fsanitize=alignment,bounds,shift,integer-divide-by-zero', '-fsanitize-undefined-trap-on-error'];
/** -Og: of the kernels' hundreds of functions each runs for a moment, and compiling takes longer than running. */
const FLAGS = ['-std=c++17', '-Og', '-fwrapv', '-fno-strict-aliasing', '-ffp-contract=off', '-w', ...CHECKS];
const run = promisify(execFile);

/** Runs jobs in `parts` programs at the same time; results are in the order of the jobs. */
export async function runOnHost(jobs: readonly Job[], parts: number): Promise<JobResult[]> {
  const names = [...new Set(jobs.map((job) => nameOf(job.spec)))];
  const part = (job: Job) => names.indexOf(nameOf(job.spec)) % parts;
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
  const specs = [...new Map(jobs.map((job) => [nameOf(job.spec), job.spec])).values()];
  writeFileSync(`${base}.cc`, programText(specs));
  await run(process.env.CXX ?? 'c++', [...FLAGS, `${base}.cc`, '-o', base], { maxBuffer: 1 << 26 });
  writeFileSync(`${base}.jobs`, Buffer.concat([int(jobs.length), ...jobs.flatMap((job) => jobBytes(job, specs))]));
  await run(base, [`${base}.jobs`, `${base}.results`]).catch((cause: { stderr?: string }) => {
    const at = Number(/^job (\d+)/.exec(cause.stderr ?? '')?.[1]);
    throw new Error(`${cause.stderr}${at >= 0 ? nameOf(jobs[at]!.spec) : ''}`, { cause });
  });
  return parseResults(jobs, readFileSync(`${base}.results`));
}

/** Every kernel in a namespace of its own, and a table of entries with cuLaunchKernel's way of passing arguments. */
function programText(specs: readonly KernelSpec[]): string {
  const kernels = specs.map((spec, i) => `namespace kernel_${i} {\n${withoutPtx(textOf(spec))}\n${entryText(spec)}\n}`);
  const table = specs.map((_, i) => `kernel_${i}::entry`).join(', ');
  const main = `int main(int count, char** words) { return host::run(count, words, kernels); }`;
  const text = [`#include ${JSON.stringify(HEADER)}`, ...kernels, `const host::Kernel kernels[] = {${table}};`, main];
  return `${text.join('\n')}\n`;
}

/** The PTX of a kernel's text, and what it does in host_cuda.h's plain arithmetic; dynamic shared memory has its place there. */
const PTX: readonly (readonly [RegExp, string | ((...match: string[]) => string)])[] = [
  [/asm\("cvt\.f32\.f16 %0, %1;" : "=f"\((\w+)\) : "h"\((\w+)\)\)/g, '$1 = host::float_of_half($2)'],
  [/asm\("cvt\.rn\.f16\.f32 %0, %1;" : "=h"\((\w+)\) : "f"\((\w+)\)\)/g, '$1 = host::half_of_float($2)'],
  [
    /asm volatile\("\{ [^"]*setp\.le\.s32 [^"]* cp\.async\.\w+\.shared\.global \[%0\], \[%1\], (\d+), p; \}" ::([^:]*):/g,
    (_: string, bytes: string, operands: string) => {
      const [to, from, left, depth] = [...operands.matchAll(/\((\w+)\)/g)].map((match) => match[1]);
      return `host::copy_async(${to}, ${from}, ${bytes}, ${left} > ${depth}); (void)(`;
    },
  ],
  [
    /asm volatile\("\{ [^"]*setp\.ne\.u32 [^"]* cp\.async\.\w+\.shared\.global \[%0\], \[%1\], (\d+), p; \}" ::([^:]*):/g,
    (_: string, bytes: string, operands: string) => {
      const [to, from, without] = [...operands.matchAll(/\((\w+)\)/g)].map((match) => match[1]);
      return `host::copy_async(${to}, ${from}, ${bytes}, ${without} == 0); (void)(`;
    },
  ],
  [
    /asm volatile\("st\.shared\.v4\.f32 [^"]*"\s*:: "r"\(\(unsigned\)__cvta_generic_to_shared\((\w+)\)\), "f"\((\w+)\.at\[0\]\)[^;]*: "memory"\)/g,
    '*(Four*)$1 = $2',
  ],
  [/asm volatile\("cp\.async\.(commit_group|wait_group %0);" ::("n"\(\w+\) )?: "memory"\)/g, '(void)0'],
  [/extern __shared__ __align__\(16\) real (\w+)\[\];/g, 'real* const $1 = (real*)host::dynamic_shared;'],
];

function withoutPtx(text: string): string {
  const plain = PTX.reduce((rest, [ptx, plainly]) => rest.replace(ptx, plainly as string), text);
  if (/\basm\b/.test(plain)) throw new Error(`the host cannot run this PTX: ${/.*\basm\b.*/.exec(plain)?.[0]}`);
  return plain;
}

function entryText(spec: KernelSpec): string {
  const args = argumentsOf(spec);
  const types = isOperation(spec) ? parameterTypes(operationOf(spec.operation)) : args.map(convolutionType);
  const values = types.map((type, i) => `*(${type}*)params[${i}]`);
  return `static void entry(void** params) { ${nameOf(spec)}(${values.join(', ')}); }`;
}

const convolutionType = ({ kind, accumulated }: Arg) => {
  if (kind === 'p') return accumulated ? 'real*' : 'stored*';
  return C_TYPES[kind];
};

function jobBytes(job: Job, specs: readonly KernelSpec[]): Buffer[] {
  const name = nameOf(job.spec);
  const args = argumentsOf(job.spec);
  const head = [
    specs.findIndex((spec) => nameOf(spec) === name),
    ORDERS.indexOf(job.order),
    ...job.launch.grid,
    ...job.launch.block,
    args.length,
  ];
  return [int(...head), ...args.flatMap((arg) => argumentBytes(arg, job.operands[arg.name], job.scalars[arg.name]))];
}

function argumentBytes({ kind, capacity = 0 }: Arg, operand: Operand | undefined, scalar = Number.NaN): Buffer[] {
  if (kind === 'i') return [int(3, scalar)];
  if (kind === 'l') return [int(4), long(scalar)];
  if (kind === 'd') return [int(5), Buffer.from(Float64Array.of(scalar).buffer)];
  if (operand !== null && typeof operand === 'object' && 'counts' in operand)
    return [int(7, capacity, operand.counts.length), ...operand.counts.map(long)];
  if (operand !== null && typeof operand === 'object' && 'table' in operand)
    return [int(8, capacity, operand.table.length), ...operand.table.flatMap(bufferBytes)];
  return bufferBytes(operand as Buffered);
}

function bufferBytes(operand: Buffered): Buffer[] {
  if (operand === null) return [int(0)];
  if (typeof operand === 'number') return [int(2), long(operand)];
  const [kind, bytes] = 'inout' in operand ? [6, operand.inout] : [1, operand];
  return [int(kind), long(bytes.length), Buffer.from(bytes)];
}

const int = (...values: number[]) => Buffer.from(Int32Array.from(values).buffer);
const long = (value: number) => Buffer.from(BigInt64Array.of(BigInt(value)).buffer);

function parseResults(jobs: readonly Job[], bytes: Buffer): JobResult[] {
  let at = 0;
  const take = (size: number) => {
    at += size;
    return bytes.subarray(at - size, at);
  };
  const results = jobs.map((job) => {
    const head = take(8);
    const operands = argumentsOf(job.spec).map(({ name }) => job.operands[name]);
    const outputs = operands.flatMap(buffersOf).flatMap((buffer) => sizeAfter(buffer).map(take));
    const [damaged, missed] = [head.readInt32LE(0), head.readInt32LE(4)];
    return { damaged, missed, outputs, output: outputs[0] ?? new Uint8Array() };
  });
  if (at !== bytes.length) throw new Error(`results must have ${at} bytes, got ${bytes.length}`);
  return results;
}

function buffersOf(operand: Operand | undefined): readonly Buffered[] {
  if (operand === undefined) return [];
  if (operand === null || typeof operand === 'number') return [operand];
  if ('table' in operand) return operand.table;
  return 'counts' in operand ? [] : [operand];
}

/** The bytes that come back of a buffer, where any do. */
function sizeAfter(buffer: Buffered): number[] {
  if (buffer === null || buffer instanceof Uint8Array) return [];
  return [typeof buffer === 'number' ? buffer : buffer.inout.length];
}
