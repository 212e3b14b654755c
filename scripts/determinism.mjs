// Trains the example in several processes under the determinism contract and compares the hashes of what came of it:
// weights, buffers and optimiser state, bit for bit. On the CPU each process has another number of threads.
// Exits 1 when two hashes differ, or when a process fails or prints no hash.
// usage: node scripts/determinism.mjs [--device cuda] [--processes 2] [--steps 20] [--program file.js] [-- <its options>]

import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './inputs.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: 'string', default: 'cpu' },
    processes: { type: 'string', default: '2' },
    steps: { type: 'string', default: '20' },
    program: { type: 'string', default: resolve(root, 'examples/dist/hash.js') },
  },
});
const processes = Number(values.processes);
process.exitCode = main();

function main() {
  if (!Number.isSafeInteger(processes) || processes < 2)
    return fail(`--processes must be a whole number of at least 2, got '${values.processes}'`, 2);
  const hashes = [];
  for (let i = 0; i < processes; i++) {
    const threads = threadsOf(i);
    const hash = trained(threads);
    if (hash === null) return 1;
    hashes.push(hash);
    console.log(`process ${i + 1} on ${values.device}${threads ? `, ${threads} threads` : ''}: ${hash}`);
  }
  if (new Set(hashes).size > 1) return fail(`hashes of ${processes} processes must be equal, got ${hashes.join(', ')}`);
  console.log(`${processes} processes, ${values.steps} steps each: equal`);
  return 0;
}

/** 1, then all processors, then 3, 4 …: equal hashes show that the number of threads changes nothing. */
function threadsOf(i) {
  if (values.device !== 'cpu') return null;
  return i === 0 ? 1 : i === 1 ? Math.max(2, availableParallelism()) : i + 1;
}

function trained(threads) {
  const words = [resolve(values.program), '--device', values.device, '--steps', values.steps, ...positionals];
  const env = { ...process.env, ...(threads === null ? {} : { FRACSTRIDE_NUM_THREADS: String(threads) }) };
  const { status, signal, stdout } = spawnSync(process.execPath, words, {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  });
  const hash = stdout?.trim().split('\n').at(-1) ?? '';
  if (status === 0 && /^[0-9a-f]{64}$/.test(hash)) return hash;
  fail(`${words.join(' ')} must end with 0 and print a SHA-256, got ${signal ?? status} and '${hash}'`);
  return null;
}

function fail(sentence, code = 1) {
  console.error(`determinism: ${sentence}`);
  return code;
}
