/**
 * Compilers that turn a kernel's text into an image. The only file that starts processes.
 *
 * A `Compiler` is handed to whoever compiles; nvcc is the one that is found here, another (a compiler loaded as a
 * library) only has to have the same three members.
 */

import { execFile } from 'node:child_process';
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { FracstrideError } from './errors.js';
import { type Target, targetFlag } from './target.js';

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

export interface Image {
  readonly format: 'cubin' | 'ptx';
  readonly bytes: Uint8Array;
  /** Null for PTX: registers are given out when the driver assembles it. */
  readonly resources: Resources | null;
}

export interface CompileRequest {
  readonly name: string;
  readonly source: string;
  readonly target: Target;
}

export interface Compiler {
  /** Enters the key of everything it makes, e.g. `nvcc 13.0.88`. */
  readonly id: string;
  /** What it is told for a target; enters the key too. */
  flags(target: Target): readonly string[];
  /** @throws FracstrideError ERR_KERNEL_COMPILE with the first lines of what the compiler says, and where the text lies. */
  compile(request: CompileRequest): Promise<Image>;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The oldest architecture that compilers still take: PTX for it can be assembled for every newer one. */
export const PTX_ARCHITECTURE = 75;

/** Path of nvcc: on PATH, else in CUDA_HOME or CUDA_PATH; null when there is none. */
export function findNvcc(environment: Environment = process.env): string | null {
  const name = process.platform === 'win32' ? 'nvcc.exe' : 'nvcc';
  const homes = [environment.CUDA_HOME, environment.CUDA_PATH].filter((home) => home !== undefined && home !== '');
  const folders = [...(environment.PATH ?? '').split(delimiter), ...homes.map((home) => join(home!, 'bin'))];
  const candidates = folders.filter((folder) => folder !== '').map((folder) => join(folder, name));
  return candidates.find(isExecutable) ?? null;
}

/**
 * The installed nvcc.
 *
 * @throws FracstrideError ERR_KERNEL_COMPILE when there is none or it does not run.
 */
export async function nvcc(environment: Environment = process.env): Promise<Compiler> {
  const path = findNvcc(environment);
  if (path === null) {
    throw compileError('nvcc must be on PATH, or in CUDA_HOME or CUDA_PATH, to compile for CUDA, got none of them');
  }
  const version = await versionOf(path);
  return { id: `nvcc ${version}`, flags: nvccFlags, compile: (request) => compileWith(path, request) };
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

const run = promisify(execFile);

function nvccFlags(target: Target): readonly string[] {
  if (target.kind === 'cpu') {
    throw new FracstrideError('ERR_ARGUMENT', `toolchain: target must be sm_NN or ptx, got ${targetFlag(target)}`);
  }
  const common = ['-std=c++17', '-O3', '-Xptxas', '-v'];
  if (target.kind === 'ptx') return [`-arch=compute_${PTX_ARCHITECTURE}`, '-ptx', ...common];
  return [`-arch=${targetFlag(target)}`, '-cubin', ...common];
}

async function versionOf(path: string): Promise<string> {
  try {
    const { stdout } = await run(path, ['--version']);
    const version = /V(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
    if (version !== undefined) return version;
    throw new Error(`it says ${JSON.stringify(firstLines(stdout))}`);
  } catch (cause) {
    throw compileError(`${path} must tell its version, got ${reason(cause)}`, cause);
  }
}

/** Works in a folder of its own, which stays when the compilation fails. */
async function compileWith(path: string, request: CompileRequest): Promise<Image> {
  const format = request.target.kind === 'ptx' ? 'ptx' : 'cubin';
  const flags = nvccFlags(request.target);
  const folder = mkdtempSync(join(tmpdir(), 'fracstride-'));
  const source = join(folder, `${request.name}.cu`);
  const output = join(folder, `${request.name}.${format}`);
  writeFileSync(source, request.source);
  try {
    const { stdout, stderr } = await run(path, [...flags, source, '-o', output], { maxBuffer: 1 << 26, cwd: folder });
    const image = { format, bytes: readFileSync(output), resources: parseResources(stdout + stderr) } as const;
    rmSync(folder, { recursive: true });
    return image;
  } catch (cause) {
    throw compileError(`${request.name} must compile, got ${reason(cause)}; its text is in ${source}`, cause);
  }
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
