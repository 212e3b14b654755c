/** Random problems on the simulator, with guard words around every buffer; TEST_SEED repeats a run. */

import { expect } from 'chai';
import { testRuns, testSeed } from '../support/devices.js';
import type { EdgesSummary } from '../support/edges_cli.js';
import type { RandomSummary } from '../support/random_cli.js';
import { describeCuda, simulatedReport } from '../support/simulated.js';

describeCuda('random problems on cuda', function () {
  this.timeout(600_000);
  const seed = testSeed();

  function run(variant: string, runs: number, simulator = ''): Promise<RandomSummary> {
    const args = ['--variants', variant, '--runs', String(runs), '--seed', String(seed)];
    return simulatedReport({ program: 'random_cli', args, simulator });
  }

  function expectGood(summary: RandomSummary, runs: number): void {
    expect(summary.failures, `seed ${seed}`).to.deep.equal([]);
    expect(summary.problems).to.equal(runs);
    for (const report of Object.values(summary.variants)) expect(report.wrong).to.deep.equal([]);
  }

  it('250 agree with the oracle by the gather kernels (500 by npm run test:cuda)', async () => {
    console.log(`      seed ${seed}`);
    expectGood(await run('gather', testRuns(250)), testRuns(250));
  });

  for (const { variant, runs, parts, words } of [
    { variant: 'igemm', runs: 6, parts: 1, words: ['--dtype', 'float32'] },
    { variant: 'mma', runs: 5, parts: 0, words: ['--dtype', 'bfloat16,float16', '--multiple', '2'] },
    { variant: 'mma', runs: 4, parts: 0, words: ['--dtype', 'float32', '--settings', 'tf32'] },
    { variant: 'pairwise', runs: 4, parts: 0, words: ['--most', '8', '--groups', '4', '--dtype', 'float32,bfloat16'] },
    { variant: 'mmadiagonal', runs: 3, parts: 0, words: ['--most', '8', '--groups', '8', '--dtype', 'bfloat16'] },
  ])
    it(`weight gradients around the sizes of tiles are exact by ${[variant, ...words].join(' ')}, in parts too, warps in any order`, async () => {
      const args = ['--runs', String(runs), '--seed', '5', '--variant', variant, ...words];
      const [first, other] = await Promise.all(
        ['forward', 'mixed:7'].map((order) =>
          simulatedReport<EdgesSummary>({ program: 'edges_cli', args, simulator: `order=${order}` }),
        ),
      );
      expect(first!.failures).to.deep.equal([]);
      expect(first!.problems).to.equal(runs);
      expect(first!.parted).to.be.above(parts);
      expect(other!.digest).to.equal(first!.digest);
    });

  for (const [variant, passes, dtypes, runs] of [
    ['splitk', 'fwd,dgrad', 'float32', '5'],
    ['mmasplitk', 'fwd,dgrad', 'float16,bfloat16', '5'],
    ['joined', 'fwd,dgrad,wgrad', 'float32', '7'],
    ['mmajoined', 'fwd,dgrad,wgrad', 'float16,bfloat16', '7'],
  ] as const)
    it(`sums in parts of ${variant} (${passes}) around the sizes of tiles are exact, warps in any order`, async () => {
      const args = ['--pass', passes, '--variant', variant, '--dtype', dtypes, '--runs', runs, '--seed', '5'];
      const [first, other] = await Promise.all(
        ['forward', 'mixed:7'].map((order) =>
          simulatedReport<EdgesSummary>({ program: 'edges_cli', args, simulator: `order=${order}` }),
        ),
      );
      expect(first!.failures).to.deep.equal([]);
      expect(first!.parted).to.be.above(3);
      expect(other!.digest).to.equal(first!.digest);
    });

  it('outputs and input gradients of small groups are exact on the diagonal of larger ones', async () => {
    const few = ['--most', '8', '--groups', '8', '--variant', 'mmadiagonal', '--dtype', 'bfloat16'];
    const args = ['--pass', 'fwd,dgrad', '--runs', '4', '--seed', '5', ...few];
    const { failures, problems, ran } = await simulatedReport<EdgesSummary>({ program: 'edges_cli', args });
    expect(failures).to.deep.equal([]);
    expect(problems).to.be.at.least(3);
    expect(Object.keys(ran).every((name) => name.startsWith('mmadiagonal_'))).to.equal(true);
  });

  const residues = 'r=4 stride=2 padding=1;r=9x4 stride=3x4 padding=4x1 outputPadding=2x0';
  const fewTaps = 'r=4 stride=2 padding=1;r=3 stride=2 padding=1 outputPadding=1';
  for (const [variant, dtypes, runs] of [
    ['merged', 'float32', '5'],
    ['mmamerged', 'bfloat16', '5'],
    ['folded', 'float32', '6'],
    ['mmafolded', 'bfloat16', '6'],
  ] as const)
    it(`results of ${variant} around the sizes of tiles are exact, with infinities and NaN too, warps in any order`, async () => {
      const places = variant.endsWith('folded')
        ? ['--pass', 'dgrad', '--most', '16', '--shapes', fewTaps]
        : ['--pass', 'fwd', '--shapes', residues];
      const args = [...places, '--variant', variant, '--dtype', dtypes, '--runs', runs, '--seed', '11'];
      const [first, other] = await Promise.all(
        ['forward', 'mixed:7'].map((order) =>
          simulatedReport<EdgesSummary>({
            program: 'edges_cli',
            args,
            simulator: `order=${order}`,
          }),
        ),
      );
      expect(first!.failures).to.deep.equal([]);
      expect(first!.problems).to.be.at.least(3);
      expect(other!.digest).to.equal(first!.digest);
    });

  it('so do some by the phase kernels (all 500 by npm run test:cuda), warps in any order', async () => {
    const runs = Math.ceil(testRuns(500) / 50);
    const first = await run('phase', runs);
    expectGood(first, runs);
    const others = await Promise.all(['reverse', 'mixed:7'].map((order) => run('phase', runs, `order=${order}`)));
    for (const other of others) expect(other.digest).to.equal(first.digest);
  });
});
