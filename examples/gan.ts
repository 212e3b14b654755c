/**
 * Trains a DCGAN: the generator draws pictures from noise, the discriminator tells real pictures from drawn ones, and
 * each learns from the other. (Radford, Metz and Chintala, 2015: arXiv 1511.06434.)
 *
 * A discriminator that wins early teaches nothing, and a training of minutes has no time to recover. So it is narrower
 * than the generator, wants 0.9 instead of 1 for real pictures and sees everything through noise that fades away; and
 * both start faster than with the paper's rate of 0.0002, and slow down.
 */

import { full, manualSeed, nn, noGrad, optim, randn, scope, type Tensor } from 'fracstride';
import { batches, type Picture, toTensor, VALUES } from './data.js';
import { discriminator, generator, NOISE } from './models.js';
import { Progress } from './progress.js';
import { Random } from './random.js';
import { learningRate } from './schedule.js';
import type { TrainingOptions } from './train.js';

export interface GanHistory {
  readonly generator: [number, number][];
  readonly discriminator: [number, number][];
}

/** What the generator makes of the same noise at some step: [3, 64, 64] values from 0 to 1 each. */
export interface Snapshot {
  readonly step: number;
  readonly pictures: readonly Float32Array[];
}

export interface Gan {
  readonly generator: nn.Sequential;
  readonly discriminator: nn.Sequential;
  readonly history: GanHistory;
  readonly snapshots: readonly Snapshot[];
}

const BETAS = [0.5, 0.999] as const;
/** Highest learning rates. */
const ARTIST_RATE = 1e-3;
const CRITIC_RATE = 4e-4;
/** The probability that a picture is real, as the critic should say it. */
const REAL = 0.9;
const DRAWN = 0;
/** Standard deviation of the noise at the first step; pictures run from -1 to 1. */
const NOISE_LEVEL = 0.5;
const SNAPSHOTS = 6;

export async function trainGan(
  pictures: readonly Picture[],
  options: TrainingOptions & { readonly samples: number },
): Promise<Gan> {
  manualSeed(options.seed);
  const artist = generator().to({ device: options.device });
  const critic = discriminator().to({ device: options.device });
  using artistOptimizer = new optim.Adam(artist.parameters(), { lr: ARTIST_RATE, betas: BETAS });
  using criticOptimizer = new optim.Adam(critic.parameters(), { lr: CRITIC_RATE, betas: BETAS });
  const source = batches(pictures, options.batch, new Random(options.seed));
  const progress = new Progress({ total: options.steps, ...options });
  const history: GanHistory = { generator: [], discriminator: [] };
  const snapshots: Snapshot[] = [];
  using noise = randn([options.samples, NOISE, 1, 1], { device: options.device });

  for (let step = 1; step <= options.steps; step++) {
    for (const group of artistOptimizer.paramGroups) group.lr = learningRate(step, options.steps, ARTIST_RATE);
    for (const group of criticOptimizer.paramGroups) group.lr = learningRate(step, options.steps, CRITIC_RATE);
    const fog = NOISE_LEVEL * (1 - step / options.steps);
    const losses = await scope(async () => {
      const real = toTensor(source.next().value, options.device).mul(2).sub(1);
      const drawn = artist.forward(randn([options.batch, NOISE, 1, 1], { device: options.device }));

      const criticLoss = verdict(critic, blur(real, fog), REAL).add(verdict(critic, blur(drawn.detach(), fog), DRAWN));
      criticOptimizer.zeroGrad();
      criticLoss.backward();
      criticOptimizer.step();

      const artistLoss = verdict(critic, blur(drawn, fog), 1);
      artistOptimizer.zeroGrad();
      artistLoss.backward();
      artistOptimizer.step();
      return { discriminator: (await criticLoss.data())[0]!, generator: (await artistLoss.data())[0]! };
    });
    history.generator.push([step, losses.generator]);
    history.discriminator.push([step, losses.discriminator]);
    if (step === options.steps || step % Math.ceil(options.steps / SNAPSHOTS) === 0) {
      snapshots.push({ step, pictures: await draw(artist, noise) });
    }
    progress.update(step, losses);
  }
  return { generator: artist, discriminator: critic, history, snapshots };
}

/** How far the critic's opinion of these pictures is from `wanted`, the probability that they are real. */
function verdict(critic: nn.Sequential, pictures: Tensor, wanted: number): Tensor {
  const scores = critic.forward(pictures);
  return new nn.BCEWithLogitsLoss().forward(scores, full(scores.shape, wanted, { device: scores.device }));
}

function blur(pictures: Tensor, level: number): Tensor {
  return pictures.add(randn(pictures.shape, { device: pictures.device }).mul(level));
}

/** Pictures from noise, 0 … 1. */
async function draw(artist: nn.Sequential, noise: Tensor): Promise<Float32Array[]> {
  artist.eval();
  const values = (await noGrad(() => scope(() => artist.forward(noise).data()))) as Float32Array;
  artist.train();
  return Array.from({ length: noise.shape[0]! }, (_, n) =>
    values.slice(n * VALUES, (n + 1) * VALUES).map((value) => (value + 1) / 2),
  );
}
