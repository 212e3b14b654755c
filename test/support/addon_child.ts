/**
 * `node addon_child.js SEED COUNT`: calls every function of the addon with hostile arguments, and launches every kernel
 * with random buffers and sizes. Prints one line of JSON; what it must not do is die.
 */

import { ERROR_CODES } from '../../codegen/errors.js';
import { OPERATIONS, operationArguments, operationKernel } from '../../codegen/operations.js';
import type { Arg } from '../../codegen/passes.js';
import { parseKernelName, specArguments } from '../../codegen/spec.js';
import { native } from '../../src/native.js';
import { choices } from './choices.js';
import { isas } from './kernels.js';

const LIMIT = 64 * 2 ** 20;
const [seed, count] = process.argv.slice(2, 4).map(Number) as [number, number];
const addon = native();
const report = { refused: 0, returned: 0, launched: 0, violations: [] as string[] };

const { below, pick } = choices(seed);
const promises: Promise<unknown>[] = [];

const detached = new Float32Array(4);
structuredClone(detached.buffer, { transfer: [detached.buffer] });
const buffers: number[] = [];
const kernels = new Map<number, readonly Arg[]>();

/** Values that no verb expects, and some that one does. */
function hostile(): unknown {
  return pick([
    () => below(5),
    () => pick(buffers),
    () => pick([...kernels.keys()]),
    () => pick([-1, -0, 0.5, Number.NaN, Infinity, -Infinity, 2 ** 31, 2 ** 32, 2 ** 53, 1e300, 5e-324]),
    () => pick([undefined, null, true, '', 'add_f32__pointwise__avx2', 10n, Symbol('s'), () => 0, {}, [], new Date(0)]),
    () => new Float32Array(below(100)),
    () => new Uint8Array(new SharedArrayBuffer(below(64))),
    () => new DataView(new ArrayBuffer(16), below(8)),
    () => pick([detached, new ArrayBuffer(8), new BigInt64Array(2), new Uint8ClampedArray(3)]),
    () => ({ valueOf: () => 1, byteLength: 1e9, buffer: null }),
    () => 'x'.repeat(below(2000)),
  ])();
}

function attempt(text: string, call: () => unknown): boolean {
  try {
    const result = call();
    // What was launched before may have failed, and a read is told.
    if (result instanceof Promise) promises.push(result.catch((error: unknown) => judge(text, error)));
    report.returned++;
    return true;
  } catch (error) {
    report.refused++;
    judge(text, error);
    return false;
  }
}

function judge(text: string, error: unknown): void {
  const { code, message } = error as { code?: string; message?: string };
  const known = error instanceof Error && (ERROR_CODES as readonly string[]).includes(code ?? '');
  if (!known || !/^\w+: .+ must .+, got /s.test(message ?? '')) report.violations.push(`${text}: ${code} ${message}`);
}

const verbs = Object.entries(addon as unknown as Record<string, unknown>).filter(
  (entry): entry is [string, (...args: unknown[]) => unknown] => typeof entry[1] === 'function',
);

function callVerb(): void {
  const [name, verb] = pick(verbs);
  const args = Array.from({ length: below(10) }, hostile);
  if (below(2) === 0) args[0] = 0;
  attempt(name, () => verb(...args));
  if (name === 'setMemoryLimit') addon.setMemoryLimit(0, LIMIT);
  if (name === 'setThreads') addon.setThreads(2);
  if (name === 'debugMemory') addon.debugMemory(true);
}

/** Mostly sizes that could be meant, now and then one that could not. */
function launchKernel(): void {
  const [kernel, args] = pick([...kernels]);
  let slot = 0;
  for (const arg of args) {
    if (arg.kind === 'p') {
      const offset = pick([0, 0, 0, 0, 8, 16, 3, -8, 1e9]);
      addon.args.set(
        [below(20) === 0 ? pick([0, 1, 1e15]) : pick(buffers), offset, pick([0, 64, 4000, 4000, 4000, 4096])],
        slot,
      );
      slot += 3;
    } else {
      const size = below(40) === 0 ? pick([-1, 1e6, 2 ** 31, 2 ** 52, 0.5, Number.NaN, Infinity]) : below(5);
      addon.args[slot++] = arg.kind === 'd' ? pick([0, 1, -2.5, 1e300, Number.NaN]) : size;
    }
  }
  if (attempt(`kernel ${kernel}`, () => addon.launch(0, kernel))) report.launched++;
}

addon.setMemoryLimit(0, LIMIT);
addon.debugMemory(true);
for (let i = 0; i < 12; i++) buffers.push(addon.alloc(0, 4096));
const names = new Set(addon.kernelNames(0));
for (const isa of isas()) {
  for (const { name, types, group, only } of OPERATIONS.values()) {
    for (const type of group === undefined && only !== 'cuda' ? types : []) {
      const args = operationArguments(name);
      const kinds = args.map((arg) => arg.kind).join('');
      kernels.set(addon.load(0, operationKernel(name, type, isa), kinds, null), args);
    }
  }
}
for (const name of names) {
  if (!name.startsWith('ct2d_')) continue;
  const args = specArguments(parseKernelName(name));
  kernels.set(addon.load(0, name, args.map((arg) => arg.kind).join(''), null), args);
}
for (let i = 0; i < count; i++) {
  if (i % 2 === 0) callVerb();
  else launchKernel();
  // A call may have released a buffer; now and then there is a new one.
  if (i % 16 === 0) {
    addon.free(0, buffers.shift()!);
    buffers.push(addon.alloc(0, 4096));
  }
}
// What the last calls left behind is told to the first that waits.
attempt('sync', () => addon.sync(0));
await Promise.all(promises);
const damaged = addon.checkGuards();
if (damaged > 0) report.violations.push(`${damaged} guard zones were overwritten`);
console.log(JSON.stringify(report));
