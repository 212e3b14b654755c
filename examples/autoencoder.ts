/**
 * The main example: trains an autoencoder whose decoder is made of transposed convolutions (or, with --gan, a DCGAN) on
 * real pictures, and writes what came of it: a sheet of pictures, a loss curve, a report and the weights.
 *
 *   npm run demo [-- --gan | --help]
 */

import { runAutoencoder } from './autoencoder_run.js';
import { runGan } from './gan_run.js';
import { HELP, type Options, parseOptions } from './options.js';

function options(): Options | null {
  try {
    return parseOptions(process.argv.slice(2));
  } catch (error) {
    console.error(`${sentence(error)}\n\n${HELP}`);
    process.exit(2);
  }
}

async function main(chosen: Options | null): Promise<void> {
  if (chosen === null) console.log(HELP);
  else await (chosen.gan ? runGan(chosen) : runAutoencoder(chosen));
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

main(options()).catch((error: unknown) => {
  console.error(process.env.FRACSTRIDE_DEBUG ? error : sentence(error));
  process.exitCode = 1;
});
