/**
 * Golden cases on the simulator: the PTX of every variant, in both layouts and every element type. `npm run test:cuda`
 * runs all of them with every variant. Here each layout and element type runs one case in 16 with the general kernels, another
 * for each type, and one in 64 or fewer with the specialised ones, which are compiled one by one.
 */

import { expect } from 'chai';
import type { GoldenSummary } from '../support/golden_cli.js';
import { describeCuda, simulatedReport } from '../support/simulated.js';

const LAYOUTS = ['nchw', 'nhwc'] as const;
const CASES = 456;

function run(args: readonly string[], simulator = ''): Promise<GoldenSummary> {
  return simulatedReport({ program: 'golden_cli', args: ['--device', 'cuda:0', '--json', ...args], simulator });
}

describeCuda('golden cases on cuda', function () {
  this.timeout(600_000);

  it('pass with the gather kernels, every element type in both layouts', async () => {
    const both = await Promise.all(
      LAYOUTS.map((layout) => run(['--variant', 'gather', '--layout', layout, '--every', '16'])),
    );
    for (const { passed, failed, variants } of both) {
      expect([passed, failed]).to.deep.equal([4 * Math.ceil(CASES / 16), 0]);
      expect(variants!.wrong).to.deep.equal([]);
      expect(Object.keys(variants!.ran), 'contractions that ran another variant').to.deep.equal(['gather']);
    }
  });

  it('leave the same bits by the gather kernels, warps in any order', async () => {
    const args = ['--variant', 'gather', '--dtype', 'float32', '--every', '48'];
    const [first, ...others] = await Promise.all(
      ['forward', 'reverse', 'mixed:7'].map((order) => run(args, `order=${order}`)),
    );
    expect(Object.keys(first!.digests).length).to.equal(2);
    for (const other of others) expect(other.digests).to.deep.equal(first!.digests);
  });

  it('pass with the phase kernels, every element type in both layouts, warps in any order', async () => {
    const orders = { nchw: 'reverse', nhwc: 'mixed:7' };
    const both = await Promise.all(
      LAYOUTS.map(async (layout) => {
        const args = ['--variant', 'phase', '--layout', layout, '--every', '96'];
        // One after the other: what the first compiles the second finds.
        return [await run(args), await run(args, `order=${orders[layout]}`)] as const;
      }),
    );
    for (const [forward, other] of both) {
      const { passed, variants } = forward;
      expect(passed).to.be.at.least(4 * 4);
      expect(variants!.wrong).to.deep.equal([]);
      expect(variants!.ran.phase, 'contractions by phase kernels').to.be.at.least(16);
      expect(other.digests).to.deep.equal(forward.digests);
    }
  });

  for (const { variant, dtypes, words, every, least } of [
    { variant: 'igemm', dtypes: { nchw: 'float32', nhwc: 'float32' }, words: [], every: '64', least: 8 },
    { variant: 'mma', dtypes: { nchw: 'float16', nhwc: 'bfloat16' }, words: [], every: '128', least: 4 },
    {
      ...{ variant: 'mma', dtypes: { nchw: 'float32', nhwc: 'float32' }, every: '128', least: 4 },
      words: ['--settings', 'tf32', '--tol', '3e-3'],
    },
    { variant: 'head', dtypes: { nchw: 'float32', nhwc: 'float16' }, words: [], every: '48', least: 8 },
    {
      ...{ variant: 'depthwise', dtypes: { nchw: 'float32', nhwc: 'float16' }, every: '6', least: 2 },
      words: ['--filter', 'depthwise|group|_g[0-9]'],
    },
  ])
    it(`pass with the ${[variant, ...words].join(' ')} kernels in both layouts, warps in any order`, async () => {
      const orders = [
        ['nchw', 'reverse'],
        ['nhwc', 'mixed:7'],
      ] as const;
      const both = await Promise.all(
        orders.map(async ([layout, order]) => {
          const args = [
            '--variant',
            variant,
            '--dtype',
            dtypes[layout],
            '--layout',
            layout,
            '--every',
            every,
            ...words,
          ];
          return [await run(args), await run(args, `order=${order}`)] as const;
        }),
      );
      for (const [forward, other] of both) {
        expect(forward.failed).to.equal(0);
        expect(forward.variants!.wrong).to.deep.equal([]);
        expect(forward.variants!.ran[variant], `contractions by ${variant} kernels`).to.be.at.least(least);
        expect(other.digests).to.deep.equal(forward.digests);
      }
    });
});
