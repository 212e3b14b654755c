/**
 * A training step of DCGAN (Radford, Metz and Chintala, arXiv 1511.06434; the networks and the step of PyTorch's
 * tutorial: batch 64, pictures of 64×64, 64 channels at the widest picture, BatchNorm, Adam) in this package and in
 * PyTorch, taking turns; and where our time goes.
 *
 * usage: node dist/bench/dcgan.js [--threads 1,2] [--rounds N] [--batch N] [--alone] [--profile] [--launches] [--store]
 *   --alone      without PyTorch (python3 with torch otherwise; FRACSTRIDE_BENCH_PYTHON names another python3)
 *   --profile    time by kernel, each launch waited for by itself; --launches lists them in order
 * One row a number of threads: milliseconds of a step, of both, and the ratio in the median of the rounds.
 */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { backends, manualSeed, nn, ones, optim, rand, randn, scope, type Tensor, zeros } from 'fracstride';
import { table } from '../codegen/cli/table.js';
import { commandLine, isCount, STORE, THREADS } from './command_line.js';
import { Child, settle } from './peers/child.js';
import { PYTORCH, python } from './peers/places.js';
import { type Launch, launchesOf, type Share, shares } from './profile.js';
import { quantiles, report } from './row.js';

const flags = commandLine('bench:dcgan', {
  threads: { ...THREADS, default: '2' },
  rounds: { about: 'rounds that a median is of', value: '<count>', default: '5', check: isCount },
  batch: { about: 'images of a step', value: '<count>', default: '64', check: isCount },
  alone: { about: 'without PyTorch' },
  profile: { about: 'where the time of a step goes' },
  launches: { about: 'the launches of a step too' },
  steps: { about: 'take so many steps and nothing else', value: '<count>', check: isCount },
  store: STORE,
});
const batch = Number(flags.batch);
const NOISE = 100;
const WARM = 2;
/** Steps of a profile; the first is warm-up. */
const PROFILED = 4;
const HALVE = { stride: 2, padding: 1, bias: false };

if (flags.steps !== undefined) {
  backends.cpu.threads = Number(flags.threads);
  await steps(Number(flags.steps));
} else {
  for (const word of flags.threads.split(',')) await compare(Number(word));
}

function initialise(module: nn.Module): void {
  if (module instanceof nn.Conv2d || module instanceof nn.ConvTranspose2d) nn.init.normal_(module.weight, 0, 0.02);
  if (module instanceof nn.BatchNorm2d && module.weight !== null) nn.init.normal_(module.weight, 1, 0.02);
}

/** One training step, with everything it needs kept from step to step. */
function trainer(): () => Promise<readonly [discriminator: number, generator: number]> {
  manualSeed(1);
  const up = (from: number, to: number) => [
    new nn.ConvTranspose2d(from, to, 4, HALVE),
    new nn.BatchNorm2d(to),
    new nn.ReLU(),
  ];
  const down = (from: number, to: number) => [
    new nn.Conv2d(from, to, 4, HALVE),
    new nn.BatchNorm2d(to),
    new nn.LeakyReLU(0.2),
  ];
  const artist = new nn.Sequential(
    new nn.ConvTranspose2d(NOISE, 512, 4, { bias: false }),
    new nn.BatchNorm2d(512),
    new nn.ReLU(),
    ...[...up(512, 256), ...up(256, 128), ...up(128, 64)],
    new nn.ConvTranspose2d(64, 3, 4, HALVE),
    new nn.Tanh(),
  ).apply(initialise);
  const critic = new nn.Sequential(
    new nn.Conv2d(3, 64, 4, HALVE),
    new nn.LeakyReLU(0.2),
    ...[...down(64, 128), ...down(128, 256), ...down(256, 512)],
    new nn.Conv2d(512, 1, 4, { bias: false }),
  ).apply(initialise);
  const adam = (module: nn.Sequential) => new optim.Adam(module.parameters(), { lr: 0.0002, betas: [0.5, 0.999] });
  const [artistOptimizer, criticOptimizer] = [adam(artist), adam(critic)];
  const loss = new nn.BCEWithLogitsLoss();
  const pictures = rand([batch, 3, 64, 64]).mul(2).sub(1);
  const verdicts = [batch, 1, 1, 1];
  const [real, drawn] = [ones(verdicts), zeros(verdicts)];
  const learn = (images: Tensor, wanted: Tensor): Tensor => {
    const found = loss.forward(critic.forward(images), wanted);
    found.backward();
    return found;
  };
  return () =>
    scope(async () => {
      criticOptimizer.zeroGrad();
      const onReal = learn(pictures, real);
      const images = artist.forward(randn([batch, NOISE, 1, 1]));
      const onDrawn = learn(images.detach(), drawn);
      criticOptimizer.step();
      artistOptimizer.zeroGrad();
      const deceived = learn(images, real);
      artistOptimizer.step();
      return [onReal.item() + onDrawn.item(), deceived.item()] as const;
    });
}

/** Milliseconds of a step. */
async function timed(step: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await step();
  return performance.now() - start;
}

async function compare(threads: number): Promise<void> {
  backends.cpu.threads = threads;
  const step = trainer();
  const losses = await step();
  for (let i = 1; i < WARM; i++) await step();
  const peer = flags.alone
    ? null
    : new Child(python(), [PYTORCH], { OMP_NUM_THREADS: `${threads}`, OPENBLAS_NUM_THREADS: `${threads}` });
  try {
    const about = await peer?.ask({ do: 'versions', threads });
    const theirLosses = (await peer?.ask({ do: 'dcgan', threads, batch }))?.losses;
    if (peer !== null) await peer.ask({ do: 'step', calls: WARM - 1 });
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let round = 0; round < Number(flags.rounds); round++) {
      await settle();
      ours.push(await timed(step));
      await settle();
      if (peer !== null) theirs.push(...((await peer.ask({ do: 'step', calls: 1 })).times as number[]));
    }
    report('dcgan_step', { threads, batch, ...figures(ours, theirs), pytorch: about ?? null, losses, theirLosses });
  } finally {
    peer?.end();
  }
  if (flags.profile || flags.launches) profile(threads);
}

function figures(ours: readonly number[], theirs: readonly number[]): Record<string, unknown> {
  const short = (value: number): number => Number(value.toPrecision(4));
  const ms = (values: readonly number[]) => {
    const { min, median, p90 } = quantiles(values);
    return { min: short(min), median: short(median), p90: short(p90) };
  };
  if (theirs.length === 0) return { rounds: ours.length, step_ms: ms(ours) };
  const ratios = ours.map((value, round) => theirs[round]! / value);
  const ratio = { median: short(quantiles(ratios).median), least: short(Math.min(...ratios)) };
  return { rounds: ours.length, step_ms: ms(ours), pytorch_ms: ms(theirs), ratio };
}

/** For the profile: some steps in a process whose launches tell their times. A line on stdout ends each. */
async function steps(count: number): Promise<void> {
  const step = trainer();
  for (let i = 0; i < count; i++) {
    process.stderr.write(`step ${i} ${performance.now()}\n`);
    await step();
  }
  process.stderr.write(`step ${count} ${performance.now()}\n`);
}

function profile(threads: number): void {
  const words = ['--threads', `${threads}`, '--batch', `${batch}`, '--steps', `${PROFILED}`];
  const env = { ...process.env, FRACSTRIDE_DEBUG: '2' };
  const { stderr } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...words], {
    ...{ env, encoding: 'utf8', maxBuffer: 2 ** 28 },
  });
  const { launches, stepMs } = launchesOf(stderr);
  if (flags.launches) console.log(listed(launches));
  const rows = shares(launches, stepMs);
  console.log(summary(rows));
  const kept = rows.map(({ what, calls, ms, share }) => ({ what, calls, ms, share }));
  report('dcgan_profile', {
    threads,
    batch,
    step_ms: Number(stepMs.toFixed(1)),
    launches: launches.length,
    kernels: kept,
  });
}

function listed(launches: readonly Launch[]): string {
  const lines = launches.map(({ kernel, us }, i) => [`${i}`, kernel, us.toFixed(0)]);
  return table(['#', 'kernel', 'µs'], lines);
}

function summary(rows: readonly Share[]): string {
  const lines = rows.map(({ what, calls, ms, share }) => [
    what,
    `${calls}`,
    ms.toFixed(2),
    `${(100 * share).toFixed(1)} %`,
  ]);
  return table(['kernel', 'calls', 'ms a step', 'share'], lines);
}
