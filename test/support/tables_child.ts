/**
 * Launches a kernel of this file that takes tables by value, on the CUDA device of this process; prints what it wrote
 * and how misuse is refused.
 */

import { native } from '../../src/native.js';

const addon = native();

/** A kernel `tables(P4, L3, i)`: two rows of three int64 that say what it was given. */
const PTX = `.version 7.0
.target sm_75
.address_size 64

.visible .entry tables(.param .align 8 .b8 at[32], .param .align 8 .b8 counts[24], .param .u32 which)
{
  .reg .b32 %r<2>;
  .reg .b64 %rd<9>;
  ld.param.u64 %rd1, [at];
  ld.param.u64 %rd2, [at+8];
  ld.param.u64 %rd3, [at+16];
  ld.param.u64 %rd4, [at+24];
  ld.param.u64 %rd5, [counts];
  ld.param.u64 %rd6, [counts+8];
  ld.param.u64 %rd7, [counts+16];
  ld.param.u32 %r1, [which];
  cvt.u64.u32 %rd8, %r1;
  st.global.u64 [%rd1], %rd5;
  st.global.u64 [%rd1+8], %rd6;
  st.global.u64 [%rd1+16], %rd7;
  st.global.u64 [%rd2], %rd3;
  st.global.u64 [%rd2+8], %rd4;
  st.global.u64 [%rd2+16], %rd8;
  ret;
}
`;

const [first, second] = [addon.alloc(1, 32), addon.alloc(1, 24)];

function load(kinds: string): number {
  return addon.load(1, 'tables', kinds, new TextEncoder().encode(PTX));
}

const kernel = load('P4L3i');

function launch(...slots: number[]): void {
  addon.args.set(slots);
  addon.launch(1, kernel);
}

function read(handle: number, byteOffset: number): number[] {
  const words = new BigInt64Array(3);
  addon.copyOut(1, handle, byteOffset, words);
  return [...words].map(Number);
}

function refusal(call: () => unknown): string {
  try {
    call();
    return 'not refused';
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return `${code} ${message}`;
  }
}

const pointers = [first, 8, 24, second, 0, 24];
// What an earlier launch left in a table must not be seen by a later one.
launch(3, ...pointers, first, 0, 32, 3, 11, 12, 13, 6);
launch(2, ...pointers, 2, -5, 2 ** 40, 7);
const written = [read(first, 8), read(second, 0)];
launch(3, ...pointers, 0, 0, 0, 0, 9);
const nulls = [read(first, 8), read(second, 0)];

console.log(
  JSON.stringify({
    written,
    nulls,
    tooMany: refusal(() => launch(5, ...pointers, ...pointers, ...pointers)),
    tooManyCounts: refusal(() => launch(2, ...pointers, 4, 1, 2, 3, 4, 7)),
    dead: refusal(() => launch(2, first, 8, 24, 12345, 0, 24, 0, 7)),
    outside: refusal(() => launch(2, first, 16, 24, second, 0, 24, 0, 7)),
    fraction: refusal(() => launch(2, ...pointers, 1, 0.5, 7)),
    kinds: ['P', 'P0', 'P513', 'L4P509', 'L-1', 'Pi', 'x', 'i'.repeat(129)].map((kinds) => refusal(() => load(kinds))),
  }),
);
