/**
 * Philox4x32-10 with integers of any size, from its paper (Salmon, Moraes, Dror, Shaw, SC 2011), so that it shares
 * nothing with the kernels; `philoxBlock` is checked against the authors' known answers in addon_philox.test.ts.
 */

const MASK = 0xffffffffn;

/** The four words of one counter (four words) under one key (two words). */
export function philoxBlock(counter: readonly number[], key: readonly number[]): number[] {
  let [c0, c1, c2, c3] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key.map(BigInt) as [bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const a = 0xd2511f53n * c0;
    const b = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [(b >> 32n) ^ c1 ^ k0, b & MASK, (a >> 32n) ^ c3 ^ k1, a & MASK];
    k0 = (k0 + 0x9e3779b9n) & MASK;
    k1 = (k1 + 0xbb67ae85n) & MASK;
  }
  return [c0, c1, c2, c3].map(Number);
}

/** The words of a 64-bit counter, with a third counter word, under a 64-bit seed. */
export function philox(seed: number, counter: number, third: number): number[] {
  const words = (v: number) => [v % 2 ** 32, Math.floor(v / 2 ** 32)];
  return philoxBlock([...words(counter), third, 0], words(seed));
}
