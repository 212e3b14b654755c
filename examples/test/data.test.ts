import { expect } from 'chai';
import { encode } from 'fast-png';
import { batches, decodeOnWhite, loadPictures, type Picture, SIDE, splitPictures, toTensor, VALUES } from '../data.js';
import { Random } from '../random.js';

const AREA = SIDE * SIDE;

describe('examples: the pictures', () => {
  let pictures: readonly Picture[];

  before(async () => {
    pictures = await loadPictures();
  });

  it('are more than a thousand, each of three full planes, no two alike', () => {
    expect(pictures.length).to.be.greaterThan(1000);
    for (const picture of pictures) expect(picture.pixels.length).to.equal(VALUES);
    const contents = new Set(pictures.map((picture) => Buffer.from(picture.pixels).toString('base64')));
    expect(contents.size).to.equal(pictures.length);
  });

  it('show what their names say: the flag of Austria is red, white, red', () => {
    const { pixels } = pictures.find((picture) => picture.name === 'flag at')!;
    const at = (row: number) => [0, 1, 2].map((c) => pixels[c * AREA + row * SIDE + SIDE / 2]!);
    for (const row of [16, 48]) {
      expect(at(row)[0]).to.be.greaterThan(200);
      expect(at(row)[1]).to.be.lessThan(60);
    }
    expect(Math.min(...at(32))).to.be.greaterThan(200);
  });

  it('are split the same way each time, a tenth held out, no family on both sides', () => {
    const split = splitPictures(pictures);
    expect(splitPictures(pictures)).to.deep.equal(split);
    expect(split.training.length + split.heldOut.length).to.equal(pictures.length);
    expect(split.heldOut.length / pictures.length).to.be.within(0.08, 0.12);
    const trained = new Set(split.training.map((picture) => picture.family));
    expect(split.heldOut.filter((picture) => trained.has(picture.family))).to.deep.equal([]);
  });

  it('can be a sample, in the same order', async () => {
    const sample = await loadPictures(100);
    const names = sample.map((picture) => picture.name);
    expect(names).to.have.length(100);
    expect(pictures.map((picture) => picture.name).filter((name) => names.includes(name))).to.deep.equal(names);
  });

  it('come in batches that show every picture once before any twice', () => {
    const source = batches(pictures.slice(0, 20), 8, new Random(3));
    const seen = [1, 2, 3, 4, 5].flatMap(() => source.next().value);
    for (const half of [seen.slice(0, 20), seen.slice(20)]) expect(new Set(half).size).to.equal(20);
    expect(seen.slice(0, 20)).to.not.deep.equal(seen.slice(20));
  });

  it('become a tensor of values from 0 to 1', () => {
    using batch = toTensor(pictures.slice(0, 2), 'cpu');
    expect(batch.shape).to.deep.equal([2, 3, 64, 64]);
    const values = batch.dataSync();
    for (const i of [0, 1000, VALUES, 2 * VALUES - 1]) {
      expect(values[i]).to.equal(Math.fround(pictures[Math.floor(i / VALUES)]!.pixels[i % VALUES]! / 255));
    }
  });
});

describe('examples: decodeOnWhite', () => {
  it('lays transparent pixels on white', () => {
    const data = new Uint8Array(AREA * 4);
    data.set([200, 100, 0, 255, 200, 100, 0, 0, 200, 100, 0, 51]);
    const planes = decodeOnWhite(encode({ width: SIDE, height: SIDE, channels: 4, data }));
    const pixel = (i: number) => [planes[i], planes[AREA + i], planes[2 * AREA + i]];
    expect(pixel(0)).to.deep.equal([200, 100, 0]);
    expect(pixel(1)).to.deep.equal([255, 255, 255]);
    expect(pixel(2)).to.deep.equal([244, 224, 204]);
  });

  it('refuses another size', () => {
    const small = encode({ width: 2, height: 2, channels: 3, data: new Uint8Array(12) });
    expect(() => decodeOnWhite(small)).to.throw('Expected 64×64 colour pixels, got 2×2 with 3 channels.');
  });
});
