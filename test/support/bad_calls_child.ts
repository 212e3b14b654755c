/**
 * `node --expose-gc bad_calls_child.js SEED COUNT NOTES`: calls public functions with hostile arguments until COUNT calls have been refused.
 * Prints one line of JSON; NOTES always holds the call at hand, for the parent to read when this process has died of it.
 */

import { writeFileSync } from 'node:fs';
import { ERROR_CODES, FracstrideError, memory, nn, tensor } from 'fracstride';
import { native } from '../../src/native.js';
import { CallbackError, draws, hostile } from './hostile.js';
import { publicTargets } from './surface.js';

const [seed, count] = process.argv.slice(2, 4).map(Number) as [number, number];
const notes = process.argv[4]!;
const LIMIT = 256 * 2 ** 20;

interface Report {
  calls: number;
  returned: number;
  refused: number;
  targets: number;
  codes: Record<string, number>;
  violations: string[];
  /** Bytes that were live before and after, and what a convolution gave at the end. */
  live: [number, number];
  sound: boolean;
}

const report: Report = {
  calls: 0,
  returned: 0,
  refused: 0,
  targets: 0,
  codes: {},
  violations: [],
  live: [0, 0],
  sound: false,
};

process.on('unhandledRejection', (error) => note(error, 'a rejection that nobody could catch'));
process.on('uncaughtException', (error) => note(error, 'an error outside of any call'));

async function main(): Promise<void> {
  native().setMemoryLimit(0, LIMIT);
  const d = draws(seed);
  await sound();
  report.live[0] = await settled(0);
  const targets = publicTargets();
  report.targets = targets.length;
  for (let i = 0; report.refused < count && i < 8 * count; i++) {
    const target = i < targets.length ? targets[i]! : d.pick(targets);
    const args = Array.from({ length: d.below(5) }, () => hostile(d));
    const text = `${target.name}(${args.map((a) => a.text).join(', ')})`;
    writeFileSync(notes, `seed ${seed} call ${i}: ${text}`);
    await attempt(() => target.call(args.map((a) => a.value)), text);
    if (i % 64 === 63) await settled(report.live[0], 1);
  }
  reset();
  report.sound = await sound();
  report.live[1] = await settled(report.live[0]);
  console.log(JSON.stringify(report));
}

async function attempt(call: () => unknown, text: string): Promise<void> {
  report.calls++;
  const started = Date.now();
  try {
    const result = call();
    if (result instanceof Promise) await result;
    report.returned++;
  } catch (error) {
    note(error, text);
  }
  const took = Date.now() - started;
  if (took > 30_000) report.violations.push(`${text} took ${took} ms`);
}

/** Calls that are in order but change how the package works. */
function reset(): void {
  native().setMemoryLimit(0, LIMIT);
}

function note(error: unknown, text: string): void {
  if (error instanceof CallbackError) return;
  report.refused++;
  if (error instanceof FracstrideError && (ERROR_CODES as readonly string[]).includes(error.code)) {
    report.codes[error.code] = (report.codes[error.code] ?? 0) + 1;
    if (isSentence(error.message)) return;
  }
  if (error instanceof TypeError && (isSentence(error.message) || /without 'new'/.test(error.message))) return;
  const shown =
    error instanceof Error ? (error.stack ?? error.message).split('\n').slice(0, 4).join(' ') : String(error);
  report.violations.push(`${text} threw ${shown}`);
}

/** `<where>: <what> must be <rule>, got <value>`. */
function isSentence(message: string): boolean {
  return message.length < 2000 && /^[^:]+: .* must .*/s.test(message) && !/\bundefined\b.*\bproperties\b/.test(message);
}

/** A transposed convolution whose result is known. */
async function sound(): Promise<boolean> {
  const x = tensor(
    [
      [
        [
          [1, 2],
          [3, 4],
        ],
      ],
    ],
    { device: 'cpu' },
  );
  const w = tensor(
    [
      [
        [
          [1, 10],
          [100, 1000],
        ],
      ],
    ],
    { device: 'cpu' },
  );
  const y = nn.functional.convTranspose2d(x, w, null, { stride: 2 });
  const values = [...(await y.data())];
  for (const t of [x, w, y]) t.dispose();
  const want = [1, 10, 2, 20, 100, 1000, 200, 2000, 3, 30, 4, 40, 300, 3000, 400, 4000];
  return JSON.stringify(values) === JSON.stringify(want);
}

/** Live bytes once what was forgotten has been collected: finalizers run after macrotasks. */
async function settled(wanted: number, rounds = 40): Promise<number> {
  for (let i = 0; i < rounds; i++) {
    (globalThis as { gc?: () => void }).gc!();
    await new Promise((resolve) => setTimeout(resolve, 2));
    if (memory().cpu!.live === wanted) break;
  }
  return memory().cpu!.live;
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
