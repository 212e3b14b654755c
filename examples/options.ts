/** The command line of the main example. */

import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

export interface Options {
  readonly gan: boolean;
  /** Times that every training picture is seen. */
  readonly epochs: number;
  /** Training steps, instead of epochs; 0 means: by epochs. */
  readonly steps: number;
  readonly batch: number;
  readonly seed: number;
  readonly device: string;
  /** Folder for the results. */
  readonly out: string;
  /** Pictures to use; 0 means all. */
  readonly images: number;
  /** Weights to look at instead of training. */
  readonly evaluate: string | null;
}

const DEFAULTS = { epochs: 16, batch: 16, seed: 0 };
const QUICK = { steps: 12, batch: 8, images: 120 };

export const HELP = `Trains a network with transposed convolutions on about 1,900 real 64×64 emoji pictures.

Usage: npm run demo -- [options]        (or: node examples/dist/autoencoder.js [options])

  without --gan      a convolutional autoencoder: learns to draw pictures again from 1,024 numbers each
  --gan              a DCGAN: learns to draw new pictures from noise

  --epochs N         times that every training picture is seen (default ${DEFAULTS.epochs})
  --steps N          training steps, instead of --epochs
  --batch N          pictures a step (default ${DEFAULTS.batch})
  --images N         use only N pictures (default: all)
  --seed N           another start of the weights and another order of the pictures (default ${DEFAULTS.seed})
  --device NAME      cpu, cuda, cuda:1 or auto (default: $FRACSTRIDE_DEVICE or auto)
  --out FOLDER       where the results go (default examples/out)
  --evaluate FILE    do not train: load these weights of the autoencoder and draw the held-out pictures with them
  --quick            ${QUICK.steps} steps on ${QUICK.images} pictures, to see everything run once
  --help             this text
`;

/**
 * @returns null when help was asked for
 * @throws Error with a sentence when the arguments make no sense
 */
export function parseOptions(args: readonly string[]): Options | null {
  const { values } = parseArgs({
    args: [...args],
    options: {
      gan: { type: 'boolean', default: false },
      epochs: { type: 'string' },
      steps: { type: 'string' },
      batch: { type: 'string' },
      images: { type: 'string' },
      seed: { type: 'string' },
      device: { type: 'string' },
      out: { type: 'string' },
      evaluate: { type: 'string' },
      quick: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return null;
  if (values.gan && values.evaluate !== undefined)
    throw new Error('--evaluate is for the autoencoder: leave --gan out.');
  return {
    gan: values.gan,
    epochs: whole('epochs', values.epochs, DEFAULTS.epochs, 1),
    steps: whole('steps', values.steps, values.quick && values.epochs === undefined ? QUICK.steps : 0, 1),
    batch: whole('batch', values.batch, values.quick ? QUICK.batch : DEFAULTS.batch, 2),
    images: whole('images', values.images, values.quick ? QUICK.images : 0, 40),
    seed: whole('seed', values.seed, DEFAULTS.seed, 0),
    device: values.device ?? process.env.FRACSTRIDE_DEVICE ?? 'auto',
    out: values.out === undefined ? fileURLToPath(new URL('../out', import.meta.url)) : fromCaller(values.out),
    evaluate: values.evaluate === undefined ? null : fromCaller(values.evaluate),
  };
}

/** npm runs scripts in the package's folder, and says in INIT_CWD where the person was. */
function fromCaller(path: string): string {
  return resolve(process.env.INIT_CWD ?? '.', path);
}

function whole(name: string, text: string | undefined, otherwise: number, least: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (text.trim() === '' || !Number.isSafeInteger(value) || value < least) {
    throw new Error(`--${name} must be a whole number of at least ${least}, got '${text}'.`);
  }
  return value;
}
