/** How many launches training takes on cuda: a layer with what is behind it, a loss, an optimiser's step. */

import { expect } from 'chai';
import { describeCuda, NULL_DRIVER, simulatedReport, simulatorOnly } from '../support/simulated.js';
import type { StepLaunches } from '../support/step_launches_cli.js';

describeCuda('launches on cuda', function () {
  this.timeout(300_000);

  simulatorOnly('are one a layer with its bias and activation, and as few as can be for the rest', async () => {
    const found = await simulatedReport<StepLaunches>({
      program: 'step_launches_cli',
      env: { FRACSTRIDE_LIBCUDA: NULL_DRIVER },
    });
    const operations = (names: readonly string[]): string[] => names.map((name) => name.split('_f32_')[0]!);
    const layers = Object.entries(found.layers);
    expect(layers.length).to.equal(16);
    for (const [title, { forward, backward }] of layers) {
      const [variant, activation] = title.split(' ') as [string, string];
      // Sums in parts are added up, and finished, by a launch of their own.
      const sums = variant === 'splitk' ? ['sum_parts'] : [];
      expect(operations(forward), title).to.deep.equal(['ct2d_fwd', ...sums]);
      expect(forward[0], title).to.include(`__${variant}`);
      if (variant !== 'gather') expect(forward[0], title).to.include(`_bias_${activation}__`);
      const contractions = ['ct2d_dgrad', 'ct2d_wgrad', 'ct2d_bgrad'];
      expect(operations(backward), title).to.have.members([`${activation}_backward`, ...contractions, ...sums]);
      expect(backward.find((name) => name.includes('dgrad'))).to.include(`__${variant}`);
    }
    // Blocks have channels of their own, or share those that are few and long.
    expect(operations(found.norm.forward)).to.deep.equal(['ct2d_fwd', 'bn_forward']);
    expect(operations(found.longNorm.forward)).to.deep.equal(['bn_stats', 'bn_apply']);
    expect(operations(found.longNorm.backward)).to.deep.equal(['bn_backward_stats', 'bn_backward_input']);
    expect(operations(found.evaluated)).to.deep.equal(['ct2d_fwd']);
    expect(found.evaluated[0]).to.include('_bias_relu__');
    // A gradient of few tiles is left in parts.
    const left = operations(found.norm.backward).filter((name) => name !== 'sum_parts');
    expect(left).to.have.members(['bn_backward', 'ct2d_dgrad', 'ct2d_wgrad']);
    expect(found.norm.backward.length - left.length).to.be.at.most(2);
    expect(operations(found.loss.forward)).to.deep.equal(['bce_logits_sum']);
    // the first fills the seed of the backward pass
    expect(operations(found.loss.backward)).to.deep.equal(['fill', 'bce_logits_backward']);
    expect(operations(found.step)).to.deep.equal(['adam_group']);
    expect(operations(found.accumulated)).to.deep.equal(['add_group']);
  });
});
