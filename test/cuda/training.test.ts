/** Training on the simulator: the same losses as on the CPU, the same bits in every run, and no memory held. */

import { expect } from 'chai';
import { describeCuda, simulatedReport } from '../support/simulated.js';
import type { TrainingSummary } from '../support/training_cli.js';

describeCuda('training on cuda', function () {
  this.timeout(300_000);

  const STEPS = 30;
  const train = (device: string, simulator = '', seed = 4242) =>
    simulatedReport<TrainingSummary>({
      program: 'training_cli',
      args: ['--device', device, '--seed', String(seed), '--steps', String(STEPS)],
      simulator,
    });
  let cuda: TrainingSummary;

  before(async () => {
    cuda = await train('cuda:0');
  });

  it(`${STEPS} steps lose what they lose on the cpu, within 1e-4`, async () => {
    const cpu = await train('cpu');
    expect(cuda.losses.length).to.equal(STEPS);
    cuda.losses.forEach((loss, step) => {
      expect(Math.abs(loss / cpu.losses[step]! - 1), `step ${step}`).to.be.at.most(1e-4);
    });
    expect(cuda.losses.at(-1), 'it learns').to.be.below(cuda.losses[0]!);
  });

  it('warps in any order leave the same bits', async () => {
    for (const order of ['reverse', 'mixed:7']) {
      expect((await train('cuda:0', `order=${order}`)).digest, order).to.equal(cuda.digest);
    }
  });

  it('holds no memory from step to step, and gives all of it back', () => {
    for (const bytes of cuda.live.slice(5)) expect(bytes).to.equal(cuda.live[4]);
    expect(cuda.kept, 'weights and optimiser state').to.equal(cuda.lasting);
    expect(cuda.left).to.equal(0);
  });
});
