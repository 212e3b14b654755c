/** Two workers do random things to one device at once, faults among them: nothing crashes, nothing leaks. */

import { expect } from 'chai';
import { testSeed } from '../support/devices.js';
import type { FuzzSummary } from '../support/fuzz_cli.js';
import { describeCuda, severalAtOnce, simulatedReport, simulatorOnly } from '../support/simulated.js';

const PROCESSES = 20;
const SEQUENCES = 25;

describeCuda('fuzzed sequences from two workers', function () {
  this.timeout(300_000);
  const seed = testSeed();

  const fuzz = (at: number, ...args: string[]) =>
    simulatedReport<FuzzSummary>({
      program: 'fuzz_cli',
      args: ['--seed', String(seed + at), '--sequences', String(SEQUENCES), ...args],
      simulator: 'memory=512M',
    });

  const all = (run: (at: number) => Promise<FuzzSummary>, count: number): Promise<FuzzSummary[]> =>
    severalAtOnce(
      Array.from({ length: count }, (_, at) => at),
      run,
    );

  simulatorOnly(
    `${2 * PROCESSES * SEQUENCES} sequences with faults: every value right, every error typed, nothing left`,
    async () => {
      console.log(`      seed ${seed}`);
      const summaries = await all((at) => fuzz(at), PROCESSES);
      const reports = summaries.flatMap((summary) => summary.reports);
      expect(reports.flatMap((report) => report.violations)).to.deep.equal([]);
      expect(reports.reduce((sum, report) => sum + report.sequences, 0)).to.equal(2 * PROCESSES * SEQUENCES);
      const codes = new Set(reports.flatMap((report) => Object.keys(report.errors)));
      expect([...codes]).to.include.members(['ERR_OUT_OF_MEMORY', 'ERR_CUDA']);
      for (const { live, taken } of summaries) expect([live, taken]).to.deep.equal([0, 0]);
    },
  );

  simulatorOnly('a device that is lost in the middle: typed errors, no live bytes', async () => {
    const summaries = await all((at) => fuzz(at, '--faults', at % 2 === 0 ? 'lost' : 'launch@3'), 4);
    for (const { reports, live } of summaries) {
      expect(reports.flatMap((report) => report.violations)).to.deep.equal([]);
      expect(live).to.equal(0);
    }
  });

  simulatorOnly('workers that are terminated leave no live bytes', async () => {
    const summaries = await all((at) => fuzz(at, '--terminate', '--sequences', '100000'), 4);
    for (const { live, taken } of summaries) expect([live, taken]).to.deep.equal([0, 0]);
  });
});
