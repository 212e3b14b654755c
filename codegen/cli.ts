#!/usr/bin/env node
/**
 * The command `fracstride`: prints, decides nothing. One file a command group under cli/; each adds itself to the
 * program. Exit codes: 0 ok, 1 failed, 2 usage, 3 stale, 4 a GPU was required and is absent, 5 a kernel failed to compile.
 */

import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError } from 'commander';
import { addBuild } from './cli/build.js';
import { addCache } from './cli/cache.js';
import { addExplain } from './cli/explain.js';
import { addInspect } from './cli/inspect.js';
import { addList } from './cli/list.js';
import { packageVersion } from './cli/package.js';
import { addRender } from './cli/render.js';
import { EXIT, exitCodeOf, Session } from './cli/session.js';

const GROUPS = [addList, addRender, addBuild, addExplain, addInspect, addCache];

/** Runs one command line (without node and script) and returns its exit code; everything it prints goes to `session`. */
export async function main(words: readonly string[], session: Session = new Session()): Promise<number> {
  try {
    await program(session).parseAsync([...words], { from: 'user' });
    return session.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    session.fail(error, words.includes('--json'));
    return exitCodeOf(error);
  }
}

function program(session: Session): Command {
  const command = new Command('fracstride')
    .description('Generates, compiles and inspects the kernels of transposed convolutions.')
    .version(packageVersion())
    .helpCommand(true)
    .addHelpText('after', HELP);
  for (const add of GROUPS) add(command, session);
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
  fracstride cache ls

Exit codes: 0 ok, 1 failed, 2 usage, 3 stale (build --check), 4 a GPU was required and is
absent, 5 a kernel failed to compile.`;

/** True when this file is what was started, also through a link of node_modules/.bin. */
function isMain(): boolean {
  const started = process.argv[1];
  if (started === undefined) return false;
  try {
    return realpathSync(started) === fileURLToPath(import.meta.url);
  } catch {
    return false;
  }
}

if (isMain()) {
  // A reader that has seen enough (`| head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  void main(process.argv.slice(2)).then((code) => {
    process.exitCode = code;
  });
}
