/** What can go wrong on a device: a typed error each, nothing leaked, and a process that goes on. */

import { expect } from 'chai';
import type { FaultSummary } from '../support/faults_cli.js';
import { describeCuda, simulatedReport, simulatorOnly } from '../support/simulated.js';

interface Expected {
  readonly simulator?: string;
  /** Each error, in order. */
  readonly errors: readonly RegExp[];
  /** Whether the device is still good afterwards. */
  readonly cuda: boolean;
  readonly check?: (summary: FaultSummary) => void;
}

const KERNEL = /fill_f32__fill/;

const FAULTS: Readonly<Record<string, Expected>> = {
  'out of memory once': { errors: [], cuda: true },
  'out of memory': {
    simulator: 'memory=128M',
    errors: [/^ERR_OUT_OF_MEMORY alloc: .*256\.0 MiB.*32\.0 MiB/],
    cuda: true,
  },
  'a limit': { errors: [/^ERR_OUT_OF_MEMORY alloc: .*limit 1\.0 MiB.*4\.0 MiB/], cuda: true },
  'no pinned memory': { errors: [], cuda: true, check: ({ notes }) => expect(notes.equal).to.equal(true) },
  'a launch is refused': { errors: [/^ERR_CUDA launch: .*CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES/], cuda: true },
  'a module does not load': { errors: [/^ERR_OUT_OF_MEMORY load: /], cuda: true },
  'a kernel fails while it runs': {
    errors: [
      /^ERR_CUDA .*CUDA_ERROR_LAUNCH_FAILED/,
      /^ERR_DEVICE_UNAVAILABLE /,
      /^ERR_DEVICE_UNAVAILABLE /,
      /^ERR_DEVICE_UNAVAILABLE /,
    ],
    cuda: false,
    check: ({ errors }) => expect(errors[0]).to.match(KERNEL),
  },
  'a copy fails while it runs': {
    errors: [/^ERR_CUDA .*CUDA_ERROR_LAUNCH_FAILED/, /^ERR_DEVICE_UNAVAILABLE /],
    cuda: false,
  },
  'the device is lost': { errors: [/^ERR_CUDA /, /^ERR_DEVICE_UNAVAILABLE /, /^ERR_DEVICE_UNAVAILABLE /], cuda: false },
  'a slow copy': {
    errors: [],
    cuda: true,
    check: ({ notes }) => {
      // The copy sleeps for a second; a data() that waited for it would leave its timer one or two ticks.
      expect(notes.waited).to.be.at.least(990);
      expect(notes.ticks, 'of a timer of 5 ms meanwhile').to.be.above(5);
    },
  },
};

describeCuda('faults on cuda', function () {
  this.timeout(120_000);

  for (const [scenario, expected] of Object.entries(FAULTS)) {
    simulatorOnly(scenario, async () => {
      const summary = await simulatedReport<FaultSummary>({
        program: 'faults_cli',
        args: [scenario],
        simulator: expected.simulator ?? '',
      });
      const said = summary.errors.join('\n');
      expect(summary.errors.length, said).to.equal(expected.errors.length);
      for (const [i, pattern] of expected.errors.entries()) expect(summary.errors[i]).to.match(pattern);
      expect(summary.liveAfter, 'live bytes').to.equal(summary.liveBefore);
      expect(summary.cudaGoesOn, JSON.stringify(summary.notes)).to.equal(expected.cuda);
      expect(summary.cpuGoesOn, 'the cpu').to.equal(true);
      expected.check?.(summary);
    });
  }

  for (const arch of [75, 80, 120]) {
    simulatorOnly(`another device: compute capability ${arch}`, async () => {
      const summary = await simulatedReport<FaultSummary>({
        program: 'faults_cli',
        args: ['nothing happens'],
        simulator: `arch=${arch}`,
      });
      expect(summary.notes.arch).to.equal(arch);
      expect(summary.cudaGoesOn, JSON.stringify(summary.notes)).to.equal(true);
    });
  }

  simulatorOnly('an old driver, CUDA 11.4, takes the PTX that its version knows', async () => {
    const summary = await simulatedReport<FaultSummary>({
      program: 'faults_cli',
      args: ['nothing happens'],
      simulator: 'driver=11040',
    });
    expect(summary.cudaGoesOn, JSON.stringify(summary.notes)).to.equal(true);
  });

  simulatorOnly('a driver without the entries of graphs and events says so only when they are asked for', async () => {
    const summary = await simulatedReport<FaultSummary>({
      program: 'faults_cli',
      args: ['nothing happens'],
      simulator: 'without=cuStreamBeginCapture,cuStreamEndCapture,cuGraphInstantiate,cuGraphLaunch',
    });
    expect(summary.cudaGoesOn, JSON.stringify(summary.notes)).to.equal(true);
  });

  simulatorOnly('a driver without an entry that everything needs is named with it', async () => {
    const summary = await simulatedReport<FaultSummary>({
      program: 'faults_cli',
      args: ['a limit'],
      simulator: 'without=cuLaunchKernel',
    }).catch((error: Error) => error.message);
    expect(summary).to.match(/ERR_DEVICE_UNAVAILABLE|has no entry cuLaunchKernel/);
  });
});
