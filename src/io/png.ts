/**
 * Pictures: a tensor [C, H, W] (or [1, C, H, W]) of 1 to 4 channels (grey, grey + alpha, RGB, RGBA) to and from PNG.
 * Values run from 0 to 1; what lies outside is clamped, NaN is 0.
 */

import { types } from 'node:util';
import { decode, encode } from 'fast-png';
import { checkTensor, fail } from '../checks.js';
import { tensor } from '../create.js';
import type { TensorData } from '../dtype.js';
import { FracstrideError, show } from '../errors.js';
import { readData, readDataAsync } from '../host.js';
import type { Tensor } from '../tensor.js';
import { type LoadOptions, readBytes, readPlacement, writeBytes } from './files.js';

/**
 * The bytes of an 8-bit PNG file.
 *
 * @throws FracstrideError ERR_SHAPE unless the tensor is one picture
 */
export function serialize(picture: Tensor): Uint8Array {
  const size = sizeOf(picture);
  return encoded(size, readData(picture));
}

interface Size {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

function sizeOf(picture: Tensor): Size {
  checkTensor('png', 'picture', picture);
  const shape = picture.shape.length === 4 && picture.shape[0] === 1 ? picture.shape.slice(1) : picture.shape;
  const [channels = 0, height = 0, width = 0] = shape;
  if (shape.length !== 3 || channels < 1 || channels > 4 || height < 1 || width < 1) {
    throw new FracstrideError(
      'ERR_SHAPE',
      `png: picture must be of shape [C, H, W] with 1 to 4 channels, got ${show([...picture.shape])}`,
    );
  }
  return { channels, height, width };
}

function encoded({ channels, height, width }: Size, values: TensorData): Uint8Array {
  const pixels = height * width;
  const data = new Uint8ClampedArray(channels * pixels);
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < pixels; i++) data[i * channels + c] = values[c * pixels + i]! * 255;
  }
  return encode({ width, height, channels, depth: 8, data: new Uint8Array(data.buffer) });
}

/**
 * A float32 tensor [C, H, W] of the picture's channels; a palette is resolved to RGB.
 *
 * @throws FracstrideError ERR_ARGUMENT when the bytes are not a PNG file
 */
export function deserialize(file: Uint8Array, options: LoadOptions = {}): Tensor {
  const placed = readPlacement('png', options);
  const png = decoded(file);
  const pixels = png.width * png.height;
  const sample = unpackSamples(png);
  const channels = png.palette === undefined ? png.channels : (png.palette[0]?.length ?? 3);
  const values = new Float32Array(channels * pixels);
  for (let i = 0; i < pixels; i++) {
    for (let c = 0; c < channels; c++) values[c * pixels + i] = sample(i, c);
  }
  return tensor(values, { shape: [channels, png.height, png.width], ...placed });
}

/** Writes a picture in one step; see `serialize`. */
export async function save(path: string, picture: Tensor): Promise<void> {
  const size = sizeOf(picture);
  await writeBytes('png', path, encoded(size, await readDataAsync(picture)));
}

/** Reads a picture by its path, or its bytes; see `deserialize`. */
export async function load(source: string | Uint8Array, options: LoadOptions = {}): Promise<Tensor> {
  return deserialize(typeof source === 'string' ? await readBytes('png', source) : source, options);
}

type Decoded = ReturnType<typeof decode>;

function decoded(file: Uint8Array): Decoded {
  if (!types.isUint8Array(file)) fail('ERR_ARGUMENT', 'png', 'file', 'a Uint8Array', file);
  try {
    return decode(file, { checkCrc: true });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new FracstrideError('ERR_ARGUMENT', `png: file must be a PNG picture, got ${show(why)}`, { cause });
  }
}

/** Value in [0, 1] of a pixel's channel. */
function unpackSamples(png: Decoded): (pixel: number, channel: number) => number {
  const at = (sample: number, row: number) => packedSample(png, row, sample);
  const top = 2 ** png.depth - 1;
  const { palette, channels, width } = png;
  return (pixel, channel) => {
    const row = Math.floor(pixel / width);
    const column = pixel - row * width;
    if (palette !== undefined) return (palette[at(column, row)]?.[channel] ?? 0) / 255;
    return at(column * channels + channel, row) / top;
  };
}

/** Samples narrower than a byte are packed, most significant first, in rows of whole bytes. */
function packedSample(png: Decoded, row: number, sample: number): number {
  const perRow = png.width * png.channels;
  if (png.depth >= 8) return png.data[row * perRow + sample] ?? 0;
  const bit = sample * png.depth;
  const byte = png.data[row * Math.ceil((perRow * png.depth) / 8) + (bit >>> 3)] ?? 0;
  return (byte >>> (8 - png.depth - (bit & 7))) & (2 ** png.depth - 1);
}
