/** `fracstride record`: runs a command and writes what kernels it asked for, as a list that `fracstride build` takes. */

import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { FracstrideError, show } from '../errors.js';
import { runInForeground } from '../processes.js';
import type { Session } from './session.js';
import type { Tools } from './tools.js';

interface Options {
  out: string;
}

export function addRecord(program: Command, session: Session, tools: Tools): void {
  program
    .command('record')
    .description('run a command and write the list of kernels that it needed')
    .argument('<command...>', 'a command that runs Node, after --')
    .option('--out <file>', 'where the list goes', 'kernels.txt')
    .passThroughOptions()
    .addHelpText('after', HELP)
    .action((words: string[], { out }: Options) => record(words, out, session, tools));
}

const HELP = `
The list has one problem or operation a line and is the same on every device: what a run on the CPU asks
for is what it needs on a GPU too. Child processes and worker threads are recorded with it. The exit code is
the command's own.

Example:
  fracstride record --out kernels.txt -- node train.js --epochs 1
  fracstride build kernels.txt --target sm_80,sm_90,ptx
  FRACSTRIDE_NO_JIT=1 node train.js`;

async function record(words: readonly string[], out: string, session: Session, { recorder }: Tools): Promise<void> {
  if (recorder === null) {
    throw new FracstrideError('ERR_ARGUMENT', 'record: the command must be run as npx fracstride, got another way');
  }
  const file = resolve(out);
  refuseUnwritable(file);
  const folder = fs.mkdtempSync(join(tmpdir(), 'fracstride-record-'));
  try {
    // Every process and thread of the run adds lines to a file of its own, so that none is lost when one is killed.
    const hook = `--import=${recorder}?${new URLSearchParams({ folder })}`;
    const options = [process.env.NODE_OPTIONS, hook].filter((each) => each !== undefined && each !== '').join(' ');
    const { code, error } = await runInForeground(words, { ...process.env, NODE_OPTIONS: options });
    if (error !== null) {
      throw new FracstrideError('ERR_ARGUMENT', `record: ${show(words[0])} must be a command, got ${error.message}`);
    }
    const { processes, items } = collected(folder);
    writeAtomically(file, items);
    session.endWith(code);
    if (processes === 0) {
      session.log(
        `fracstride: record: no Node process took part, so ${out} is empty; is the command one that runs Node?\n`,
      );
    } else if (items.length === 0) {
      session.log(`fracstride: record: no kernel was asked for, so ${out} is empty; does it use this installation?\n`);
    } else {
      session.log(`fracstride: ${items.length} kernels in ${out}; 'fracstride build ${out} --target …' builds them\n`);
    }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Told before a long run, not after it. */
function refuseUnwritable(file: string): void {
  try {
    fs.closeSync(fs.openSync(file, 'a'));
  } catch (cause) {
    const sentence = `record: --out must be a file that can be written, got ${(cause as Error).message}`;
    throw new FracstrideError('ERR_ARGUMENT', sentence, { cause });
  }
}

function collected(folder: string): { processes: number; items: string[] } {
  const files = fs.readdirSync(folder);
  // A process that is killed while it writes leaves half a line: only what ends in a newline counts.
  const lines = files.flatMap((name) => fs.readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1));
  return { processes: files.length, items: [...new Set(lines)].sort() };
}

function writeAtomically(file: string, items: readonly string[]): void {
  const temporary = `${file}.${process.pid}`;
  const header = '# What a run needed, for: fracstride build <this file> --target <targets>';
  fs.writeFileSync(temporary, `${[header, ...items].join('\n')}\n`);
  fs.renameSync(temporary, file);
}
