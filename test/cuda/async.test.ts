/** Reads that are not waited for, on a device whose streams run by themselves. */

import { expect } from 'chai';
import { describeCuda, simulatedReport } from '../support/simulated.js';

describeCuda('cuda: work of several threads', function () {
  this.timeout(240_000);

  it('does not mix, and ends with a worker that is terminated while reads are pending', async () => {
    const report = await simulatedReport({ program: 'async_workers_child', args: ['cuda', '16'] });
    expect(report).deep.equals({ wrong: [0, 0, 0], left: 0, after: [1, 2] });
  });
});
