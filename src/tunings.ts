/**
 * What `fracstride tune` found: for a model of device and a problem, the times of every way that was tried. They stand
 * among the timings of the kernel cache, and can be taken to other machines with the same model of device.
 *
 * A library's ways are named with its version and settings (`cudnn_algo1 cudnn 91002 tf32 1 deterministic 0`), and count
 * only under these; kernels of this package are deterministic and count always.
 */

import { show } from '../codegen/errors.js';
import { type Problem, problemKey } from '../codegen/problem.js';
import { VARIANTS } from '../codegen/variants.js';
import { allDevices, type Device, modelOf } from './device.js';
import { FracstrideError } from './errors.js';
import { libraryIdentity } from './libraries.js';
import { allTimings, putTiming, readTiming } from './timings.js';

/** Microseconds of each way, by variant and settings. */
export type Microseconds = Readonly<Record<string, number>>;

export interface Tuning {
  readonly device: string;
  /** As `problemKey` writes it. */
  readonly problem: string;
  readonly microseconds: Microseconds;
}

const MARK = ' | tuned | ';
const FORMAT = 'fracstride tunings';
const VERSION = 1;

/** Keeps what was timed instead of what was kept before; false where nothing can be kept. */
export function keepTuning(device: Device, problem: Problem, microseconds: Microseconds): boolean {
  return keep({ device: modelOf(device), problem: problemKey(problem), microseconds });
}

function keep({ device, problem, microseconds }: Tuning): boolean {
  const [fastest] = ranked(microseconds);
  if (fastest === undefined) return false;
  return putTiming(`${device}${MARK}${problem}`, { words: fastest.split(' ')[0]!, microseconds }) !== null;
}

/** Ways to compute a problem on this device, the fastest first, as far as they count here and now. */
export function tunedWays(device: Device, problem: Problem): string[] {
  const timing = readTiming(`${modelOf(device)}${MARK}${problemKey(problem)}`);
  if (timing === null) return [];
  return ranked(timing.microseconds).flatMap((way) => {
    const [words, ...settings] = way.split(' ');
    return settings.length === 0 || settings.join(' ') === libraryIdentity() ? [words!] : [];
  });
}

function ranked(microseconds: Microseconds): string[] {
  return Object.entries(microseconds)
    .sort((a, b) => a[1] - b[1])
    .map(([way]) => way);
}

/** All that is kept, as the text of a file. */
export function exportTunings(): { text: string; count: number } {
  const tunings = allTimings().flatMap(({ question, microseconds }): Tuning[] => {
    const [device, problem] = question.split(MARK);
    return problem === undefined ? [] : [{ device: device!, problem, microseconds }];
  });
  return { text: `${JSON.stringify({ format: FORMAT, version: VERSION, tunings }, null, 1)}\n`, count: tunings.length };
}

/**
 * Keeps what such a file holds for devices of this machine.
 *
 * @throws FracstrideError ERR_ARGUMENT for a file that is none, and for one of other devices only
 */
export function importTunings(text: string, file: string): { kept: number; others: number } {
  const all = parsed(text, file);
  const here = new Set(allDevices().map(modelOf));
  const own = all.filter(({ device }) => here.has(device));
  if (own.length === 0) {
    const rule = `tunings of a device of this machine (${[...here].map((name) => `"${name}"`).join(', ')})`;
    refuse(file, rule, all.length === 0 ? 'none' : show(all[0]!.device));
  }
  for (const tuning of own) {
    if (keep(tuning)) continue;
    const sentence = `tune: the kernel cache must be writable, got one that ${show(file)} could not be kept in`;
    throw new FracstrideError('ERR_CACHE', sentence);
  }
  return { kept: own.length, others: all.length - own.length };
}

function parsed(text: string, file: string): Tuning[] {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    refuse(file, 'JSON', (error as Error).message);
  }
  const { format, version, tunings } = Object(content) as Record<string, unknown>;
  if (format !== FORMAT) refuse(file, 'what fracstride tune --export wrote', `format ${show(format)}`);
  if (version !== VERSION) refuse(file, `of version ${VERSION}`, show(version));
  if (!Array.isArray(tunings)) refuse(file, 'a list of tunings', show(tunings));
  return (tunings as unknown[]).map((tuning, i) => checked(tuning, `${file}: tunings[${i}]`));
}

const WAY = /^([a-z0-9]+)[a-z0-9_]{0,99}( [a-z]+ \w+ tf32 [01] deterministic [01])?$/;
const PROBLEM = /^(convT2d|conv2d) (fwd|dgrad|wgrad|bgrad) [a-z0-9]+ (nchw|nhwc) [b-] [a-z_]+ [\d,]{20,200}$/;

function checked(tuning: unknown, where: string): Tuning {
  const { device, problem, microseconds } = Object(tuning) as Record<string, unknown>;
  if (typeof device !== 'string' || !/^[^|]{1,200}$/.test(device)) refuse(where, 'of a named device', show(device));
  if (typeof problem !== 'string' || !PROBLEM.test(problem)) refuse(where, 'of a problem', show(problem));
  const ways = Object.entries(Object(microseconds) as Record<string, unknown>);
  const names = new Set(VARIANTS.map(({ name }) => name));
  for (const [way, time] of ways) {
    const variant = WAY.exec(way)?.[1];
    if (variant === undefined || !names.has(variant)) refuse(where, 'of kernels of the catalogue', show(way));
    if (typeof time !== 'number' || !(time > 0)) refuse(where, 'of positive microseconds', show(time));
  }
  if (ways.length === 0) refuse(where, 'of at least one kernel', show(microseconds));
  return { device, problem, microseconds: Object.fromEntries(ways) as Microseconds } as Tuning;
}

function refuse(what: string, rule: string, got: string): never {
  throw new FracstrideError('ERR_ARGUMENT', `tune: ${what} must be ${rule}, got ${got}`);
}
