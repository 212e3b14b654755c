/**
 * Golden cases on the simulator: the PTX of every variant, in both layouts and every element type. `npm run test:cuda`
 * runs all of them with every variant; here, the general kernels run all cases and the specialised ones, which have to be
 * compiled one by one, a share of them.
 */

import { expect } from 'chai';
import type { GoldenSummary } from '../support/golden_cli.js';
import { simulatedReport } from '../support/simulated.js';

const LAYOUTS = ['nchw', 'nhwc'] as const;
const CASES = 456;

function run(args: readonly string[], simulator = ''): Promise<GoldenSummary> {
  return simulatedReport({ program: 'golden_cli', args: ['--device', 'cuda:0', '--json', ...args], simulator });
}

describe('golden cases on cuda', function () {
  this.timeout(600_000);

  it('pass with the gather kernels, every element type in both layouts', async () => {
    const both = await Promise.all(LAYOUTS.map((layout) => run(['--variant', 'gather', '--layout', layout])));
    for (const { passed, variants } of both) {
      expect(passed).to.equal(4 * CASES);
      expect(variants!.wrong).to.deep.equal([]);
      expect(Object.keys(variants!.ran), 'contractions that ran another variant').to.deep.equal(['gather']);
    }
  });

  it('warps in any order leave the same bits', async () => {
    const args = ['--dtype', 'float32', '--every', '3'];
    const [first, ...others] = await Promise.all(
      ['forward', 'reverse', 'mixed:7'].map((order) => run(args, `order=${order}`)),
    );
    expect(Object.keys(first!.digests).length).to.equal(2);
    for (const other of others) expect(other.digests).to.deep.equal(first!.digests);
  });

  it('one in 16 passes with the phase kernels, every element type in both layouts', async () => {
    const both = await Promise.all(
      LAYOUTS.map((layout) => run(['--variant', 'phase', '--layout', layout, '--every', '16'])),
    );
    for (const { passed, variants } of both) {
      expect(passed).to.be.at.least(4 * 28);
      expect(variants!.wrong).to.deep.equal([]);
      expect(variants!.ran.phase, 'contractions by phase kernels').to.be.at.least(100);
    }
  });
});
