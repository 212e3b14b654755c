/** `fracstride doctor`: what was found where on this machine, what is missing, and what to do about it. */

import type { Command } from 'commander';
import { EXIT, type Session } from '../../codegen/cli/session.js';
import { adviceFor, verdictFor } from '../doctor/advice.js';
import { type Facts, type Found, gatherFacts } from '../doctor/facts.js';

export function addDoctor(program: Command, session: Session): void {
  program
    .command('doctor')
    .description('what was found on this machine, what is missing, and the next step')
    .option('--json', 'JSON on stdout')
    .addHelpText('after', HELP)
    .action(({ json }: { json?: true }) => {
      const facts = gatherFacts();
      const advice = adviceFor(facts);
      const said = verdictFor(facts);
      if (facts.addon.reason !== null) session.endWith(EXIT.failed);
      if (json) session.json({ ...facts, advice, said });
      else session.line([...sections(facts), ...told(advice), said].join('\n'));
    });
}

const HELP = `
It changes nothing and runs no kernel; 'fracstride verify' does. The exit code is 1 where the addon
cannot be loaded, else 0: what is missing may not be needed.

Examples:
  fracstride doctor
  fracstride doctor --json > doctor.json`;

type Line = readonly [label: string, text: string];

function sections(facts: Facts): string[] {
  const { node, addon, driver, nvrtc, nvcc, cudnn, cache } = facts;
  const environment = Object.entries(facts.environment);
  return [
    ...section('Package', [
      ['fracstride', `${facts.package.version}, in ${facts.package.path}`],
      ['Node', `${node.version}, ${node.platform} ${node.architecture}`],
    ]),
    ...section('CPU', [
      ['model', facts.cpu],
      ['addon', addon.path ?? addon.reason ?? 'loaded'],
      ...(addon.reason === null
        ? ([
            ['instructions', `${addon.instructionSets.join(', ')}; the first is used`],
            ['threads', `${addon.threads}`],
          ] as const)
        : []),
      ...builtIn(facts, false),
    ]),
    ...section('CUDA', [
      ['driver', foundText(driver)],
      ...driver.devices.map(({ name, arch, totalMemory, multiprocessors }, i): Line => {
        const gigabytes = (totalMemory / 2 ** 30).toFixed(1);
        return [`cuda:${i}`, `${name}, sm_${arch}, ${multiprocessors} multiprocessors, ${gigabytes} GiB`];
      }),
      ...builtIn(facts, true),
      ['cuDNN', foundText(cudnn)],
    ]),
    ...section('Compilers for CUDA kernels', [
      ['NVRTC', `${foundText(nvrtc)}${range(nvrtc.architectures)}`],
      ['nvcc', foundText(nvcc)],
    ]),
    ...section('Kernel cache', [['folder', cache.path], ...cacheLines(cache)]),
    ...section('Environment', environment.length === 0 ? [['', 'none of the variables is set']] : environment),
  ];
}

function section(title: string, lines: readonly Line[]): string[] {
  const width = Math.max(...lines.map(([label]) => label.length));
  return [title, ...lines.map(([label, text]) => `  ${label === '' ? '' : `${label.padEnd(width)}  `}${text}`), ''];
}

function cacheLines({ exists, kernels, bytes, limit, reason, writable }: Facts['cache']): Line[] {
  const access = reason ?? (writable ? 'only this user can write to it' : 'it cannot be written to');
  if (exists)
    return [
      ['holds', `${kernels} kernels, ${mebibytes(bytes)} of at most ${mebibytes(limit)}`],
      ['access', access],
    ];
  return [
    ['holds', `nothing yet; it is made when a kernel is compiled${writable ? '' : ', which is not allowed here'}`],
  ];
}

function foundText({ path, version, reason }: Found): string {
  if (version === null) return `none: ${shortened(reason ?? '')}`;
  return path === null ? version : `${version}, ${path}`;
}

/** A reason without the system's many words for a file that is not there, and without advice: that is given below. */
function shortened(reason: string): string {
  return reason
    .replace(/; (install|set) .*$/, '')
    .replaceAll(/: cannot open shared object file: No such file or directory/g, ' is not there');
}

function range(architectures: readonly number[]): string {
  return architectures.length === 0 ? '' : `, for sm_${Math.min(...architectures)} to sm_${Math.max(...architectures)}`;
}

/** Kernels in the addon for the CPU, or for devices that are not. */
function builtIn({ builtIn: counts, addon }: Facts, others: boolean): Line[] {
  const own = Object.entries(counts).filter(([target]) => addon.instructionSets.includes(target) !== others);
  if (own.length === 0) return [];
  return [['built in', own.map(([target, count]) => `${count} kernels for ${target}`).join(', ')]];
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function told(advice: ReturnType<typeof adviceFor>): string[] {
  const title = { missing: 'What is missing', note: 'Good to know' } as const;
  return (['missing', 'note'] as const).flatMap((kind) => {
    const own = advice.filter((each) => each.kind === kind);
    if (own.length === 0) return [];
    return [title[kind], ...own.flatMap(({ what, means, next }) => [`  ${what} ${means}`, `    → ${next}`]), ''];
  });
}
