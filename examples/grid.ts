/** Lays 64×64 pictures out in a sheet and writes it as a PNG file. */

import { encode } from 'fast-png';
import { SIDE } from './data.js';

/** Three planes of 64×64 values, 0 … 255. */
export type Pixels = Uint8Array;

/** Red, green and blue bytes, pixel after pixel. */
export interface Sheet {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

export interface Layout {
  readonly columns: number;
  /** Every pixel of a picture becomes scale × scale pixels of the sheet. */
  readonly scale: number;
}

const BACKGROUND = [226, 229, 234] as const;
const GAP = 4;
const MARGIN = 14;

/** Bytes of values 0 … 1 (clamped), such as a network's output. */
export function toPixels(values: Float32Array): Pixels {
  return Uint8Array.from(Uint8ClampedArray.from(values, (value) => value * 255));
}

/** Each original directly above its reconstruction, pairs set apart. */
export function pairSheet(originals: readonly Pixels[], reconstructions: readonly Pixels[], layout: Layout): Sheet {
  const tile = SIDE * layout.scale;
  const pairHeight = 2 * tile + GAP + 2 * MARGIN;
  const sheet = blank(
    layout.columns * (tile + GAP) - GAP,
    Math.ceil(originals.length / layout.columns) * pairHeight - 2 * MARGIN,
  );
  originals.forEach((original, i) => {
    const left = MARGIN + (i % layout.columns) * (tile + GAP);
    const top = MARGIN + Math.floor(i / layout.columns) * pairHeight;
    place(sheet, { pixels: original, left, top, scale: layout.scale });
    place(sheet, { pixels: reconstructions[i]!, left, top: top + tile + GAP, scale: layout.scale });
  });
  return sheet;
}

/** Pictures in rows. */
export function tileSheet(pictures: readonly Pixels[], layout: Layout): Sheet {
  const step = SIDE * layout.scale + GAP;
  const sheet = blank(layout.columns * step - GAP, Math.ceil(pictures.length / layout.columns) * step - GAP);
  pictures.forEach((pixels, i) => {
    const left = MARGIN + (i % layout.columns) * step;
    const top = MARGIN + Math.floor(i / layout.columns) * step;
    place(sheet, { pixels, left, top, scale: layout.scale });
  });
  return sheet;
}

/** The bytes of a PNG file. */
export function encodeSheet(sheet: Sheet): Uint8Array {
  return encode({ width: sheet.width, height: sheet.height, data: sheet.data, channels: 3, depth: 8 });
}

/** A sheet in the background colour whose inside, within the margin, has this size. */
function blank(insideWidth: number, insideHeight: number): Sheet {
  const width = insideWidth + 2 * MARGIN;
  const height = insideHeight + 2 * MARGIN;
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < data.length; i++) data[i] = BACKGROUND[i % 3]!;
  return { width, height, data };
}

function place(sheet: Sheet, a: { pixels: Pixels; left: number; top: number; scale: number }): void {
  const tile = SIDE * a.scale;
  for (let y = 0; y < tile; y++) {
    for (let x = 0; x < tile; x++) {
      const from = Math.floor(y / a.scale) * SIDE + Math.floor(x / a.scale);
      const to = ((a.top + y) * sheet.width + a.left + x) * 3;
      for (let c = 0; c < 3; c++) sheet.data[to + c] = a.pixels[c * SIDE * SIDE + from]!;
    }
  }
}
