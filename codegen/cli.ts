/**
 * The command `fracstride`: prints, decides nothing. One file a command group under cli/; each adds itself to the
 * program. src/bin.ts starts it. Exit codes: 0 ok, 1 failed, 2 usage, 3 stale, 4 a GPU was required and is absent, 5 a kernel failed to compile.
 */

import { Command, CommanderError } from 'commander';
import { addBuild } from './cli/build.js';
import { addCache } from './cli/cache.js';
import { addExplain } from './cli/explain.js';
import { addInspect } from './cli/inspect.js';
import { addList } from './cli/list.js';
import { packageVersion } from './cli/package.js';
import { addRecord } from './cli/record.js';
import { addRender } from './cli/render.js';
import { EXIT, exitCodeOf, Session } from './cli/session.js';
import { OWN_TOOLS, type Tools } from './cli/tools.js';

const GROUPS = [addList, addRender, addBuild, addExplain, addInspect, addRecord, addCache];

interface Surroundings {
  readonly session?: Session;
  readonly tools?: Tools;
}

/** Runs one command line (without node and script) and returns its exit code; everything it prints goes to `session`. */
export async function main(
  words: readonly string[],
  { session = new Session(), tools = OWN_TOOLS }: Surroundings = {},
) {
  try {
    await program(session, tools).parseAsync([...words], { from: 'user' });
    return session.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    session.fail(error, words.includes('--json'));
    return exitCodeOf(error);
  }
}

function program(session: Session, tools: Tools): Command {
  const command = new Command('fracstride')
    .description('Generates, compiles and inspects the kernels of transposed convolutions.')
    .version(packageVersion())
    .helpCommand(true)
    .enablePositionalOptions()
    .addHelpText('after', HELP);
  for (const add of [...GROUPS, ...tools.groups]) add(command, session, tools);
  for (const each of [command, ...command.commands, ...command.commands.flatMap((group) => group.commands)]) {
    each.exitOverride().configureOutput({
      writeOut: (text) => session.write(text),
      writeErr: (text) => session.log(text),
      outputError: (text, write) => write(oneSentence(text)),
    });
  }
  return command;
}

/** `error: unknown command 'x'` and the suggestion on the line after it, as one line. */
function oneSentence(text: string): string {
  return `fracstride: ${text
    .replace(/^error: /, '')
    .trim()
    .replace(/\s*\n\s*/g, ' ')}\n`;
}

const HELP = `
A problem is written like
  'convT2d n=16 c=256 k=128 h=8 w=8 r=4 stride=2 padding=1'
with outputPadding= dilation= groups= dtype= layout= pass= where they differ from the
default, pairs as 3x5, or as a JSON object with the same fields.

Examples:
  fracstride explain 'convT2d n=16 c=256 k=128 h=8 w=8 r=4 stride=2 padding=1'
  fracstride render  'convT2d n=16 c=256 k=128 h=8 w=8 r=4 stride=2 padding=1' --target sm_90
  fracstride build default --target sm_80,sm_90,ptx --jobs 8
  fracstride record -- node train.js
  fracstride cache ls

Exit codes: 0 ok, 1 failed, 2 usage, 3 stale (build --check), 4 a GPU was required and is
absent, 5 a kernel failed to compile.`;
