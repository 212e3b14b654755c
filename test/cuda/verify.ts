/**
 * `npm run test:verify`: `fracstride verify --require-cuda` on the simulator, every operation, type and layout on every
 * variant of the catalogue. Hundreds of kernels are compiled for it, so it is not among the tests of `npm test`.
 */

import { expect } from 'chai';
import { fracstride } from '../cli/children.js';
import { CUDNN_SIMULATOR, describeCuda, REAL_DEVICE, simulatedEnvironment } from '../support/simulated.js';
import { distinct, expectWhole, type Report } from '../support/verify_report.js';

describeCuda('fracstride verify on a CUDA device', function () {
  this.timeout(1800_000);

  it('finds everything right on a CUDA device, on every variant', async () => {
    const library = REAL_DEVICE ? {} : { FRACSTRIDE_LIBCUDNN: CUDNN_SIMULATOR };
    const env = simulatedEnvironment({ env: library });
    const { code, out, err } = await fracstride(['verify', '--require-cuda', '--json'], { env });
    expect(code, `${err}${out.slice(-2000)}`).to.equal(0);
    const report = JSON.parse(out) as Report;
    expectWhole(report, 'cpu');
    expectWhole(report, 'cuda:0');
    const own = report.rows.filter((row) => row.device === 'cuda:0' && row.group === 'convolutions');
    const variants = distinct(own, ({ kernel }) => kernel!.split('__')[1]!.split('_')[0]!);
    expect(variants).to.include.members(['gather', 'igemm', 'phase', ...(REAL_DEVICE ? [] : ['cudnn'])]);
  });
});
