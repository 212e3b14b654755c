/** Trains the autoencoder: pictures in, the same pictures wanted out, mean squared error between them. */

import { manualSeed, nn, noGrad, optim, scope } from 'fracstride';
import { batches, type Picture, type Split, toTensor, VALUES } from './data.js';
import { Autoencoder } from './models.js';
import { type Output, Progress } from './progress.js';
import { Random } from './random.js';
import { learningRate } from './schedule.js';

export interface TrainingOptions {
  readonly steps: number;
  /** Steps that the learning rate rises and falls over, when the training is to end before that. Default `steps`. */
  readonly schedule?: number;
  /** The highest learning rate. Default `PEAK_RATE`. */
  readonly rate?: number;
  readonly batch: number;
  readonly seed: number;
  readonly device: string;
  /** Where progress is shown. */
  readonly output: Output;
  /** Sees the optimiser after the last step, while its state is still there. */
  readonly inspect?: (optimizer: optim.Adam) => void;
}

export interface History {
  /** [step, loss] after every step. */
  readonly training: [number, number][];
  /** [step, loss] every now and then. */
  readonly heldOut: [number, number][];
}

export interface Evaluation {
  /** Mean squared error of all values (0 … 1) of all pictures. */
  readonly loss: number;
  /** Mean over the pictures of 10·log₁₀(1 / mean squared error), in decibels. */
  readonly psnr: number;
  /** [3, 64, 64] values for each picture. */
  readonly reconstructions: readonly Float32Array[];
}

/** The highest learning rate. */
export const PEAK_RATE = 4e-3;
const EVALUATIONS = 12;

export async function trainAutoencoder(
  split: Split,
  options: TrainingOptions,
): Promise<{ model: Autoencoder; history: History }> {
  const { schedule = options.steps, rate = PEAK_RATE } = options;
  manualSeed(options.seed);
  const model = new Autoencoder().to({ device: options.device });
  const criterion = new nn.MSELoss();
  using optimizer = new optim.Adam(model.parameters(), { lr: rate });
  const source = batches(split.training, options.batch, new Random(options.seed));
  const progress = new Progress({ total: options.steps, ...options });
  const history: History = { training: [], heldOut: [] };

  for (let step = 1; step <= options.steps; step++) {
    for (const group of optimizer.paramGroups) group.lr = learningRate(step, schedule, rate);
    // scope() gives back everything that a step allocates; parameters and optimiser state stay. Everything in it is
    // launched at once; the device works through it while this process waits for the error and does other things.
    const loss = await scope(async () => {
      const pictures = toTensor(source.next().value, options.device);
      const error = criterion.forward(model.forward(pictures), pictures);
      optimizer.zeroGrad();
      error.backward();
      optimizer.step();
      return (await error.data())[0]!;
    });
    history.training.push([step, loss]);
    if (step === options.steps || step % Math.ceil(options.steps / EVALUATIONS) === 0) {
      history.heldOut.push([step, (await evaluate(model, split.heldOut, options.device)).loss]);
    }
    progress.update(step, { loss, ...lastHeldOut(history) });
  }
  options.inspect?.(optimizer);
  return { model, history };
}

/** Draws pictures again, in evaluation mode (batch normalisation uses its running averages), and measures the error. */
export async function evaluate(model: Autoencoder, pictures: readonly Picture[], device: string): Promise<Evaluation> {
  model.eval();
  const reconstructions: Float32Array[] = [];
  for (let i = 0; i < pictures.length; i += 32) {
    const values = (await noGrad(() =>
      scope(() => model.forward(toTensor(pictures.slice(i, i + 32), device)).data()),
    )) as Float32Array;
    for (let n = 0; n < values.length; n += VALUES) reconstructions.push(values.slice(n, n + VALUES));
  }
  model.train();
  const errors = pictures.map((picture, i) => squaredError(picture, reconstructions[i]!));
  return {
    loss: mean(errors),
    psnr: mean(errors.map((error) => -10 * Math.log10(error))),
    reconstructions,
  };
}

function squaredError(picture: Picture, values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < VALUES; i++) sum += (picture.pixels[i]! / 255 - values[i]!) ** 2;
  return sum / VALUES;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function lastHeldOut(history: History): Record<string, number> {
  const last = history.heldOut.at(-1);
  return last === undefined ? {} : { 'held out': last[1] };
}
