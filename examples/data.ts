/**
 * The pictures: about 1,900 emoji of 64×64 pixels (Twemoji artwork, CC-BY 4.0) from the package emoji-datasource-twitter,
 * decoded once, laid on white, and split into pictures to train on and pictures the network never sees.
 */

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { convertIndexedToRgb, decode } from 'fast-png';
import { type Tensor, tensor } from 'fracstride';
import { Random } from './random.js';

/** Width and height of every picture. */
export const SIDE = 64;
/** Numbers in a picture: red, green and blue planes. */
export const VALUES = 3 * SIDE * SIDE;

export interface Picture {
  readonly name: string;
  /** Pictures that differ only in the person shown share a family, and are never split between training and held-out. */
  readonly family: string;
  /** Red, green, blue plane after plane ([3, 64, 64]), 0 … 255. */
  readonly pixels: Uint8Array;
}

export interface Split {
  readonly training: readonly Picture[];
  readonly heldOut: readonly Picture[];
}

interface Entry {
  readonly short_name: string;
  readonly image: string;
  readonly category: string;
  readonly sort_order: number;
  readonly has_img_twitter: boolean;
  readonly obsoleted_by?: string;
}

/**
 * All pictures without their skin-tone variants, in the order of the emoji standard, or a sample of `limit` of them.
 *
 * @throws Error when emoji-datasource-twitter is not installed
 */
export async function loadPictures(limit = Number.POSITIVE_INFINITY): Promise<readonly Picture[]> {
  const folder = dataFolder();
  const entries = JSON.parse(await readFile(join(folder, 'emoji.json'), 'utf8')) as Entry[];
  const usable = entries.filter((e) => e.has_img_twitter && e.obsoleted_by === undefined && e.category !== 'Component');
  usable.sort((a, b) => a.sort_order - b.sort_order);
  const pictures = await Promise.all(
    usable.map(async ({ short_name, image }) => ({
      name: short_name.replaceAll(/[-_]/g, ' '),
      family: familyOf(image),
      pixels: decodeOnWhite(await readFile(join(folder, 'img', 'twitter', '64', image))),
    })),
  );
  return sample(distinct(pictures), limit);
}

/** A tenth of the families is held out; the choice is fixed, whatever the seed of the training. */
export function splitPictures(pictures: readonly Picture[]): Split {
  const families = [...new Set(pictures.map((picture) => picture.family))];
  const kept = new Set(new Random(2).shuffle(families).slice(0, Math.ceil(families.length / 10)));
  return {
    training: pictures.filter((picture) => !kept.has(picture.family)),
    heldOut: pictures.filter((picture) => kept.has(picture.family)),
  };
}

/** Endless batches of `size` pictures: every picture once, in a new order, then again. */
export function* batches(pictures: readonly Picture[], size: number, random: Random): Generator<Picture[], never> {
  let waiting: Picture[] = [];
  for (;;) {
    while (waiting.length < size) waiting = waiting.concat(random.shuffle(pictures));
    yield waiting.splice(0, size);
  }
}

/** A float32 tensor [N, 3, 64, 64] with values from 0 to 1. */
export function toTensor(pictures: readonly Picture[], device: string): Tensor {
  const values = new Float32Array(pictures.length * VALUES);
  pictures.forEach((picture, n) => {
    for (let i = 0; i < VALUES; i++) values[n * VALUES + i] = picture.pixels[i]! / 255;
  });
  return tensor(values, { shape: [pictures.length, 3, SIDE, SIDE], device });
}

/** The three planes of a 64×64 PNG file (RGBA or palette), over white. */
export function decodeOnWhite(file: Uint8Array): Uint8Array {
  const png = decode(file);
  const colours = png.palette === undefined ? png.data : convertIndexedToRgb(png);
  const channels = png.palette === undefined ? png.channels : png.palette[0]!.length;
  if (png.width !== SIDE || png.height !== SIDE || channels < 3) {
    throw new Error(
      `Expected ${SIDE}×${SIDE} colour pixels, got ${png.width}×${png.height} with ${channels} channels.`,
    );
  }
  const planes = new Uint8Array(VALUES);
  const area = SIDE * SIDE;
  for (let i = 0; i < area; i++) {
    const alpha = channels === 4 ? colours[i * 4 + 3]! / 255 : 1;
    for (let c = 0; c < 3; c++)
      planes[c * area + i] = Math.round(colours[i * channels + c]! * alpha + 255 * (1 - alpha));
  }
  return planes;
}

/** Without those that look exactly like an earlier one: what is held out must not be known by another name. */
function distinct(pictures: readonly Picture[]): Picture[] {
  const seen = new Set<string>();
  return pictures.filter(({ pixels }) => {
    const content = Buffer.from(pixels).toString('latin1');
    return !seen.has(content) && seen.add(content);
  });
}

/** Some of the pictures, always the same, in their order. */
function sample(pictures: readonly Picture[], count: number): readonly Picture[] {
  if (count >= pictures.length) return pictures;
  const chosen = new Set(new Random(1).shuffle(pictures).slice(0, count));
  return pictures.filter((picture) => chosen.has(picture));
}

/** Joiners, variation selectors and gender signs. */
const SILENT = new Set(['200d', 'fe0f', '2640', '2642']);
/** Boy, girl, child; man, woman, person; old man, old woman, old person. */
const PEOPLE = new Set(['1f466', '1f467', '1f9d2', '1f468', '1f469', '1f9d1', '1f474', '1f475', '1f9d3']);

/** The code points of the picture's name, with anything about who is shown left out. */
function familyOf(image: string): string {
  const codes = image.replace('.png', '').split('-');
  const told = codes.filter((code) => !SILENT.has(code));
  return told.map((code) => (PEOPLE.has(code) ? 'person' : code)).join('-');
}

function dataFolder(): string {
  try {
    return dirname(createRequire(import.meta.url).resolve('emoji-datasource-twitter/emoji.json'));
  } catch (cause) {
    throw new Error(
      "The pictures are not installed: run 'npm ci' in the examples folder, or 'npm run demo' above it.",
      { cause },
    );
  }
}
