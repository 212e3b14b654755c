// Runs a program under NVIDIA's compute-sanitizer, once with each tool, and believes only what it says: every run must
// end with 0 AND with a line `ERROR SUMMARY: 0 errors` (racecheck: `RACECHECK SUMMARY: 0 hazards displayed (0 errors,
// 0 warnings)`) from it. A sanitizer that could not attach also ends with 0.
// usage: node scripts/compute_sanitizer.mjs [--tools memcheck,racecheck,initcheck] [--logs folder] [-- command …]
// Without a command it is a few steps of training on the GPU, forward and backward in each float type.
// COMPUTE_SANITIZER names the program.

import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './inputs.mjs';

const TOOLS = ['memcheck', 'racecheck', 'initcheck', 'synccheck'];
const SMALL = [process.execPath, join(root, 'scripts/small_program.mjs')];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tools: { type: 'string', default: 'memcheck,racecheck,initcheck' },
    logs: { type: 'string' },
  },
});
const program = process.env.COMPUTE_SANITIZER ?? 'compute-sanitizer';
const command = positionals.length > 0 ? positionals : SMALL;
process.exitCode = main();

function main() {
  const tools = values.tools.split(',');
  const unknown = tools.filter((tool) => !TOOLS.includes(tool));
  if (unknown.length > 0) {
    console.error(`compute_sanitizer: --tools must be some of ${TOOLS.join(', ')}, got ${unknown.join(', ')}`);
    return 2;
  }
  const sentences = tools.map((tool) => ({ tool, wrong: check(tool) }));
  for (const { tool, wrong } of sentences) console.log(`${tool}: ${wrong ?? 'clean'}`);
  return sentences.every(({ wrong }) => wrong === null) ? 0 : 1;
}

/** What is wrong with a run, or null when it is clean beyond doubt. */
function check(tool) {
  const words = ['--tool', tool, '--error-exitcode', '86', '--target-processes', 'all', ...command];
  console.log(`\n== ${program} ${words.join(' ')}`);
  const { status, signal, error, stdout, stderr } = spawnSync(program, words, {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, FRACSTRIDE_DEVICE: 'cuda' },
  });
  if (error !== undefined) return `${program} must be startable, got ${error.message}`;
  const text = `${stdout}${stderr}`;
  process.stdout.write(text);
  keep(tool, text);
  if (status !== 0) return `it must end with 0, got ${signal ?? status}`;
  const summaries = summariesOf(text);
  if (summaries.length === 0) return 'it must print its summary, got none (did it attach to the program?)';
  const bad = summaries.filter(({ clean }) => !clean);
  return bad.length === 0 ? null : `its summary must be clean, got '${bad[0].line}'`;
}

/** One for each process that was watched. */
function summariesOf(text) {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.flatMap((line) => {
    const found = /^=+ (ERROR|RACECHECK|LEAK) SUMMARY: (.*)$/.exec(line);
    if (found === null) return [];
    const clean = found[1] === 'RACECHECK' ? /^0 hazards displayed \(0 errors, 0 warnings\)/ : /^0 errors\b/;
    return [{ line, clean: clean.test(found[2]) }];
  });
}

function keep(tool, text) {
  if (values.logs === undefined) return;
  mkdirSync(resolve(values.logs), { recursive: true });
  writeFileSync(resolve(values.logs, `${tool}.log`), text);
}
