/**
 * The networks. All sizes below are for pictures [N, 3, 64, 64]; every `down` halves height and width by a strided
 * convolution, every `up` doubles them by its transpose: (in - 1)·2 - 2·1 + (4 - 1) + 1 = 2·in.
 */

import { nn, type Tensor } from 'fracstride';

const HALVE = { stride: 2, padding: 1, bias: false };
const DOUBLE = { stride: 2, padding: 1, bias: false };

/** Numbers a picture is squeezed into: 16 planes of 8×8, a twelfth of its 12,288. */
export const CODE = { channels: 16, side: 8 };

/** Pictures → code [N, 16, 8, 8] → pictures, values from 0 to 1. */
export class Autoencoder extends nn.Module {
  readonly encoder = new nn.Sequential(
    ...down(3, 32), //                                     [N,  32, 32, 32]
    ...down(32, 64), //                                    [N,  64, 16, 16]
    new nn.Conv2d(64, CODE.channels, 4, { stride: 2, padding: 1 }), // [N, 16, 8, 8]
  );
  readonly decoder = new nn.Sequential(
    ...up(CODE.channels, 64), //                           [N,  64, 16, 16]
    ...up(64, 32), //                                      [N,  32, 32, 32]
    new nn.ConvTranspose2d(32, 3, 4, { stride: 2, padding: 1 }), // [N, 3, 64, 64]
    new nn.Sigmoid(),
  );

  forward(pictures: Tensor): Tensor {
    return this.decoder.forward(this.encoder.forward(pictures));
  }
}

/** Random numbers that the generator makes a picture of. */
export const NOISE = 100;

/** DCGAN's generator: noise [N, 100, 1, 1] → pictures, values from -1 to 1. */
export function generator(width = 24): nn.Sequential {
  return new nn.Sequential(
    new nn.ConvTranspose2d(NOISE, 8 * width, 4, { bias: false }), // [N, 192, 4, 4]
    new nn.BatchNorm2d(8 * width),
    new nn.ReLU(),
    ...up(8 * width, 4 * width), //                                 [N, 96, 8, 8]
    ...up(4 * width, 2 * width), //                                 [N, 48, 16, 16]
    ...up(2 * width, width), //                                     [N, 24, 32, 32]
    new nn.ConvTranspose2d(width, 3, 4, DOUBLE), //                 [N, 3, 64, 64]
    new nn.Tanh(),
  ).apply(initialise);
}

/** DCGAN's discriminator: pictures → [N, 1, 1, 1], above 0 for "real". */
export function discriminator(width = 16): nn.Sequential {
  return new nn.Sequential(
    new nn.Conv2d(3, width, 4, HALVE), //                           [N, 16, 32, 32]
    new nn.LeakyReLU(0.2),
    ...judge(width, 2 * width), //                                  [N, 32, 16, 16]
    ...judge(2 * width, 4 * width), //                              [N, 64, 8, 8]
    ...judge(4 * width, 8 * width), //                              [N, 128, 4, 4]
    new nn.Conv2d(8 * width, 1, 4, { bias: false }), //             [N, 1, 1, 1]
  ).apply(initialise);
}

function down(from: number, to: number) {
  return [new nn.Conv2d(from, to, 4, HALVE), new nn.BatchNorm2d(to), new nn.ReLU()];
}

function up(from: number, to: number) {
  return [new nn.ConvTranspose2d(from, to, 4, DOUBLE), new nn.BatchNorm2d(to), new nn.ReLU()];
}

function judge(from: number, to: number) {
  return [new nn.Conv2d(from, to, 4, HALVE), new nn.BatchNorm2d(to), new nn.LeakyReLU(0.2)];
}

/** The DCGAN paper's start: weights around 0 (around 1 for normalisation), deviation 0.02. */
function initialise(module: nn.Module): void {
  if (module instanceof nn.Conv2d || module instanceof nn.ConvTranspose2d) nn.init.normal_(module.weight, 0, 0.02);
  if (module instanceof nn.BatchNorm2d && module.weight !== null) nn.init.normal_(module.weight, 1, 0.02);
}
