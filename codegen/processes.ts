/** Other programs: run to their end, or in the foreground in this one's place. The only file that starts processes. */

import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { constants } from 'node:os';
import { promisify } from 'node:util';

export interface Ran {
  readonly stdout: string;
  readonly stderr: string;
}

const LARGEST_OUTPUT = 1 << 26;
const runFile = promisify(execFile);

/** What runs, by the folder it runs in. */
const running = new Map<ChildProcess, string>();

/** Runs a program in a folder; rejects with an Error that has what it wrote as `stdout` and `stderr` when it fails. */
export async function run(path: string, words: readonly string[], folder: string): Promise<Ran> {
  const ran = runFile(path, [...words], { maxBuffer: LARGEST_OUTPUT, cwd: folder });
  running.set(ran.child, folder);
  try {
    return await ran;
  } finally {
    running.delete(ran.child);
  }
}

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Does `work`; a signal that ends this process meanwhile ends what `run` has started, too, and then leaves each's folder. */
export async function untilSignal<R>(work: () => Promise<R>, leave: (folder: string) => void): Promise<R> {
  const stop = () => {
    for (const name of ENDING) process.off(name, end);
  };
  const end = (signal: NodeJS.Signals) => {
    for (const child of running.keys()) child.kill(signal);
    for (const folder of running.values()) leave(folder);
    stop();
    process.kill(process.pid, signal);
  };
  for (const name of ENDING) process.on(name, end);
  try {
    return await work();
  } finally {
    stop();
  }
}

/** The same, waiting for it. */
export function runSync(path: string, words: readonly string[], folder: string): Ran {
  const options = { maxBuffer: LARGEST_OUTPUT, cwd: folder, encoding: 'utf8' } as const;
  const { stdout, stderr, error, status, signal } = spawnSync(path, [...words], options);
  if (error === undefined && status === 0) return { stdout, stderr };
  const why = error ?? new Error(`${path} ended with ${signal ?? `exit code ${status}`}`);
  throw Object.assign(why, { stdout: stdout ?? '', stderr: stderr ?? '' });
}

/**
 * Runs a command with this process's streams; returns its exit code, 128 + n for signal n, 127 where it cannot be
 * started. Ctrl-C reaches both, and only the command decides about it; other signals are passed on.
 */
export function runInForeground(
  words: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Promise<{ code: number; error: Error | null }> {
  const [path = '', ...rest] = words;
  return new Promise((resolve) => {
    const child = spawn(path, rest, { stdio: 'inherit', env: environment as NodeJS.ProcessEnv });
    const pass = (signal: NodeJS.Signals) => child.kill(signal);
    const stay = () => {};
    process.on('SIGINT', stay).on('SIGTERM', pass).on('SIGHUP', pass);
    const end = (code: number, error: Error | null) => {
      process.off('SIGINT', stay).off('SIGTERM', pass).off('SIGHUP', pass);
      resolve({ code, error });
    };
    child.on('error', (error) => end(127, error));
    child.on('close', (code, signal) => end(code ?? 128 + (signal === null ? 0 : constants.signals[signal]), null));
  });
}
