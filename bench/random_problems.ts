/** Problems nobody tuned for: random ones of small to middling size, the same for the same seed. */

import { manualSeed, rand, scope } from 'fracstride';
import { flops } from '../codegen/passes.js';
import type { Layout, Problem } from '../codegen/problem.js';
import { parseProblem } from '../codegen/problem_text.js';

/** Multiply-adds times two, and elements of a tensor, at most. */
const MOST_FLOPS = 3e9;
const MOST_ELEMENTS = 2e7;

export function randomProblems(count: number, seed: number, layout: Layout): Problem[] {
  return scope(() => {
    manualSeed(seed);
    const found: Problem[] = [];
    while (found.length < count) {
      const problem = randomProblem(layout);
      if (problem !== null) found.push(problem);
    }
    return found;
  });
}

/** Null where what was drawn does not exist or is too large. */
function randomProblem(layout: Layout): Problem | null {
  const of = <V>(...values: readonly V[]): V => values[Math.floor(rand([], { device: 'cpu' }).item() * values.length)]!;
  const [op, pass] = [of('convT2d', 'conv2d'), of('fwd', 'dgrad', 'wgrad')];
  const [n, size] = [of(1, 4, 16, 64), of(1, 2, 4, 7, 8, 14, 16, 32, 64)];
  const [c, k] = [of(1, 3, 8, 16, 32, 64, 128, 256, 512), of(1, 3, 8, 16, 32, 64, 128, 256)];
  const [r, stride] = [of(1, 2, 3, 4, 5, 7), of(1, 2, 2, 3)];
  const padding = of(0, Math.floor((r - 1) / 2), Math.max(0, Math.floor((r - stride) / 2)));
  const room = op === 'conv2d' ? size + 2 * padding - r : (size - 1) * stride + r - 2 * padding - 1;
  if (room < 0) return null;
  const shape = `n=${n} c=${c} k=${k} h=${size} w=${size} r=${r} stride=${stride} padding=${padding}`;
  const problem = parseProblem(`${op} ${shape} pass=${pass} layout=${layout}`);
  const { cs, cl, hs, ws, hl, wl } = problem.geometry;
  const elements = n * Math.max(cs * hs * ws, cl * hl * wl);
  return flops(problem) <= MOST_FLOPS && elements <= MOST_ELEMENTS ? problem : null;
}
