/**
 * All golden cases through the public API: every element type in both layouts, exact sums, modules, second gradients and
 * refusals. `npm run goldens` runs them with options and prints the worst errors.
 */

import { expect } from 'chai';
import { DTYPE_TABLE, DTYPES } from '../../codegen/target.js';
import { publicAdapter } from '../support/adapter.js';
import { type GoldenCase, generate, goldenCases, hashAt, hashKey } from '../support/cases.js';
import { type Adapter, type RunOptions, runGoldens, selectCases } from '../support/golden_check.js';
import { oracleAdapter } from '../support/oracle_adapter.js';

describe('golden cases', function () {
  this.timeout(300_000);
  let cases: readonly GoldenCase[];

  before(() => {
    cases = goldenCases();
  });

  async function expectAll(adapter: Adapter, options: RunOptions, from = cases): Promise<void> {
    const report = await runGoldens(from, adapter, options);
    const text = report.failures.map((f) => `${f.id}: ${f.bad.join('; ')}`).join('\n');
    expect(report.failures.length, `${report.failures.length} of ${from.length} failed:\n${text}`).to.equal(0);
    expect(report.vague, 'refusals that do not name what is wrong').to.deep.equal([]);
    expect(report.passed).to.equal(selectCases(from, options).length);
  }

  it('are the 456 entries, made by the documented generator', () => {
    expect(cases.length).to.equal(456);
    expect(cases.filter((c) => c.expect === 'error').length).to.equal(39);
    expect(hashKey(12345, 'gy')).to.equal(3883298595);
    expect(hashAt(hashKey(1, 'x'), 1000000)).to.equal(2474467892);
    expect([...generate({ seed: 1, tag: 'x', count: 3, bits: 8 })]).to.deep.equal([-0.9921875, 0.2734375, -0.265625]);
  });

  it('agree with the oracle (the large ones by `npm run goldens -- --adapter oracle`)', async () => {
    const small = cases.filter((c) => c.expect === 'ok' && !/large/.test(c.id));
    await expectAll(oracleAdapter(), { dtype: 'float64' }, small);
  });

  for (const layout of ['nchw', 'nhwc'] as const) {
    for (const dtype of DTYPES) {
      it(`pass on the CPU in ${dtype}, ${layout}`, async () => {
        const kernels: string[] = [];
        const ran = (kernel: string) => void kernels.push(kernel);
        await expectAll(publicAdapter({ device: 'cpu', layout, ran }), { dtype });
        const family = `_${DTYPE_TABLE[dtype].short}_${layout}_`;
        const own = kernels.filter((name) => name.startsWith('ct2d_') && name.includes(family));
        expect(own.length, `of ${kernels.length} forwards, those with a kernel of ${family}`).to.be.at.least(350);
      });
    }

    it(`are exact in float32 wherever sums are, ${layout}`, async () => {
      const options = { dtype: 'float32', bits: 8, tolerance: 0 } as const;
      expect(selectCases(cases, options).length).to.be.at.least(100);
      await expectAll(publicAdapter({ device: 'cpu', layout }), options);
    });
  }

  it('pass through an adapter that knows only the public names', async () => {
    const path = new URL('../../../test/goldens/outsider_adapter.mjs', import.meta.url);
    await expectAll((await import(path.href)) as Adapter, { dtype: 'case' });
  });
});
