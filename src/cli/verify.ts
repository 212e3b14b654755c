/** `fracstride verify`: checks this installation on this machine against a reference in float64. */

import type { Command } from 'commander';
import { packageVersion } from '../../codegen/cli/package.js';
import { EXIT, type Session } from '../../codegen/cli/session.js';
import { table } from '../../codegen/cli/table.js';
import { DTYPES } from '../../codegen/target.js';
import { cudaUnavailableReason } from '../device.js';
import type { Row } from '../verify/run.js';
import { checkedDevices, describeDevice, deviceOption } from './devices.js';

interface Options {
  device?: string;
  requireCuda?: true;
  all?: true;
  json?: true;
}

export function addVerify(program: Command, session: Session): void {
  program
    .command('verify')
    .description('check this installation on this machine: every operation, type and layout against a reference')
    .addOption(deviceOption('the CPU, and the first CUDA device where there is one'))
    .option('--require-cuda', 'exit with 4 where no CUDA device can be used')
    .option('--all', 'a line for each result, with its kernel')
    .option('--json', 'JSON on stdout')
    .addHelpText('after', HELP)
    .action((options: Options) => run(options, session));
}

const HELP = `
Every result is computed again in float64 and compared element by element; what an element may be off by
follows from its type and from how many numbers its sum has. Convolutions run on every variant of the
catalogue that is legal. Kernels that are not built in are compiled, which takes time once.

Exit codes: 0 everything agrees, 1 something does not, 4 a GPU was required and is absent, 5 all that ran
agrees and some kernels could not be compiled.

Examples:
  fracstride verify --require-cuda
  fracstride verify --device cpu --all
  fracstride verify --json > verify.json`;

async function run(options: Options, session: Session): Promise<void> {
  const devices = checkedDevices('verify', options);
  // The tensor API is loaded for the commands that run it, not for the others.
  const [{ verify }, { backends }] = await Promise.all([import('../verify/run.js'), import('../backends.js')]);
  // Products of TF32 are no wrong ones, and further off than what a float32 kernel may be.
  backends.cudnn.allowTf32 = false;
  const started = performance.now();
  const rows: Row[] = [];
  for (const device of devices) {
    for (const part of verify(device)) {
      rows.push(...part.rows);
      session.log(`${device}: ${part.group}: ${part.rows.length} results\n`);
    }
  }
  const seconds = Number(((performance.now() - started) / 1000).toFixed(1));
  const { failed, notCompiled } = summaryOf(rows);
  if (failed > 0) session.endWith(EXIT.failed);
  else if (notCompiled > 0) session.endWith(EXIT.compile);
  // Whoever did not name a device hears which was not there.
  const unchecked = options.device === undefined ? cudaUnavailableReason() : null;
  const report = { rows, devices, seconds, unchecked };
  if (options.json) session.json(asJson(report));
  else session.line(asText(report, options.all === true));
}

interface Report {
  readonly rows: readonly Row[];
  readonly devices: readonly string[];
  readonly seconds: number;
  readonly unchecked: string | null;
}

function asJson({ rows, devices, seconds, unchecked }: Report): unknown {
  const summary = { ...summaryOf(rows), said: verdict(rows, devices) };
  const facts = { package: packageVersion(), ok: summary.ok === rows.length, summary, seconds, unchecked };
  return { ...facts, devices: devices.map(describeDevice), rows: rows.map(speakable) };
}

/** JSON has no NaN and no infinities. */
function speakable({ fault, share, ...row }: Row): unknown {
  const word = (value: number): number | string => (Number.isFinite(value) ? value : String(value));
  const told = fault === null ? null : { ...fault, got: word(fault.got), expected: word(fault.expected) };
  return { ...row, share: share === null ? null : word(share), fault: told };
}

function asText({ rows, devices, seconds, unchecked }: Report, all: boolean): string {
  const tables = devices.flatMap((device) => {
    const own = rows.filter((row) => row.device === device);
    return [describeDevice(device).text, '', printed(own, all), ''];
  });
  const wrong = [...failures(rows), ...uncompiled(rows)];
  const absent = unchecked === null ? [] : [`No CUDA device was checked: ${unchecked}.`, ''];
  return [...tables, ...wrong, ...absent, `${verdict(rows, devices)} (${seconds} s)`].join('\n');
}

function summaryOf(rows: readonly Row[]) {
  const count = (status: Row['status']): number => rows.filter((row) => row.status === status).length;
  return { results: rows.length, ok: count('ok'), failed: count('failed'), notCompiled: count('not compiled') };
}

function verdict(rows: readonly Row[], devices: readonly string[]): string {
  const { results, failed, notCompiled } = summaryOf(rows);
  const where = devices.join(' and ');
  if (failed > 0) {
    const bad = [...new Set(rows.filter((row) => row.status === 'failed').map((row) => row.device))].join(' and ');
    return `FAILED: ${failed} of ${results} results on ${bad} are not what they should be.`;
  }
  if (notCompiled > 0) {
    return `What ran agrees with the reference, but ${notCompiled} of ${results} results on ${where} need kernels that could not be compiled here; 'fracstride doctor' says what is missing.`;
  }
  return `Everything works: ${results} results on ${where} agree with the reference.`;
}

/** What is said of each at most; the rest is in --json. */
const MOST_SENTENCES = 20;

function failures(rows: readonly Row[]): string[] {
  const sentences = rows.filter(({ status }) => status === 'failed').map(sentence);
  const rest = sentences.length - MOST_SENTENCES;
  return rest > 0 ? [...sentences.slice(0, MOST_SENTENCES), `… and ${rest} more, with --json`] : sentences;
}

/** `FAILED exp, float32 on cpu (special numbers and noise): [3] is 2 instead of 1, allowed 1e-7; kernel exp_f32__…`. */
function sentence({ operation, dtype, layout, device, problem, kernel, fault, reason }: Row): string {
  const what = [operation, dtype, ...(layout === null ? [] : [layout])].join(', ');
  const start = `FAILED ${what} on ${device} (${problem})`;
  if (fault === null) return `${start}: ${reason}`;
  const { index, got, expected, allowed } = fault;
  const where = index.length === 0 ? 'the result' : `[${index.join(', ')}]`;
  return `${start}: ${where} is ${got} instead of ${expected}, off by ${short(Math.abs(got - expected))} where ${short(allowed)} is allowed; kernel ${kernel}`;
}

function uncompiled(rows: readonly Row[]): string[] {
  const reasons = rows.flatMap(({ status, reason }) => (status === 'not compiled' && reason !== null ? [reason] : []));
  const shown = reasons.slice(0, 3).map((reason) => `not compiled: ${reason}`);
  return reasons.length > 3 ? [...shown, `… and ${reasons.length - 3} more, with --json`] : shown;
}

const short = (value: number): string => (value === 0 ? '0' : value.toPrecision(2));

function printed(rows: readonly Row[], all: boolean): string {
  if (all) {
    const lines = rows.map((row) => [
      ...[row.operation, row.problem, row.dtype, row.layout ?? '', row.kernel ?? ''],
      ...[row.error === null ? '' : short(row.error), worst([row]), mark([row])],
    ]);
    return table(['operation', 'of', 'type', 'layout', 'kernel', 'worst error', 'of allowed', ''], lines);
  }
  const lines = groups(rows).map((own) => [
    nameOf(own),
    own[0]!.layout ?? '',
    kernelsOf(own),
    ...DTYPES.map((dtype) => worst(own.filter((row) => row.dtype === dtype))),
    mark(own),
  ]);
  return `${table(['', 'layout', 'kernel', ...DTYPES, ''], lines)}\n\n${LEGEND}`;
}

const LEGEND = `Numbers are the worst error of an element, as a share of what its type and its sum allow; the rounding to a
16-bit type alone takes most of that.`;

function groups(rows: readonly Row[]): Row[][] {
  const found = new Map<string, Row[]>();
  for (const row of rows) {
    const own = found.get(lineOf(row)) ?? [];
    found.set(lineOf(row), own);
    own.push(row);
  }
  return [...found.values()];
}

/** Rows of one line: an operation in one layout, a convolution on one variant; all element-wise operations. */
function lineOf({ group, operation, layout, kernel }: Row): string {
  const own = MERGED.includes(group) ? group : withoutActivation(operation);
  return [group, own, layout, group === 'convolutions' ? variantOf(kernel) : ''].join('|');
}

const withoutActivation = (operation: string): string => operation.replace(/, fused \w+$/, ', fused activations');

const MERGED: readonly string[] = ['element-wise operations', 'casts'];

function nameOf(rows: readonly Row[]): string {
  const { group, operation } = rows[0]!;
  if (!MERGED.includes(group)) return withoutActivation(operation);
  return `${new Set(rows.map((row) => row.operation)).size} ${group}`;
}

/** `phase, 7 kernels`: variants or families, and how many kernels of them ran. */
function kernelsOf(rows: readonly Row[]): string {
  const names = [...new Set(rows.flatMap(({ kernel }) => kernel ?? []))];
  const words = [...new Set(names.map(variantOf))].sort().join(' ');
  return names.length > 1 ? `${words}, ${names.length} kernels` : words;
}

/** The first word of the second zone of a kernel's name. */
function variantOf(kernel: string | null): string {
  return kernel?.split('__')[1]?.split('_')[0] ?? '';
}

function worst(rows: readonly Row[]): string {
  const shares = rows.flatMap(({ share }) => share ?? []);
  return shares.length === 0 ? '' : percent(Math.max(...shares));
}

function percent(share: number): string {
  return share > 0 && share < 0.005 ? '<1%' : Number.isFinite(share) ? `${Math.round(100 * share)}%` : 'wrong';
}

function mark(rows: readonly Row[]): string {
  if (rows.some(({ status }) => status === 'failed')) return 'FAILED';
  return rows.some(({ status }) => status === 'not compiled') ? 'not compiled' : 'ok';
}
