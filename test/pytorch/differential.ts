/**
 * `node dist/test/pytorch/differential.js [--runs N] [--seed N] [--length N] [--python FILE] [--verbose]`: random programs
 * of the tensor API against PyTorch (differential.py): values, gradients, shapes, and whether both refuse. Needs a Python
 * that has PyTorch 1.13 or newer, Debian's python3-torch for one.
 */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { scope } from 'fracstride';
import { type Outcome, type Program, randomProgram, type Shown } from './differential_programs.js';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    length: { type: 'string', default: '40' },
    python: { type: 'string', default: '/usr/bin/python3' },
    verbose: { type: 'boolean', default: false },
  },
});

/** Largest difference to the largest magnitude. Sums of rounded values differ by more than one rounding. */
const TOLERANCE = { float64: 1e-9, float32: 1e-4, float16: 3e-2, bfloat16: 2e-1 } as const;

/** What PyTorch refuses by accident, of 1.13 at least. */
const QUIRKS = /view size is not compatible|second time|select\(\): index 0|Invalid padding size/;

const script = fileURLToPath(new URL('../../../test/pytorch/differential.py', import.meta.url));
const python = spawn(values.python, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
const answers = createInterface({ input: python.stdout })[Symbol.asyncIterator]();

let failed = 0;
let steps = 0;
const first = Number(values.seed);
for (let seed = first; seed < first + Number(values.runs); seed++) {
  const program = scope(() => randomProgram(seed, Number(values.length)));
  python.stdin.write(`${JSON.stringify(program.steps)}\n`);
  const { value, done } = await answers.next();
  if (done === true) throw new Error(`${values.python} ended at seed ${seed}`);
  const expected = JSON.parse(value) as Outcome[];
  const found = program.steps.map((_, i) => difference(program, expected, i));
  const at = found.findIndex((what) => what !== null);
  steps += at < 0 ? found.length : at;
  if (at < 0 || found[at] === '') continue;
  failed++;
  if (values.verbose) for (let i = 0; i < at; i++) console.log(`  ${i} ${line(program, i)}`);
  console.log(`seed ${seed} (${program.dtype}), step ${at}: ${found[at]}\n  ${line(program, at)}`);
}
python.stdin.end();
console.log(`${values.runs} programs, ${steps} steps compared, ${failed} differ`);
process.exitCode = failed > 0 ? 1 : 0;

function line({ steps: list, outcomes }: Program, i: number): string {
  const { error, values: made } = outcomes[i]!;
  const shapes = JSON.stringify(made?.map((value) => value?.shape));
  return `${JSON.stringify(list[i]).slice(0, 300)} ${error ?? shapes}`;
}

/** What differs at a step, '' where nothing can be said from there on, null where nothing differs. */
function difference(program: Program, expected: readonly Outcome[], i: number): string | null {
  const [got, want] = [program.outcomes[i]!, expected[i]!];
  if (got.error !== undefined || want.error !== undefined) {
    if (got.error !== undefined && want.error !== undefined) return null;
    if (QUIRKS.test(want.error ?? '')) return '';
    return `refused by ${got.error === undefined ? 'PyTorch' : 'fracstride'} only: ${got.error ?? want.error}`;
  }
  const pairs = (want.values ?? []).map((value, k) => [got.values?.[k] ?? null, value] as const);
  for (const [a, b] of pairs) {
    if (a === null && b === null) continue;
    if (a === null || b === null) return `one has no tensor: ${JSON.stringify(a ?? b).slice(0, 200)}`;
    const found = compare(a, b, TOLERANCE[program.dtype]);
    if (found !== null) return found;
  }
  return null;
}

function compare(a: Shown, b: Shown, tolerance: number): string | null {
  if (String(a.shape) !== String(b.shape)) return `shape [${a.shape}] instead of [${b.shape}]`;
  // PyTorch says of some gradients of linear operations, and of views made in no_grad, that they depend on what they do not.
  if (a.grad && !b.grad) return `requiresGrad ${a.grad} instead of ${b.grad}`;
  let scale = 0;
  for (const v of b.data) if (typeof v === 'number') scale = Math.max(scale, Math.abs(v));
  // What padding multiplies by infinity is not defined; and large values have errors of their own.
  if (scale > (tolerance > 1e-9 ? 1e4 : 1e60)) return '';
  for (let i = 0; i < b.data.length; i++) {
    const [x, y] = [a.data[i]!, b.data[i]!];
    if (typeof x === 'string' || typeof y === 'string') return '';
    if (Math.abs(x - y) > tolerance * Math.max(scale, 1))
      return `element ${i} is ${x} instead of ${y} (scale ${scale})`;
  }
  return null;
}
