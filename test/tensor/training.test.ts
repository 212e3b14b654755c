/** Training is reproducible bit for bit, whatever the number of threads, and holds no memory from step to step. */

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { backends, rand, scope } from 'fracstride';
import { publicAdapter } from '../support/adapter.js';
import { goldenCases } from '../support/cases.js';
import { isaLevels, withIsa } from '../support/devices.js';
import { digesting } from '../support/digest.js';
import { runGoldens } from '../support/golden_check.js';
import { liveBytes, startTraining, trainedDigest } from '../support/training.js';

describe('training', function () {
  this.timeout(300_000);

  describe('determinism', () => {
    const run = { seed: 4242, steps: 25, threads: 1 };
    let first: string;

    before(() => {
      first = trainedDigest(run);
    });

    it('two runs with one seed give bitwise equal weights, buffers, optimiser state and losses', () => {
      expect(trainedDigest(run)).to.equal(first);
    });

    it('so do 1, 2 and 3 threads', () => {
      expect(trainedDigest({ ...run, threads: 2 })).to.equal(first);
      expect(trainedDigest({ ...run, threads: 3 })).to.equal(first);
    });

    it('so do other processes, with 1 and 2 threads', () => {
      const child = fileURLToPath(new URL('../support/training_child.js', import.meta.url));
      for (const threads of [1, 2]) {
        const digest = execFileSync(process.execPath, [child, String(run.seed), String(run.steps), String(threads)]);
        expect(digest.toString().trim(), `${threads} threads`).to.equal(first);
      }
    });

    it('on every instruction set 1 and 2 threads agree', () => {
      for (const isa of isaLevels()) {
        const [one, two] = withIsa(isa, () => [1, 2].map((threads) => trainedDigest({ ...run, steps: 4, threads })));
        expect(one, isa).to.equal(two);
      }
    });

    for (const layout of ['nchw', 'nhwc'] as const) {
      it(`every pass of the large golden cases is bitwise equal with 1, 2 and 3 threads, ${layout}`, async () => {
        const digests = [];
        for (const threads of [1, 2, 3]) digests.push(await goldenDigest(layout, threads));
        expect(new Set(digests).size).to.equal(1);
      });
    }

    it('another seed gives other weights', () => {
      expect(trainedDigest({ ...run, seed: 4243 })).not.to.equal(first);
    });
  });

  describe('memory', () => {
    it('200 steps: no growth of live bytes after step 5, then weights and optimiser state only, then nothing', () => {
      const before = liveBytes();
      const training = startTraining(7);
      const live: number[] = [];
      const losses: number[] = [];
      for (let step = 0; step < 200; step++) {
        losses.push(training.step());
        live.push(liveBytes());
      }
      for (const bytes of live.slice(5)) expect(bytes).to.equal(live[4]);
      expect(losses.at(-1), 'it learns').to.be.below(0.8 * losses[0]!);
      training.optimiser.zeroGrad();
      expect(liveBytes() - before, 'weights and optimiser state').to.equal(training.lastingBytes());
      training.dispose();
      expect(liveBytes()).to.equal(before);
    });

    it('a step that throws half-way leaves nothing behind', () => {
      const training = startTraining(8);
      training.step();
      training.optimiser.zeroGrad();
      const before = liveBytes();
      const broken = () =>
        scope(() => {
          const y = training.model.forward(rand([2, 3, 20, 20], { device: 'cpu' }));
          y.backward(rand([1, 1], { device: 'cpu' }));
        });
      expect(broken).to.throw();
      expect(liveBytes()).to.equal(before);
      training.dispose();
    });
  });
});

/** SHA-256 over outputs and gradients of the large golden cases, each in its own element type. */
async function goldenDigest(layout: 'nchw' | 'nhwc', threads: number): Promise<string> {
  const { adapter, digest } = digesting(publicAdapter({ device: 'cpu', layout }));
  const before = backends.cpu.threads;
  backends.cpu.threads = threads;
  try {
    const report = await runGoldens(goldenCases(), adapter, { dtype: 'case', filter: /large/ });
    expect(report.passed).to.equal(29);
  } finally {
    backends.cpu.threads = before;
  }
  return digest();
}
