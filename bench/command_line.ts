/**
 * Command lines of the programs of this folder: `--help`, and for what is no option or no value of one a sentence on
 * stderr and exit code 2, as `fracstride` itself answers.
 */

import { Command, InvalidArgumentError, Option } from 'commander';
import { EXIT } from '../codegen/cli/session.js';
import { parseProblem } from '../codegen/problem_text.js';
import { BENCH_LAYERS } from '../src/bench/layers.js';
import { parsePattern, upTo } from '../src/cli/values.js';

/** An option; one without `value` is a switch. */
interface Row {
  readonly about: string;
  /** How help names its value, e.g. `<list>`. */
  readonly value?: string;
  readonly default?: string;
  /** @throws InvalidArgumentError where a text is no value */
  readonly check?: (text: string) => unknown;
}

/** Texts as they were given, switches as true. */
export type Flags<Rows> = {
  readonly [Name in keyof Rows]: Rows[Name] extends { default: string }
    ? string
    : Rows[Name] extends { value: string }
      ? string | undefined
      : true | undefined;
};

/** Reads the command line of a program, or ends the process. */
export function commandLine<const Rows extends Readonly<Record<string, Row>>>(name: string, rows: Rows): Flags<Rows> {
  return parse(new Command(name), rows).opts() as Flags<Rows>;
}

/** The same of a program that takes problems in place of the layers, each under its text for a name. */
export function layersCommandLine<const Rows extends Readonly<Record<string, Row>>>(name: string, rows: Rows) {
  const command = new Command(name).argument('[problems...]', 'problems in place of the layers', addProblem);
  const { args } = parse(command, rows);
  const layers: Readonly<Record<string, string>> = Object.fromEntries(args.map((text) => [text, text]));
  return { asked: command.opts() as Flags<Rows>, layers: args.length > 0 ? layers : BENCH_LAYERS };
}

function parse(command: Command, rows: Readonly<Record<string, Row>>): Command {
  const name = command.name();
  command.allowExcessArguments(false).exitOverride();
  command.configureOutput({ outputError: (text, write) => write(text.replace(/^error:/, `${name}:`)) });
  for (const [flag, row] of Object.entries(rows)) {
    const option = new Option(row.value ? `--${flag} ${row.value}` : `--${flag}`, row.about);
    if (row.default !== undefined) option.default(row.default);
    const { check } = row;
    if (check)
      option.argParser((text) => {
        check(text);
        return text;
      });
    command.addOption(option);
  }
  try {
    return command.parse(process.argv);
  } catch (error) {
    process.exit((error as { exitCode: number }).exitCode === 0 ? EXIT.ok : EXIT.usage);
  }
}

/** What a row may check its value with. */
export const isCount = upTo(1_000_000);
const areCounts = (text: string): unknown => text.split(',').map(isCount);

/** A problem that is named, behind those before it. */
function addProblem(text: string, before: readonly string[] = []): string[] {
  try {
    parseProblem(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
  return [...before, text];
}

export function areWords(choices: readonly string[]): (text: string) => void {
  return (text) => {
    const wrong = text.split(',').find((word) => !choices.includes(word));
    if (wrong !== undefined)
      throw new InvalidArgumentError(`Its words must be of ${choices.join(', ')}, got "${wrong}".`);
  };
}

/** Options that several programs have. */
export const STORE = { about: 'add the rows to bench/results' } as const;
export const LAYER = {
  about: 'only layers whose name matches this regular expression',
  value: '<pattern>',
  default: '',
  check: parsePattern,
} as const;
export const THREADS = {
  about: 'numbers of CPU threads, separated by commas',
  value: '<list>',
  default: '1,2',
  check: areCounts,
} as const;
