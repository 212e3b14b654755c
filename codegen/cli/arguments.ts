/** What commands take: targets, numbers of jobs, lists of kernels. */

import { readFileSync, statSync } from 'node:fs';
import { InvalidArgumentError, Option } from 'commander';
import { FracstrideError, show } from '../errors.js';
import { DEFAULT_TARGETS, isKernelName, PRESETS } from '../presets.js';
import { CPU_ISAS, CUDA_ARCHITECTURES, type Target, targetFlag } from '../target.js';
import { IMAGE_FORMATS, type ImageFormat } from '../toolchain.js';

/** `sm_90,ptx` → targets; for commander. */
export function parseTargets(text: string): Target[] {
  return text.split(',').map(parseTarget);
}

/** `sm_90`, `ptx`, `cpu` (the baseline instruction set) or `cpu_avx2`; for commander. */
export function parseTarget(text: string): Target {
  if (text === 'ptx') return { kind: 'ptx' };
  if (text === 'cpu') return { kind: 'cpu', isa: 'baseline' };
  const isa = CPU_ISAS.find((name) => text === `cpu_${name}`);
  if (isa !== undefined) return { kind: 'cpu', isa };
  const arch = CUDA_ARCHITECTURES.find((number) => text === `sm_${number}`);
  if (arch !== undefined) return { kind: 'cuda', arch };
  const known = CUDA_ARCHITECTURES.map((number) => `sm_${number}`).join(', ');
  throw new InvalidArgumentError(`A target must be one of ${known}, ptx or cpu, got ${show(text)}.`);
}

/** `--target` of a command that takes one; PTX where it is left out. */
export function targetOption(): Option {
  const described = new Option('--target <target>', 'sm_75 … sm_121, ptx, cpu, or cpu_<instruction set>');
  return described.argParser(parseTarget).default({ kind: 'ptx' }, 'ptx');
}

/** `--target` of a command that takes several, separated by commas. */
export function targetsOption(): Option {
  const described = new Option('--target <list>', 'targets separated by commas: sm_75 … sm_121, ptx, cpu');
  return described.argParser(parseTargets).default([...DEFAULT_TARGETS], DEFAULT_TARGETS.map(targetFlag).join());
}

/** `cubin,ptx` → formats; for commander. */
export function parseFormats(text: string): ImageFormat[] {
  return text.split(',').map((word) => {
    const format = IMAGE_FORMATS.find((name) => name === word);
    if (format !== undefined) return format;
    throw new InvalidArgumentError(`A format must be one of ${IMAGE_FORMATS.join(', ')}, got ${show(word)}.`);
  });
}

/** `200M`, `1G` or a number of bytes; for commander. */
export function parseBytes(text: string): number {
  const [, digits, unit = ''] = /^(\d{1,15})([kMGT]?)B?$/.exec(text) ?? [];
  if (digits !== undefined) return Number(digits) * 1024 ** ['', 'k', 'M', 'G', 'T'].indexOf(unit);
  throw new InvalidArgumentError(`It must be a number of bytes like 200M or 1G, got ${show(text)}.`);
}

/** A positive number of at most 1024; for commander. */
export function parseJobs(text: string): number {
  const jobs = Number(text);
  if (/^\d+$/.test(text) && jobs >= 1 && jobs <= 1024) return jobs;
  throw new InvalidArgumentError(`It must be a whole number from 1 to 1024, got ${show(text)}.`);
}

/**
 * The items to build: those of a preset, of a file (a JSON array of problems and kernel names, or a line each, as
 * `fracstride record` writes them), or one item itself.
 *
 * @throws FracstrideError ERR_ARGUMENT
 */
export function itemsOf(config: string): readonly string[] {
  if (Object.hasOwn(PRESETS, config)) return PRESETS[config]!;
  if (/^\s*(\{|convT2d\b|conv2d\b)/.test(config) || isKernelName(config)) return [config];
  return itemsOfFile(config);
}

/** A list of kernels takes a few kilobytes; whatever is larger is something else. */
const LARGEST_LIST = 1 << 24;

function itemsOfFile(path: string): string[] {
  const stat = statOf(path);
  const kinds = `a preset (${Object.keys(PRESETS).join(', ')}), a problem, a kernel name or a file with a list of them`;
  if (stat === undefined) throw refused(`config must be ${kinds}`, path);
  if (!stat.isFile() || stat.size > LARGEST_LIST) throw refused('config must be a file of at most 16 MiB', path);
  const text = textOf(path);
  if (!/^\s*[[{"]/.test(text)) return linesOf(text);
  const list = parseJson(text, path);
  const good = Array.isArray(list) && list.every((item) => typeof item === 'string' || isObject(item));
  if (!good) throw refused('config must hold a JSON array of problems and kernel names', path);
  return list.map((item: unknown) => (typeof item === 'string' ? item : JSON.stringify(item)));
}

function statOf(path: string) {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw refused(`config must be a file that can be read (${(cause as Error).message})`, path, cause);
  }
}

/** A line an item; what follows a # is a comment. */
function linesOf(text: string): string[] {
  return text.split('\n').flatMap((line) => line.replace(/#.*/, '').trim() || []);
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw refused(`config must be readable JSON (${(cause as Error).message})`, path, cause);
  }
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refused(rule: string, path: string, cause?: unknown): FracstrideError {
  return new FracstrideError('ERR_ARGUMENT', `build: ${rule}, got ${show(path)}`, { cause });
}
