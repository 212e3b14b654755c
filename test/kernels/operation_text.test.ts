/** The rendered CUDA kernels of the element-wise families, executed on the host as they stand, against the CPU's kernels. */

import { expect } from 'chai';
import { nameOf } from '../../codegen/kernel.js';
import { type JobResult, runOnHost } from './host_program.js';
import type { OperationCase } from './operation_cases.js';
import { checkOutput, GROUPS } from './operation_check.js';

function check(each: OperationCase, results: readonly JobResult[]): void {
  for (const [i, { damaged, missed, output }] of results.entries()) {
    const how = `threads ${each.jobs[i]!.order}`;
    const where = `${each.title}: ${nameOf(each.spec)}, ${how}`;
    expect(damaged, `${where}: bytes damaged`).equal(0);
    expect(missed, `${where}: threads missing at a barrier`).equal(0);
    checkOutput(each, output, how);
  }
}

describe('rendered CUDA kernels of operations on the host', function () {
  this.timeout(300_000);
  const cases = Object.fromEntries(Object.entries(GROUPS).map(([title, make]) => [title, make()]));
  const results = new Map<OperationCase, JobResult[]>();

  before(async () => {
    const all = Object.values(cases).flat();
    const done = await runOnHost(
      all.flatMap((each) => each.jobs),
      2,
    );
    for (const [i, each] of all.entries()) results.set(each, done.slice(2 * i, 2 * i + 2));
  });

  for (const title of Object.keys(GROUPS)) {
    it(title, () => {
      expect(cases[title]!.length).greaterThan(10);
      for (const each of cases[title]!) check(each, results.get(each)!);
    });
  }
});
