/** Contractions on cuDNN, by its stand-in: which algorithm runs under which settings, and what happens when none can. */

import * as fs from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseKernelName } from '../../codegen/spec.js';
import { TIMINGS } from '../../codegen/store.js';
import type { CudnnSummary } from '../support/cudnn_cli.js';
import type { GoldenSummary } from '../support/golden_cli.js';
import type { RandomSummary } from '../support/random_cli.js';
import {
  CUDNN_SIMULATOR,
  REAL_DEVICE,
  severalAtOnce,
  simulated,
  simulatedEnvironment,
  simulatedReport,
  simulatorOnly,
} from '../support/simulated.js';

interface Told {
  /** What the stand-in for libcudnn is told. */
  readonly cudnn?: string;
  readonly simulator?: string;
  readonly library?: string;
  readonly free?: boolean;
}

async function child(scenario: string, told: Told = {}): Promise<CudnnSummary> {
  const { cudnn = '', simulator = '', library = CUDNN_SIMULATOR, free = false } = told;
  const env = { FRACSTRIDE_LIBCUDNN: library, CUDNN_SIMULATOR: cudnn };
  const args = free ? [scenario, 'free'] : [scenario];
  const summary = await simulatedReport<CudnnSummary>({ program: 'cudnn_cli', args, simulator, env });
  expect(summary.liveAfter, 'live bytes').to.equal(summary.liveBefore);
  for (const name of summary.kernels) parseKernelName(name);
  return summary;
}

/** Variant and settings of each kernel that ran. */
const ways = ({ kernels }: CudnnSummary): string[] => kernels.map((name) => name.split('__')[1]!);
const isOwn = (way: string): boolean => /^(gather|(depthwise|folded|head|igemm|pairwise|phase)_)/.test(way);

describe('cudnn', function () {
  this.timeout(180_000);

  describe('settings', () => {
    simulatorOnly('take effect with the next call, and what was chosen before is found again', async () => {
      const found = await child('settings');
      const [plain, deterministic, contract, disabled, again] = ways(found) as [string, ...string[]];
      expect(plain).to.equal('cudnn_algo0');
      expect(deterministic).to.equal('cudnn_algo1');
      expect(contract).to.equal('cudnn_algo1');
      expect(disabled).to.satisfy(isOwn);
      expect(again).to.equal(plain);
    });

    simulatorOnly(
      'leave to our kernels what cuDNN cannot do, and dilated problems that must be deterministic',
      async () => {
        const [large, dilated, deterministic] = ways(await child('what it cannot do')) as [string, ...string[]];
        expect(large).to.satisfy(isOwn);
        expect(dilated).to.match(/^cudnn_algo\d$/);
        expect(deterministic).to.satisfy(isOwn);
      },
    );
  });

  describe('determinism', () => {
    simulatorOnly('20 runs of deterministic algorithms give the same bits', async () => {
      const found = await child('bits of deterministic algorithms');
      expect(found.notes).to.include({ up: 1, down: 1, wgrad: 1 });
      expect(new Set(ways(found))).to.deep.equal(new Set(['cudnn_algo1']));
    });

    simulatorOnly('others do not', async () => {
      const found = await child('bits of others');
      expect(found.notes.up, 'results of 20 runs').to.be.above(10);
      expect(found.notes.wgrad, 'results of 20 runs').to.be.above(10);
      expect(new Set(ways(found))).to.deep.equal(new Set(['cudnn_algo0']));
    });

    simulatorOnly('two processes give the same bits under the contract', async () => {
      const sums = await Promise.all(
        [1, 2].map(async () => (await child('bits of deterministic algorithms')).notes.sum),
      );
      expect(sums[0]).to.equal(sums[1]);
    });

    simulatorOnly('an algorithm that somebody names throws under the contract, or warns once', async () => {
      const { errors, warnings, kernels, notes } = await child('contract');
      const sentence = (asked: string): RegExp =>
        new RegExp(
          `^ERR_NONDETERMINISTIC convT2d fwd: the algorithm must be deterministic as ${asked}, got ct2d_fwd_f32_nchw__cudnn_algo0__sm90; .*useDeterministicAlgorithms\\(false\\)`,
        );
      expect(errors.length).to.equal(3);
      expect(errors[0]).to.match(sentence('useDeterministicAlgorithms is on'));
      expect(errors[1]).to.equal(errors[0]);
      expect(errors[2]).to.match(sentence('only deterministic algorithms are asked for'));
      // conv2d's algorithm 0 is deterministic: naming it is no fault.
      expect(kernels[0]).to.equal('ct2d_dgrad_f32_nchw__cudnn_algo0__sm90');
      expect(kernels.slice(1)).to.deep.equal(new Array(2).fill('ct2d_fwd_f32_nchw__cudnn_algo0__sm90'));
      expect(warnings).to.deep.equal([errors[0]!.replace(/^\w+ /, '')]);
      expect(notes.on).to.equal(true);
    });

    simulatorOnly('a graph that was recorded without the contract is not replayed under it', async () => {
      const { errors, warnings, notes, kernels } = await child('a graph');
      expect(notes.worst).to.be.below(1e-4);
      expect(notes.second, 'a deterministic one').to.equal(0);
      expect(kernels).to.deep.equal(['ct2d_fwd_f32_nhwc__cudnn_algo1__sm90']);
      expect(errors.length).to.equal(1);
      expect(errors[0]).to.match(/^ERR_NONDETERMINISTIC cuda.graph replay: .*cudnn_algo0__sm90; record it again/);
      expect(warnings.length).to.equal(1);
    });
  });

  describe('workspaces', () => {
    simulatorOnly('above the limit, a quarter of the memory, another algorithm runs or our kernel', async () => {
      const told = { cudnn: 'workspace=64M', simulator: 'memory=128M' };
      const [down, deterministic, up] = ways(await child('a workspace above the limit', told)) as [string, ...string[]];
      expect(down).to.equal('cudnn_algo0');
      expect(deterministic).to.equal('cudnn_algo0');
      expect(up, 'no deterministic algorithm without a workspace').to.satisfy(isOwn);
    });

    simulatorOnly('without room, the next smaller one runs; under the contract that is an error', async () => {
      const told = { cudnn: 'workspace=31M', simulator: 'memory=128M' };
      const found = await child('no memory for a workspace', told);
      expect(ways(found)).to.deep.equal(['cudnn_algo0', 'cudnn_algo1']);
      expect(found.errors.length).to.equal(1);
      expect(found.errors[0]).to.match(/^ERR_OUT_OF_MEMORY alloc: .*got 31\.0 MiB/);
    });
  });

  describe('what can go wrong', () => {
    simulatorOnly('an algorithm that does not run after all gives way to the next', async () => {
      const before = ways(await child('not supported when it runs'));
      const after = ways(await child('not supported when it runs', { cudnn: 'status=cudnnConvolutionForward:3000@1' }));
      expect(before[0]).to.equal(before[1]);
      expect(after[0]).to.equal(after[1]);
      expect(after[0])
        .to.match(/^cudnn_algo\d$/)
        .and.not.equal(before[0]);
    });

    simulatorOnly('a cuDNN on which none runs gives way to our kernels', async () => {
      const found = await child('not supported when it runs', { cudnn: 'status=cudnnConvolutionForward:3000' });
      for (const way of ways(found)) expect(way).to.satisfy(isOwn);
    });

    simulatorOnly('any other status is an error with its name', async () => {
      const { errors, kernels } = await child('every status');
      const names = [
        'NOT_INITIALIZED (1001)',
        'SERIALIZATION_VERSION_MISMATCH (1003)',
        'BAD_PARAM (2000)',
        'INTERNAL_ERROR (4000)',
        'EXECUTION_FAILED (5000)',
        'EXECUTION_FAILED_CUDART (5003)',
      ];
      expect(errors.length).to.equal(names.length);
      for (const [i, name] of names.entries()) {
        expect(errors[i]).to.match(
          /^ERR_CUDNN cudnnRun: cudnnConvolutionBackwardData of ct2d_fwd_f32_nchw__cudnn_algo0/,
        );
        expect(errors[i]).to.include(`got CUDNN_STATUS_${name}`);
      }
      expect(kernels.length, 'calls that went well afterwards').to.equal(1);
    });

    simulatorOnly('so is a heuristic that fails', async () => {
      const told = { cudnn: 'status=cudnnGetConvolutionBackwardDataAlgorithm_v7:4000' };
      const { errors } = await child('a heuristic that fails', told);
      expect(errors).to.have.length(1);
      expect(errors[0]).to.match(/^ERR_CUDNN .*BackwardDataAlgorithm_v7.* CUDNN_STATUS_INTERNAL_ERROR \(4000\)/);
    });

    const absent: Readonly<Record<string, Told & { reason: RegExp }>> = {
      'no library': { library: '/nowhere/libcudnn.so.9', reason: /\/nowhere\/libcudnn\.so\.9/ },
      'an old version': {
        cudnn: 'version=7605',
        reason: /is cuDNN 7605, and 8000 is the oldest that can be used; install cuDNN 9 or 8/,
      },
      'a missing entry': { cudnn: 'without=cudnnConvolutionBackwardData', reason: /cudnnConvolutionBackwardData/ },
      'a library that does not start': { cudnn: 'status=cudnnCreate:1001', reason: /NOT_INITIALIZED/ },
    };
    for (const [title, { reason, ...told }] of Object.entries(absent)) {
      simulatorOnly(`${title}: the reason is told, and our kernels run`, async () => {
        const found = await child('available', told);
        for (const way of ways(found)) expect(way).to.satisfy(isOwn);
        expect(found.notes.available).to.equal(false);
        expect(found.notes.reason).to.match(reason);
        expect(found.notes.version).to.equal(null);
      });
    }

    simulatorOnly('version 8 serves too', async () => {
      const found = await child('available', { cudnn: 'version=8907' });
      expect(found.notes).to.include({ available: true, reason: null, version: 8907 });
      expect(ways(found)).to.deep.equal(['cudnn_algo0']);
    });

    simulatorOnly('operands that do not begin where vectors do go to our kernels', async () => {
      const found = await child('operands off their boundary');
      expect(ways(found)[0]).to.satisfy(isOwn);
      expect(ways(found)[1]).to.match(/^cudnn_algo/);
      expect(found.notes.worst).to.be.below(1e-5);
    });
  });

  describe('results', () => {
    const env = { FRACSTRIDE_LIBCUDNN: CUDNN_SIMULATOR };
    const random = (...words: string[]) => simulatedReport<RandomSummary>({ program: 'random_cli', args: words, env });
    const golden = (...words: string[]) => {
      const args = ['--device', 'cuda:0', '--variant', 'cudnn', '--every', '24', '--json', ...words];
      return simulatedReport<GoldenSummary>({ program: 'golden_cli', args, env });
    };

    const SETTINGS = [[], ['deterministic'], ['benchmark'], ['deterministic', 'benchmark']].map((words) => ({
      title: words.join(' and ') || 'settings as they are',
      args: words.length === 0 ? [] : ['--settings', words.join(',')],
    }));
    let goldens: GoldenSummary[];
    let randoms: RandomSummary[];

    before(async function () {
      this.timeout(600_000);
      if (REAL_DEVICE) return;
      // What an earlier run found fastest would be taken without being timed again.
      fs.rmSync(join(simulatedEnvironment({}).FRACSTRIDE_CACHE_DIR!, TIMINGS), { force: true });
      goldens = await severalAtOnce(SETTINGS, ({ args }) => golden(...args));
      randoms = await severalAtOnce(SETTINGS, ({ args }) => random('--variants', 'cudnn', '--runs', '24', ...args));
    });

    for (const [i, { title }] of SETTINGS.entries()) {
      simulatorOnly(`golden cases, in every type and layout, ${title}`, () => {
        const { failed, passed, variants } = goldens[i]!;
        expect(failed).to.equal(0);
        expect(passed).to.equal(456 / 3);
        expect(variants!.ran.cudnn).to.be.above(70);
      });

      simulatorOnly(`random problems, with guards and poisoned outputs, ${title}`, () => {
        const { failures, seed, variants } = randoms[i]!;
        expect(failures.join('\n'), `seed ${seed}`).to.equal('');
        const { ran, wrong } = variants.cudnn!;
        expect(wrong).to.deep.equal([]);
        expect(ran.cudnn).to.be.above(4);
      });
    }

    simulatorOnly('the same problems twice: equal bits where deterministic, others where not', async () => {
      const words = ['--variants', 'cudnn', '--runs', '16', '--seed', '7'];
      const [first, second] = [await random(...words), await random(...words)];
      expect(first.digest).not.to.equal(second.digest);
      const deterministic = [...words, '--settings', 'deterministic'];
      const [third, fourth] = [await random(...deterministic), await random(...deterministic)];
      expect(third.digest).to.equal(fourth.digest);
      for (const { failures } of [first, second, third, fourth]) expect(failures).to.deep.equal([]);
      expect(third.variants.cudnn!.ran.cudnn).to.be.above(5);
    });

    for (const words of ['benchmark', 'benchmark,deterministic']) {
      simulatorOnly(`random problems, our kernels and cuDNN's against each other, ${words}`, async () => {
        // Always the same ones: their kernels are compiled once for all runs.
        const summary = await random('--variants', 'any', '--runs', '3', '--settings', words, '--seed', '7');
        expect(summary.failures.join('\n')).to.equal('');
        expect(summary.variants.any!.ran.cudnn).to.be.above(0);
      });
    }
  });

  simulatorOnly('explain shows the row, or why there is none', async () => {
    const explained = async (library: string): Promise<string> => {
      const problem = 'convT2d n=16 c=256 k=128 h=8 w=8 r=4 stride=2 padding=1';
      const args = ['explain', problem, '--target', 'sm_90'];
      const env = { FRACSTRIDE_LIBCUDNN: library };
      const { code, stdout, stderr } = await simulated({ program: '../../src/bin', args, env });
      expect(code, stderr).to.equal(0);
      return stdout;
    };
    expect(await explained(CUDNN_SIMULATOR)).to.match(/cudnn +\d\S* +ct2d_fwd_f32_nchw__cudnn__sm90/);
    expect(await explained('/nowhere/libcudnn.so.9')).to.match(/cudnn +refused: .*\/nowhere/);
  });
});
