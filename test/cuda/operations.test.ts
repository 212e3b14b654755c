/** Every operation of the tensor API on the simulator: what the CPU gives, forward and backward, in every float type. */

import { expect } from 'chai';
import type { CaptureReport } from '../support/capture_cli.js';
import type { Traffic } from '../support/operation_traffic_cli.js';
import { describeCuda, simulatedReport, simulatorOnly } from '../support/simulated.js';
import type { TensorApiReport } from '../support/tensor_api_cli.js';

/** Largest difference from the CPU, relative to the largest number of a tensor: a few units in the last place. */
const TOLERANCE = { float32: 1e-6, float64: 4e-15, float16: 2 ** -10, bfloat16: 2 ** -7 } as const;

/**
 * Rows of the operations table that nothing launches here: in 16-bit types statistics are of wider ones; what adds up the
 * parts of a weight's gradient waits for layers of many positions (test/cuda/random.test.ts).
 */
const UNUSED = {
  ...{ float32: ['sum_parts'], float64: [] },
  ...{ float16: ['inverse_deviation', 'sum_parts'], bfloat16: ['inverse_deviation', 'sum_parts'] },
};

const report = (dtype: string, simulator = '') =>
  simulatedReport<TensorApiReport>({ program: 'tensor_api_cli', args: ['--dtype', dtype], simulator });

describeCuda('the tensor API on cuda', function () {
  // an empty cache means a compiler's call for every kernel
  this.timeout(600_000);

  const digests: Record<string, string> = {};

  for (const [dtype, tolerance] of Object.entries(TOLERANCE)) {
    it(`gives what the cpu gives in ${dtype}, forward and backward, and holds no memory`, async () => {
      const { errors, missed, launches, digest, left } = await report(dtype);
      expect(Object.keys(errors).length).greaterThan(80);
      for (const [title, error] of Object.entries(errors)) expect(error, title).at.most(tolerance);
      expect(missed.map((name) => name.split(' ')[0])).deep.equal(UNUSED[dtype as keyof typeof UNUSED]);
      expect(launches, 'launches of one step').deep.equal({ 'SGD 100': 1, 'SGD 113': 2, 'Adam 64': 1, 'Adam 130': 3 });
      expect(left, 'live bytes').equal(0);
      digests[dtype] = digest;
    });
  }

  for (const order of ['reverse', 'mixed:11']) {
    it(`gives the same bits with warps in the order ${order}`, async () => {
      const { digest } = await report('float32', `order=${order}`);
      expect(digest).equal(digests.float32);
    });
  }

  simulatorOnly('move what their tensors hold and little more, changes of layout without bank conflicts', async () => {
    const rows = await simulatedReport<Traffic[]>({ program: 'operation_traffic_cli', simulator: 'count=1' });
    for (const row of rows) {
      expect(row.stores, `${row.title}: sectors stored`).to.equal(row.leastStores);
      // A row's bias is read again for each of its packs.
      const most = row.title.startsWith('bias') ? 2 : 1;
      expect(row.loads / row.leastLoads, `${row.title}: sectors loaded`).to.be.within(1, most);
      const conflicts = row.title.includes('three channels') ? 2 : 1;
      expect(row.wavefronts, `${row.title}: wavefronts`).to.be.most(conflicts * row.leastWavefronts);
      expect(row.instructions, `${row.title}: instructions an element`).to.be.most(150);
    }
    expect(rows.filter(({ wavefronts }) => wavefronts > 0).length).to.equal(3);
  });
});

describeCuda('optimiser steps and batch norm in a graph', function () {
  this.timeout(600_000);
  let found: CaptureReport;

  before(async () => {
    found = await simulatedReport<CaptureReport>({ program: 'capture_cli' });
  });

  it('replays go on as steps on the cpu do', () => {
    for (const [title, error] of Object.entries(found.errors)) expect(error, title).at.most(2e-6);
    expect(Object.keys(found.errors)).deep.equal(['SGD', 'Adam', 'AdamW amsgrad']);
    expect(found.left, 'live bytes').equal(0);
  });

  it('count steps and batches on the device', () => {
    expect(found.counted).deep.equal({ SGD: 0, Adam: 8, 'AdamW amsgrad': 8, batches: 7 });
  });

  it('refuse what a replay would do wrongly', () => {
    const first = /must be preceded by one that it does not record, got "the first step"$/;
    expect(found.refusals['Adam without capturable']).equal(
      'Adam: capturable must be true for a step that a graph records, got false',
    );
    expect(found.refusals['the first step of Adam']).match(first);
    expect(found.refusals['the first step with momentum']).match(first);
    expect(found.refusals['the first step without state']).equal('recorded');
  });
});
