/** The command as a user runs it: children of their own, since a process opens each library once. */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const BIN = fileURLToPath(new URL('../../src/bin.js', import.meta.url));

export interface Told {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface Child {
  /** Variables that are set, or with undefined taken away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** A module that is loaded before the command. */
  readonly preload?: string;
}

/** The environment of this process without what says which libraries and devices to take. */
export function plainEnvironment(more: Child['env'] = {}): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^(FRACSTRIDE_|CUDA_|CUDNN_)/.test(name));
  const changed = { ...Object.fromEntries(own), ...more };
  return Object.fromEntries(Object.entries(changed).filter(([, value]) => value !== undefined)) as NodeJS.ProcessEnv;
}

/** Runs `fracstride …words` to its end. */
export function fracstride(words: readonly string[], { env = {}, preload }: Child = {}): Promise<Told> {
  const node = preload === undefined ? [] : [`--import=data:text/javascript,${encodeURIComponent(preload)}`];
  const child = spawn(process.execPath, [...node, BIN, ...words], {
    env: plainEnvironment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err }));
  });
}
