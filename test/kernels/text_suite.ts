/** Rendered CUDA texts that run on the host, in groups: compiled and run together, checked one by one. */

import { expect } from 'chai';
import { nameOf } from '../../codegen/kernel.js';
import { type Job, type JobResult, ORDERS, runOnHost } from './host_program.js';

/** One launch in both orders of threads. */
export interface TextCase {
  readonly title: string;
  readonly jobs: readonly Job[];
}

/** The launch that a result is of, for messages. */
export function whereOf({ title, jobs }: TextCase, i: number): string {
  return `${title}: ${nameOf(jobs[i]!.spec)}, threads ${jobs[i]!.order}`;
}

/** Declares one test a group, in the suite that calls it; no launch may leave its buffers or miss a barrier. */
export function testGroups<Case extends TextCase>(
  groups: Readonly<Record<string, () => Case[]>>,
  check: (each: Case, results: readonly JobResult[]) => void,
): Readonly<Record<string, readonly Case[]>> {
  const cases = Object.fromEntries(Object.entries(groups).map(([title, make]) => [title, make()]));
  const results = new Map<Case, JobResult[]>();

  before(async () => {
    const all = Object.values(cases).flat();
    const done = await runOnHost(
      all.flatMap((each) => each.jobs),
      2,
    );
    const orders = ORDERS.length;
    for (const [i, each] of all.entries()) results.set(each, done.slice(orders * i, orders * (i + 1)));
  });

  for (const [title, group] of Object.entries(cases)) {
    it(title, () => {
      for (const each of group) {
        const done = results.get(each)!;
        for (const [i, { damaged, missed }] of done.entries()) {
          expect(damaged, `${whereOf(each, i)}: bytes damaged`).equal(0);
          expect(missed, `${whereOf(each, i)}: threads missing at a barrier`).equal(0);
        }
        check(each, done);
      }
    });
  }
  return cases;
}
