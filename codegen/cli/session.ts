/** Where a command prints, and the exit code it leaves: results on stdout, everything else on stderr. */

import { type ErrorCode, FracstrideError } from '../errors.js';

export const EXIT = { ok: 0, failed: 1, usage: 2, stale: 3, noGpu: 4, compile: 5 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

type Sink = (text: string) => void;

export class Session {
  exitCode: number = EXIT.ok;
  /** Results. */
  readonly write: Sink;
  /** Progress, warnings and errors. */
  readonly log: Sink;
  /** Whether `log` goes to a terminal, where a line may be drawn over. */
  readonly interactive: boolean;

  constructor(
    sinks: { write: Sink; log: Sink; interactive: boolean } = {
      write: (text) => process.stdout.write(text),
      log: (text) => process.stderr.write(text),
      interactive: process.stderr.isTTY === true,
    },
  ) {
    this.write = sinks.write;
    this.log = sinks.log;
    this.interactive = sinks.interactive;
  }

  /** Ends with the exit code of a command that was run. */
  endWith(code: number): void {
    this.exitCode = code;
  }

  line(text: string): void {
    this.write(`${text}\n`);
  }

  json(value: unknown): void {
    this.write(`${JSON.stringify(value, null, 2)}\n`);
  }

  /** One sentence on stderr; with --json the same as an object on stdout. */
  fail(error: unknown, json: boolean): void {
    const message = error instanceof Error ? error.message : String(error);
    this.log(`fracstride: ${message}\n`);
    if (json) this.json({ error: { code: error instanceof FracstrideError ? error.code : null, message } });
  }
}

const CODES: Partial<Record<ErrorCode, ExitCode>> = {
  ERR_ARGUMENT: EXIT.usage,
  ERR_SHAPE: EXIT.usage,
  ERR_DTYPE: EXIT.usage,
  ERR_DEVICE_UNAVAILABLE: EXIT.noGpu,
  ERR_KERNEL_COMPILE: EXIT.compile,
};

export function exitCodeOf(error: unknown): ExitCode {
  return (error instanceof FracstrideError ? CODES[error.code] : undefined) ?? EXIT.failed;
}
