/**
 * Compilers that turn a kernel's text into an image.
 *
 * A `Compiler` is handed to whoever compiles; nvcc is the one that is found here, another (a compiler loaded as a
 * library) only has to have the same members.
 */

import { accessSync, constants, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { FracstrideError } from './errors.js';
import { type Ran, run, runSync } from './processes.js';
import { CUDA_ARCHITECTURES, type Target, targetFlag } from './target.js';

/** What a kernel costs on its architecture, as the assembler reports it. */
export interface Resources {
  /** Registers a thread. */
  readonly registers: number;
  /** Bytes a thread written to and read from local memory because registers ran out. */
  readonly spillStores: number;
  readonly spillLoads: number;
  /** Bytes of static shared memory a block. */
  readonly shared: number;
  /** Bytes of constant memory, arguments included. */
  readonly constant: number;
}

/** `cubin` is machine code of one architecture, `ptx` is text that the driver assembles for that one and newer ones. */
export const IMAGE_FORMATS = ['cubin', 'ptx'] as const;
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

export interface Image {
  readonly format: ImageFormat;
  readonly bytes: Uint8Array;
  /** Null for PTX: registers are given out when the driver assembles it. */
  readonly resources: Resources | null;
}

export interface CompileRequest {
  readonly name: string;
  readonly source: string;
  /** Decides, together with the format, which architecture the compiler is told. */
  readonly target: Target;
  readonly format: ImageFormat;
}

export interface Compiler {
  /** Enters the key of everything it makes, e.g. `nvcc 13.0.88`. */
  readonly id: string;
  /** What it can make for a target, best first. Empty for an architecture that is older than all it knows. */
  formats(target: Target): readonly ImageFormat[];
  /** What it is told; enters the key too. */
  flags(target: Target, format: ImageFormat): readonly string[];
  /** @throws FracstrideError ERR_KERNEL_COMPILE with the first lines of what the compiler says, and where the text lies. */
  compile(request: CompileRequest): Promise<Image>;
  /** The same, for a caller that cannot wait. */
  compileSync(request: CompileRequest): Image;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The oldest architecture that compilers still take: PTX for it can be assembled for every newer one. */
export const PTX_ARCHITECTURE = 75;

/** What is made for a target where nothing else is asked for. */
export function formatOf(target: Target): ImageFormat {
  return target.kind === 'ptx' ? 'ptx' : 'cubin';
}

/** What a compiler that knows these architectures can make for a target, best first. */
export function formatsFor(target: Target, architectures: readonly number[]): ImageFormat[] {
  return IMAGE_FORMATS.filter((format) => architectureFor(target, format, architectures) !== null);
}

/**
 * `sm_90` for a cubin, `compute_90` for PTX; where that is newer than the compiler, PTX is made for the newest that it
 * knows, which the driver assembles for the device. Null when there is none.
 */
export function architectureFor(target: Target, format: ImageFormat, architectures: readonly number[]): string | null {
  if (target.kind === 'cpu') return null;
  const wanted = target.kind === 'ptx' ? PTX_ARCHITECTURE : target.arch;
  if (format === 'ptx') {
    const newest = Math.max(...architectures.filter((arch) => arch <= wanted));
    return newest > 0 ? `compute_${newest}` : null;
  }
  return target.kind === 'cuda' && architectures.includes(wanted) ? `sm_${wanted}` : null;
}

/** Path of nvcc: on PATH, else in CUDA_HOME or CUDA_PATH; null when there is none. */
export function findNvcc(environment: Environment = process.env): string | null {
  const name = process.platform === 'win32' ? 'nvcc.exe' : 'nvcc';
  const homes = [environment.CUDA_HOME, environment.CUDA_PATH].filter((home) => home !== undefined && home !== '');
  const folders = [...(environment.PATH ?? '').split(delimiter), ...homes.map((home) => join(home!, 'bin'))];
  const candidates = folders.filter((folder) => folder !== '').map((folder) => join(folder, name));
  return candidates.find(isExecutable) ?? null;
}

/**
 * The installed nvcc, which is told `more` behind all else.
 *
 * @throws FracstrideError ERR_KERNEL_COMPILE when there is none or it does not run.
 */
export function nvcc(environment: Environment = process.env, more: readonly string[] = []): Compiler {
  const path = findNvcc(environment);
  if (path === null) {
    throw compileError('nvcc must be on PATH, or in CUDA_HOME or CUDA_PATH, to compile for CUDA, got none of them');
  }
  const version = versionOf(path);
  let known: readonly number[] | undefined;
  const architectures = () => (known ??= architecturesOf(path));
  const flags = (target: Target, format: ImageFormat) => [...nvccFlags(target, format, architectures()), ...more];
  return {
    id: `nvcc ${version}`,
    formats: (target) => formatsFor(target, architectures()),
    flags,
    compile: async (request) => {
      const work = prepare(request, flags(request.target, request.format));
      return finish(work, await run(path, work.words, work.folder).catch((cause: unknown) => refuse(work, cause)));
    },
    compileSync: (request) => {
      const work = prepare(request, flags(request.target, request.format));
      return finish(
        work,
        attempt(work, () => runSync(path, work.words, work.folder)),
      );
    },
  };
}

/** Registers, spills and memory from the report of `ptxas -v`; null when it holds none. */
export function parseResources(report: string): Resources | null {
  const number = (pattern: RegExp) => Number(pattern.exec(report)?.[1] ?? 0);
  if (!/Used \d+ registers/.test(report)) return null;
  const constants = [...report.matchAll(/(\d+) bytes cmem\[\d+\]/g)];
  return {
    registers: number(/Used (\d+) registers/),
    spillStores: number(/(\d+) bytes spill stores/),
    spillLoads: number(/(\d+) bytes spill loads/),
    shared: number(/(\d+) bytes smem/),
    constant: constants.reduce((sum, match) => sum + Number(match[1]), 0),
  };
}

function nvccFlags(target: Target, format: ImageFormat, known: readonly number[]): readonly string[] {
  const architecture = architectureFor(target, format, known);
  if (architecture === null) {
    const sentence = `toolchain: target must be one that this nvcc makes ${format} for, got ${targetFlag(target)}`;
    throw new FracstrideError('ERR_ARGUMENT', sentence);
  }
  return [`-arch=${architecture}`, `-${format}`, '-std=c++17', '-O3', '-Xptxas', '-v'];
}

function versionOf(path: string): string {
  try {
    const { stdout } = runSync(path, ['--version'], tmpdir());
    const version = /V(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
    if (version !== undefined) return version;
    throw new Error(`it says ${JSON.stringify(firstLines(stdout))}`);
  } catch (cause) {
    throw compileError(`${path} must tell its version, got ${reason(cause)}`, cause);
  }
}

/** All that we know of where it does not tell (before CUDA 11). */
function architecturesOf(path: string): readonly number[] {
  try {
    const { stdout } = runSync(path, ['--list-gpu-code'], tmpdir());
    const listed = [...stdout.matchAll(/^sm_(\d+)\s*$/gm)].map((match) => Number(match[1]));
    return listed.length > 0 ? listed : CUDA_ARCHITECTURES;
  } catch {
    return CUDA_ARCHITECTURES;
  }
}

/** One compilation: a folder of its own, which stays when it fails. */
interface Work {
  readonly name: string;
  readonly format: ImageFormat;
  readonly folder: string;
  readonly source: string;
  readonly output: string;
  readonly words: readonly string[];
}

/** Removes what a compilation that nobody waits for any more has written. */
export function removeTemporaryFolder(folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  } catch {
    // A compiler that has not ended yet may still write into it.
  }
}

function prepare({ name, source: text, format }: CompileRequest, flags: readonly string[]): Work {
  const folder = mkdtempSync(join(tmpdir(), 'fracstride-'));
  const source = join(folder, `${name}.cu`);
  const output = join(folder, `${name}.${format}`);
  writeFileSync(source, text);
  return { name, format, folder, source, output, words: [...flags, source, '-o', output] };
}

function finish(work: Work, { stdout, stderr }: Ran): Image {
  const { format, folder, output } = work;
  const bytes = attempt(work, () => readFileSync(output));
  rmSync(folder, { recursive: true });
  return { format, bytes, resources: parseResources(stdout + stderr) };
}

function attempt<T>(work: Work, fn: () => T): T {
  try {
    return fn();
  } catch (cause) {
    return refuse(work, cause);
  }
}

function refuse({ name, source }: Work, cause: unknown): never {
  throw compileError(`${name} must compile, got ${reason(cause)}; its text is in ${source}`, cause);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** What a failed command wrote, or why it could not run. */
function reason(cause: unknown): string {
  const said = cause as { stderr?: string; stdout?: string; message?: string };
  return firstLines(`${said.stderr ?? ''}${said.stdout ?? ''}`) || (said.message ?? String(cause));
}

function firstLines(text: string): string {
  return text.trim().split('\n').slice(0, 5).join('\n  ');
}

function compileError(sentence: string, cause?: unknown): FracstrideError {
  return new FracstrideError('ERR_KERNEL_COMPILE', `toolchain: ${sentence}`, { cause });
}
