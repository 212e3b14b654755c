/**
 * `npm run test:cuda`: all golden cases with every variant, in both layouts and every element type, and 500 random problems
 * with every variant, on the simulator in several warp orders; the same on cuDNN's stand-in under each of its settings. The
 * specialised kernels are compiled as they are needed (once: they are kept in build/test_kernels), a few at a time; the
 * first run takes hours. `-- --store` keeps a row of each proof that passed, `-- --missing` leaves out what rows say of
 * these kernels; `npm run proofs` prints them.
 */

import { expect } from 'chai';
import { DTYPES } from '../../codegen/target.js';
import type { EdgesSummary } from '../support/edges_cli.js';
import type { GoldenSummary } from '../support/golden_cli.js';
import { proof } from '../support/proofs.js';
import type { RandomSummary } from '../support/random_cli.js';
import { CUDNN_SIMULATOR, REAL_DEVICE, severalAtOnce, simulatedReport, simulatorOnly } from '../support/simulated.js';

const LAYOUTS = ['nchw', 'nhwc'] as const;
const CASES = 456;
const RUNS = 500;
const SEED = Number(process.env.TEST_SEED ?? 20261122);

const variantIn = (words: string): string => /--variant (\w+)/.exec(words)![1]!;

/** The stand-in for cuDNN needs the simulator, so that on a real device its proofs are named as left out. */
const proofOfLibrary = (title: string, work: Parameters<typeof proof>[2]) =>
  REAL_DEVICE ? simulatorOnly(title, work) : proof(title, 'cudnn', work);

describe('on cuda, the whole', function () {
  this.timeout(4 * 3600_000);

  for (const [variant, dtypes, words = []] of [
    ['gather', DTYPES],
    ['phase', DTYPES],
    ['igemm', ['float32']],
    ['head', ['float32', 'float16', 'bfloat16']],
    ['mma', ['float16', 'bfloat16']],
    ['splitk', ['float32']],
    ['mmasplitk', ['float16', 'bfloat16']],
    ['joined', ['float32']],
    ['mmajoined', ['float16', 'bfloat16']],
    ['merged', ['float32']],
    ['mmamerged', ['float16', 'bfloat16']],
    ['folded', ['float32']],
    ['mmafolded', ['float16', 'bfloat16']],
    ['depthwise', ['float32', 'float16', 'bfloat16']],
    ['pairwise', ['float32', 'float16', 'bfloat16']],
    ['diagonal', ['float32']],
    ['mmadiagonal', ['float16', 'bfloat16']],
    ['mma', ['float32'], ['--settings', 'tf32', '--tol', '3e-3']],
    ['mmasplitk', ['float32'], ['--settings', 'tf32', '--tol', '3e-3']],
    ['mmajoined', ['float32'], ['--settings', 'tf32', '--tol', '3e-3']],
    ['mmadiagonal', ['float32'], ['--settings', 'tf32', '--tol', '3e-3']],
    ['mmamerged', ['float32'], ['--settings', 'tf32', '--tol', '3e-3']],
  ] as const) {
    proof(`golden cases with the ${variant} kernels in ${dtypes.join(', ')}`, variant, async () => {
      const settings = LAYOUTS.flatMap((layout) => dtypes.map((dtype) => ({ layout, dtype })));
      const summaries = await severalAtOnce(settings, ({ layout, dtype }) =>
        simulatedReport<GoldenSummary>({
          program: 'golden_cli',
          args: ['--device', 'cuda:0', '--json', '--variant', variant, '--layout', layout, '--dtype', dtype, ...words],
        }),
      );
      const ran: Record<string, number> = {};
      for (const { passed, failed, variants } of summaries) {
        expect([passed, failed]).to.deep.equal([CASES, 0]);
        expect(variants!.wrong).to.deep.equal([]);
        for (const [name, count] of Object.entries(variants!.ran)) ran[name] = (ran[name] ?? 0) + count;
      }
      return { cases: summaries.length * CASES, contractions: ran };
    });

    // Bounds of random problems are those of float32.
    if (words.length > 0) continue;
    proof(`${RUNS} random problems with the ${variant} kernels, warps in three orders`, variant, async () => {
      const shards = ['0/2', '1/2'];
      const inOrder = async (order: string) =>
        severalAtOnce(shards, (shard) =>
          simulatedReport<RandomSummary>({
            program: 'random_cli',
            args: ['--variants', variant, '--runs', String(RUNS), '--seed', String(SEED), '--shard', shard],
            simulator: `order=${order}`,
          }),
        );
      const first = await inOrder('forward');
      expect(first.flatMap((summary) => summary.failures)).to.deep.equal([]);
      expect(first.reduce((sum, summary) => sum + summary.problems, 0)).to.equal(RUNS);
      for (const { variants } of first) expect(variants[variant]!.wrong).to.deep.equal([]);
      const digests = first.map((summary) => summary.digest);
      for (const order of ['reverse', 'mixed:7'])
        expect(
          (await inOrder(order)).map((summary) => summary.digest),
          order,
        ).to.deep.equal(digests);
      return { seed: SEED, contractions: first.map(({ variants }) => variants[variant]!.ran) };
    });
  }

  for (const words of [
    '--variant igemm --dtype float32',
    '--variant mma --dtype bfloat16,float16',
    '--variant mma --dtype bfloat16,float16 --layout nhwc --multiple 2',
    '--variant mma --dtype bfloat16,float16 --layout nhwc --multiple 8',
    '--variant mma --dtype float32 --settings tf32',
    '--variant joined --dtype float32',
    '--variant mmajoined --dtype bfloat16,float16',
    '--variant mmajoined --dtype bfloat16,float16 --layout nhwc --multiple 8',
    '--variant mmajoined --dtype float32 --settings tf32',
    '--variant depthwise --depthwise --dtype float32,bfloat16,float16',
    '--variant pairwise --most 17 --groups 1,4,8,12,32 --dtype float32,bfloat16,float16',
    '--variant pairwise --most 8 --multiple 4 --groups 1,4,8,12,32 --dtype float32,bfloat16,float16',
    '--variant mmadiagonal --most 32 --groups 2,4,8,32 --dtype bfloat16,float16',
    '--variant mmadiagonal --most 32 --groups 2,4,8,32 --dtype bfloat16,float16 --layout nhwc --multiple 4',
    '--variant mmadiagonal --most 32 --groups 2,4,8,32 --dtype float32 --settings tf32',
  ]) {
    const title = `200 weight gradients around the sizes of tiles, ${words}, warps in three orders`;
    proof(title, variantIn(words), async () => {
      const args = ['--runs', '200', '--seed', String(SEED), ...words.split(' ')];
      const summaries = await severalAtOnce(['forward', 'reverse', 'mixed:7'], (order) =>
        simulatedReport<EdgesSummary>({ program: 'edges_cli', args, simulator: `order=${order}` }),
      );
      for (const { failures, problems, digest } of summaries) {
        expect(failures).to.deep.equal([]);
        expect(problems).to.be.above(150);
        expect(digest).to.equal(summaries[0]!.digest);
      }
      const { problems, parted, ran } = summaries[0]!;
      return { seed: SEED, problems, parted, ran };
    });
  }

  for (const [variant, dtypes] of [
    ['splitk', 'float32'],
    ['mmasplitk', 'float16,bfloat16'],
    ['joined', 'float32'],
    ['mmajoined', 'float16,bfloat16'],
  ] as const) {
    const title = `200 outputs and input gradients of ${dtypes} around the sizes of ${variant}'s tiles, warps in three orders`;
    proof(title, variant, async () => {
      const places = ['--pass', 'fwd,dgrad', '--variant', variant, '--dtype', dtypes];
      const args = [...places, '--runs', '200', '--seed', String(SEED)];
      const summaries = await severalAtOnce(['forward', 'reverse', 'mixed:7'], (order) =>
        simulatedReport<EdgesSummary>({ program: 'edges_cli', args, simulator: `order=${order}` }),
      );
      for (const { failures, problems, parted, digest } of summaries) {
        expect(failures).to.deep.equal([]);
        expect([problems, parted]).to.deep.equal([summaries[0]!.problems, problems]);
        expect(problems).to.be.above(150);
        expect(digest).to.equal(summaries[0]!.digest);
      }
      const { problems, parted, ran } = summaries[0]!;
      return { seed: SEED, problems, parted, ran };
    });
  }

  const residues =
    'r=4 stride=2 padding=1;r=2 stride=2;r=9 stride=3 padding=4 outputPadding=2;r=6x4 stride=2x4 padding=2x0';
  const smallGroups = {
    title: 'outputs and input gradients of small groups',
    places: ['--pass', 'fwd,dgrad', '--most', '16', '--groups', '4,8,12,32'],
    least: 80,
  };
  const ofResidues = { title: 'outputs', places: ['--pass', 'fwd', '--shapes', residues], least: 90 };
  const ofFewChannels = { title: 'input gradients', places: ['--pass', 'dgrad', '--most', '33'], least: 90 };
  for (const [{ title, places, least }, words] of [
    [ofFewChannels, '--variant folded --dtype float32'],
    [ofFewChannels, '--variant mmafolded --dtype bfloat16,float16'],
    [smallGroups, '--variant diagonal --dtype float32'],
    [smallGroups, '--variant mmadiagonal --dtype bfloat16,float16'],
    [smallGroups, '--variant mmadiagonal --dtype bfloat16,float16 --layout nhwc --multiple 4'],
    [ofResidues, '--variant merged --dtype float32'],
    [ofResidues, '--variant mmamerged --dtype bfloat16,float16'],
    [ofResidues, '--variant mmamerged --dtype bfloat16,float16 --layout nhwc --multiple 2'],
    [ofResidues, '--variant mmamerged --dtype bfloat16,float16 --layout nhwc --multiple 8'],
    [ofResidues, '--variant mmamerged --dtype float32 --settings tf32'],
  ] as const) {
    proof(`200 ${title} around the sizes of tiles, ${words}, warps in three orders`, variantIn(words), async () => {
      const args = ['--runs', '200', '--seed', String(SEED), ...places, ...words.split(' ')];
      const summaries = await severalAtOnce(['forward', 'reverse', 'mixed:7'], (order) =>
        simulatedReport<EdgesSummary>({ program: 'edges_cli', args, simulator: `order=${order}` }),
      );
      for (const { failures, problems, digest } of summaries) {
        expect(failures).to.deep.equal([]);
        expect(problems).to.be.above(least);
        expect(digest).to.equal(summaries[0]!.digest);
      }
      const { problems, parted, ran } = summaries[0]!;
      return { seed: SEED, problems, parted, ran };
    });
  }

  const env = { FRACSTRIDE_LIBCUDNN: CUDNN_SIMULATOR };
  for (const settings of ['', 'deterministic', 'benchmark', 'deterministic,benchmark']) {
    const words = settings === '' ? [] : ['--settings', settings];
    const title = settings === '' ? 'settings as they are' : settings;

    proofOfLibrary(`golden cases on cuDNN's stand-in, ${title}`, async () => {
      const places = LAYOUTS.flatMap((layout) => DTYPES.map((dtype) => ({ layout, dtype })));
      const summaries = await severalAtOnce(places, ({ layout, dtype }) =>
        simulatedReport<GoldenSummary>({
          program: 'golden_cli',
          args: [
            ...['--device', 'cuda:0', '--json', '--variant', 'cudnn', '--layout', layout, '--dtype', dtype],
            ...words,
          ],
          env,
        }),
      );
      for (const { passed, failed, variants } of summaries) {
        expect([passed, failed]).to.deep.equal([CASES, 0]);
        expect(variants!.wrong).to.deep.equal([]);
      }
      const count = summaries.reduce((sum, { variants }) => sum + (variants!.ran.cudnn ?? 0), 0);
      expect(count).to.be.above(CASES);
      return { cases: summaries.length * CASES, contractions: { cudnn: count } };
    });

    proofOfLibrary(`300 random problems on cuDNN's stand-in, ${title}`, async () => {
      const args = ['--variants', 'cudnn', '--runs', '300', '--seed', String(SEED), ...words];
      const { failures, variants } = await simulatedReport<RandomSummary>({ program: 'random_cli', args, env });
      expect(failures.join('\n'), `seed ${SEED}`).to.equal('');
      expect(variants.cudnn!.wrong).to.deep.equal([]);
      expect(variants.cudnn!.ran.cudnn).to.be.above(100);
      return { seed: SEED, contractions: variants.cudnn!.ran };
    });
  }
});
