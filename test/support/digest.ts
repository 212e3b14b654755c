/** An adapter whose every output and gradient goes into one SHA-256: whether two runs agree bit for bit. */

import { createHash } from 'node:crypto';
import type { Adapter, Gradients, Result, SecondGradients } from './golden_check.js';

export function digesting(adapter: Adapter): { adapter: Adapter; digest(): string } {
  const hash = createHash('sha256');
  const note = (r: Result | null) => r && hash.update(Float64Array.from(r.data));
  const noted =
    <A, R>(fn: (a: A) => R | Promise<R>, parts: (r: R) => (Result | null)[]) =>
    async (a: A): Promise<R> => {
      const result = await fn(a);
      for (const part of parts(result)) note(part);
      return result;
    };
  const one = (y: Result) => [y];
  const first = (g: Gradients) => [g.gradInput, g.gradWeight, g.gradBias];
  const second = (g: SecondGradients) => [g.ggy, g.ggx, g.ggw];
  return {
    adapter: {
      convTranspose2d: noted(adapter.convTranspose2d, one),
      conv2d: noted(adapter.conv2d, one),
      convTranspose2dBackward: noted(adapter.convTranspose2dBackward, first),
      conv2dBackward: noted(adapter.conv2dBackward, first),
      convTranspose2dDoubleBackward: noted(adapter.convTranspose2dDoubleBackward, second),
      conv2dDoubleBackward: noted(adapter.conv2dDoubleBackward, second),
      module: noted(adapter.module, one),
    },
    digest: () => hash.digest('hex'),
  };
}
