/** A problem small enough to be simulated, whose kernels do what they do for the large one. */

import { flops } from '../codegen/passes.js';
import { makeProblem, type Problem } from '../codegen/problem.js';
import { formatProblem, parseProblem } from '../codegen/problem_text.js';

const MOST_MULTIPLY_ADDS = 6e6;
/** What is halved in this order while there is too much to do, and how small it may become. */
const LEAST: readonly (readonly [field: string, least: number])[] = [
  ['n', 1],
  ['h', 8],
  ['c', 128],
  ['k', 128],
  ['w', 16],
  ['h', 4],
  ['c', 64],
  ['k', 64],
];

/** Rows are cut before columns, which decide how neighbouring reads lie; depthwise channels go together. */
export function cutDown(problem: Problem): Problem {
  let fields = new Map(
    formatProblem(problem)
      .split(' ')
      .slice(1)
      .map((word) => word.split('=') as [string, string]),
  );
  const build = (from: ReadonlyMap<string, string>) =>
    parseProblem([problem.op, ...[...from].map(([key, value]) => `${key}=${value}`)].join(' '));
  const groups = problem.geometry.groups;
  for (const [field, least] of LEAST) {
    for (;;) {
      const value = Number(fields.get(field));
      if (flops(build(fields)) / 2 <= MOST_MULTIPLY_ADDS || value / 2 < least || value % 2 !== 0) break;
      if ((field === 'c' || field === 'k') && (value / 2) % groups !== 0) break;
      fields = new Map(fields).set(field, String(value / 2));
    }
  }
  return makeProblem(build(fields));
}
