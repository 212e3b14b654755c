/**
 * Specs → text → image → store, several at a time. Incremental by content: a kernel whose key is in the store is not
 * compiled again, so a build that changes nothing only renders.
 */

import { FracstrideError } from './errors.js';
import { type KernelSpec, nameOf, textOf } from './kernel.js';
import { type KernelStore, kernelKey, type NewKernel, type StoredKernel } from './store.js';
import { type CompileRequest, type Compiler, formatOf, type Image, type ImageFormat } from './toolchain.js';

/** A kernel that is asked for: its text, where it belongs in the store, and the entry if it is there. */
export interface PlannedKernel {
  readonly name: string;
  readonly key: string;
  readonly spec: KernelSpec;
  readonly format: ImageFormat;
  readonly source: string;
  readonly stored: StoredKernel | null;
}

/** What became of one kernel. */
export interface BuiltKernel {
  readonly name: string;
  readonly state: 'built' | 'reused' | 'failed';
  readonly seconds: number;
  /** Null exactly when it failed. */
  readonly kernel: StoredKernel | null;
  readonly error: string | null;
}

export interface BuildReport {
  /** In the order asked for, each kernel once. */
  readonly kernels: readonly BuiltKernel[];
  readonly built: number;
  readonly reused: number;
  readonly failed: number;
  readonly seconds: number;
}

export interface BuildPlace {
  readonly store: KernelStore;
  readonly compiler: Compiler;
}

export interface BuildProgress {
  readonly done: number;
  readonly total: number;
  readonly kernel: BuiltKernel;
}

/**
 * Renders every spec once and looks each up; compiles and writes nothing. Each is wanted in every one of `formats`, or
 * in the one that is usual for its target.
 */
export function planBuild(
  specs: readonly KernelSpec[],
  place: BuildPlace,
  formats?: readonly ImageFormat[],
): PlannedKernel[] {
  const unique = new Map(specs.map((spec) => [nameOf(spec), spec]));
  return [...unique.values()].flatMap((spec) => {
    const wanted = spec.target.kind === 'ptx' ? undefined : formats;
    return planKernel(spec, place, wanted ?? [formatOf(spec.target)]);
  });
}

/** One kernel in each of these formats. */
export function planKernel(
  spec: KernelSpec,
  { store, compiler }: BuildPlace,
  formats: readonly ImageFormat[],
): PlannedKernel[] {
  const name = nameOf(spec);
  const source = textOf(spec);
  return formats.map((format) => {
    const key = kernelKey(source, compiler.id, compiler.flags(spec.target, format));
    return { name, key, spec, format, source, stored: store.find({ name, key }) };
  });
}

/**
 * Compiles what a plan lacks, `jobs` at a time. A kernel that does not compile is reported and does not stop the rest;
 * `progress` hears of every kernel as it is done. Any other failure, say a cache that cannot be written, starts nothing
 * more and is thrown once the compilers that run have ended: nobody writes after the promise is settled.
 */
export async function runBuild(
  plan: readonly PlannedKernel[],
  place: BuildPlace,
  options: { jobs: number; progress?: (step: BuildProgress) => void },
): Promise<BuildReport> {
  const started = performance.now();
  const kernels: BuiltKernel[] = new Array(plan.length);
  let next = 0;
  let done = 0;
  const work = async () => {
    try {
      while (next < plan.length) {
        const index = next++;
        const kernel = await buildOne(plan[index]!, place);
        kernels[index] = kernel;
        options.progress?.({ done: ++done, total: plan.length, kernel });
      }
    } finally {
      next = plan.length;
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: Math.min(options.jobs, plan.length) }, work));
  const failure = ends.find((end) => end.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
  return summary(kernels, secondsSince(started));
}

async function buildOne(planned: PlannedKernel, place: BuildPlace): Promise<BuiltKernel> {
  const { name, stored } = planned;
  if (stored !== null) return { name, state: 'reused', seconds: 0, kernel: stored, error: null };
  const started = performance.now();
  try {
    const image = await place.compiler.compile(requestOf(planned));
    const kernel = place.store.put(entryOf(planned, image, place.compiler));
    return { name, state: 'built', seconds: secondsSince(started), kernel, error: null };
  } catch (error) {
    if (!(error instanceof FracstrideError) || error.code !== 'ERR_KERNEL_COMPILE') throw error;
    return { name, state: 'failed', seconds: secondsSince(started), kernel: null, error: error.message };
  }
}

/** What a compiler is asked for a planned kernel. */
export function requestOf({ name, source, spec: { target }, format }: PlannedKernel): CompileRequest {
  return { name, source, target, format };
}

/** The entry of a planned kernel that was compiled. */
export function entryOf({ name, key, source, spec }: PlannedKernel, image: Image, compiler: Compiler): NewKernel {
  const { bytes, format, resources } = image;
  const flags = compiler.flags(spec.target, format);
  return { name, key, source, image: bytes, format, resources, compiler: compiler.id, flags };
}

function summary(kernels: readonly BuiltKernel[], seconds: number): BuildReport {
  const count = (state: BuiltKernel['state']) => kernels.filter((kernel) => kernel.state === state).length;
  return { kernels, built: count('built'), reused: count('reused'), failed: count('failed'), seconds };
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}
