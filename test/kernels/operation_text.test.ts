/** The rendered CUDA kernels of the element-wise families, executed on the host as they stand, against the CPU's kernels. */

import { expect } from 'chai';
import { checkOutput, GROUPS } from './operation_check.js';
import { testGroups } from './text_suite.js';

describe('rendered CUDA kernels of operations on the host', function () {
  this.timeout(300_000);

  const cases = testGroups(GROUPS, (each, results) => {
    for (const [i, { output }] of results.entries()) checkOutput(each, output, `threads ${each.jobs[i]!.order}`);
  });

  it('come in more than ten cases a group', () => {
    for (const [title, group] of Object.entries(cases)) expect(group.length, title).greaterThan(10);
  });
});
