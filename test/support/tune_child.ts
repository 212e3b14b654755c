/** `tune_child.js PROBLEM [cuda] [deterministic]`: which kernel runs for a problem, in a process of its own. */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseProblem } from '../../codegen/problem_text.js';
import { operands } from '../../src/bench/measure.js';
import { resolveDevice } from '../../src/device.js';
import { useDeterministicAlgorithms } from '../../src/index.js';
import { lastKernel, runProblem } from '../../src/kernels.js';
import { scope } from '../../src/scope.js';

export interface TuneReport {
  readonly kernel: string;
}

const FILE = fileURLToPath(import.meta.url);

/** Runs this file as a program. */
export function report(words: readonly string[], env: NodeJS.ProcessEnv): Promise<TuneReport> {
  const child = spawn(process.execPath, [FILE, ...words], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve(JSON.parse(out) as TuneReport) : reject(new Error(`tune_child ended with ${code}\n${out}`)),
    );
  });
}

if (process.argv[1] === FILE) {
  const [, , problem, ...words] = process.argv;
  if (words.includes('deterministic')) useDeterministicAlgorithms(true);
  const device = resolveDevice('tune', words.includes('cuda') ? 'cuda' : 'cpu');
  scope(() => runProblem(device, parseProblem(problem!), operands(device.name, parseProblem(problem!)), 0));
  process.stdout.write(`${JSON.stringify({ kernel: lastKernel() })}\n`);
}
