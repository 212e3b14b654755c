/** `fracstride explain`: what the catalogue has for a problem, and why each candidate is taken or refused. */

import type { Command } from 'commander';
import { bytes, flops } from '../passes.js';
import { contraction } from '../problem.js';
import { formatProblem, parseProblem } from '../problem_text.js';
import { candidates, choose, kernelName, type LibraryUse } from '../spec.js';
import { type Target, targetFlag } from '../target.js';
import { targetOption } from './arguments.js';
import type { Session } from './session.js';
import { table } from './table.js';
import type { Tools } from './tools.js';

interface Options {
  target: Target;
  json?: true;
}

export function addExplain(program: Command, session: Session, { library }: Tools): void {
  program
    .command('explain')
    .description('the candidates for a problem: the cost of each, or the reason it is refused')
    .argument('<problem...>', 'a problem')
    .addOption(targetOption())
    .option('--json', 'JSON on stdout')
    .addHelpText('after', HELP)
    .action((words: string[], { target, json }: Options) => {
      const told = explanation(words.join(' '), target, library());
      if (json) session.json(told);
      else session.line(print(told));
    });
}

const HELP = `
Costs are an estimate that only orders the candidates of one problem; the cheapest is taken.

Example:
  fracstride explain 'convT2d n=16 c=256 k=128 h=8 w=8 r=4 stride=2 padding=1' --target sm_90`;

type Explanation = ReturnType<typeof explanation>;

function explanation(text: string, target: Target, library: LibraryUse) {
  const problem = parseProblem(text);
  const chosen = kernelName(choose(problem, target, library));
  return {
    problem: formatProblem(problem),
    target: targetFlag(target),
    contraction: contraction(problem.op, problem.pass),
    flops: flops(problem),
    bytes: bytes(problem),
    chosen,
    candidates: candidates(problem, target, library).map(({ variant, tunables, spec, cost, reason }) => {
      const kernel = spec === null ? null : kernelName(spec);
      return { variant, tunables, kernel, cost, reason, chosen: kernel === chosen };
    }),
  };
}

function print(told: Explanation): string {
  const rows = told.candidates.map(({ variant, tunables, kernel, cost, reason, chosen }) => {
    const settings = Object.entries(tunables).map(([name, value]) => `${name}=${value}`);
    const verdict = kernel === null ? `refused: ${reason}` : kernel;
    return [chosen ? '*' : '', [variant, ...settings].join(' '), cost === null ? '' : cost.toPrecision(4), verdict];
  });
  return [
    `${told.problem} on ${told.target}`,
    `${told.contraction}, ${told.flops.toExponential(2)} FLOP, at least ${told.bytes.toExponential(2)} bytes`,
    '',
    table(['', 'variant', told.target.startsWith('cpu') ? 'cost' : 'µs, modelled', 'kernel'], rows),
  ].join('\n');
}
