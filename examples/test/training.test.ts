import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { io, memory } from 'fracstride';
import { runAutoencoder } from '../autoencoder_run.js';
import { loadPictures, type Split, splitPictures } from '../data.js';
import { trainGan } from '../gan.js';
import { runGan } from '../gan_run.js';
import { Autoencoder, NOISE } from '../models.js';
import { type Options, parseOptions } from '../options.js';
import { evaluate, trainAutoencoder } from '../train.js';

const SILENT = { write: () => true };
const SHORT = { steps: 30, batch: 8, seed: 5, device: 'cpu', output: SILENT };

describe('examples: training', () => {
  let split: Split;

  before(async () => {
    split = splitPictures(await loadPictures(160));
  });

  it('of the autoencoder lowers the error of held-out pictures', async () => {
    const { model, history } = await trainAutoencoder(split, SHORT);
    using _ = model;
    expect(history.training).to.have.length(30);
    const [, last] = history.heldOut.at(-1)!;
    const [, first] = history.training[0]!;
    expect(last).to.be.lessThan(first * 0.6);
    expect((await evaluate(model, split.heldOut, 'cpu')).loss).to.equal(last);
  });

  it('gives the same weights for the same seed, others for another', async () => {
    const weights = async (seed: number) => {
      const { model } = await trainAutoencoder(split, { ...SHORT, steps: 4, seed });
      using _ = model;
      return Buffer.from(io.safetensors.serialize(model.stateDict())).toString('base64');
    };
    const first = await weights(1);
    expect(await weights(1)).to.equal(first);
    expect(await weights(2)).to.not.equal(first);
  });

  it('keeps nothing but the weights', async () => {
    const before = memory().cpu.live;
    const { model } = await trainAutoencoder(split, { ...SHORT, steps: 8 });
    const state = Object.values(model.stateDict());
    const bytes = state.reduce((sum, value) => sum + value.dataSync().byteLength, 0);
    for (const parameter of model.parameters()) parameter.grad = null;
    expect(memory().cpu.live - before).to.equal(bytes);
    model.dispose();
    expect(memory().cpu.live).to.equal(before);
  });

  it('holds the same memory after every one of 200 steps', async () => {
    const live: number[] = [];
    const output = {
      write: () => true,
      /** Asked once a step. */
      get isTTY() {
        live.push(memory().cpu.live);
        return true;
      },
    };
    using _ = (await trainAutoencoder(split, { ...SHORT, output, steps: 200, batch: 2 })).model;
    expect(live.length).to.be.at.least(200);
    expect(new Set(live.slice(5)).size).to.equal(1);
  });

  it('of the DCGAN moves both networks and draws pictures from 0 to 1', async () => {
    const gan = await trainGan(split.training, { ...SHORT, steps: 6, samples: 3 });
    using _generator = gan.generator;
    using _discriminator = gan.discriminator;
    const losses = [...gan.history.generator, ...gan.history.discriminator].map(([, loss]) => loss);
    expect(losses.every((loss) => loss > 0 && Number.isFinite(loss))).to.equal(true);
    const [first, last] = [gan.snapshots[0]!, gan.snapshots.at(-1)!];
    expect(last.pictures).to.have.length(3);
    expect(last.pictures[0]).to.not.deep.equal(first.pictures[0]);
    for (const value of last.pictures[0]!) expect(value).to.be.within(0, 1);
    expect(gan.generator.parameters()[0]!.shape[0]).to.equal(NOISE);
  });
});

describe('examples: whole runs', () => {
  let folder: string;
  const log = console.log;
  let said: string[];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'fracstride-examples-'));
    said = [];
    console.log = (line: string) => said.push(line);
  });

  afterEach(async () => {
    console.log = log;
    await rm(folder, { recursive: true });
  });

  function quick(...args: string[]): Options {
    return parseOptions(['--quick', '--steps', '4', '--device', 'cpu', '--out', folder, ...args])!;
  }

  it('write pictures, curve, report and weights that draw the same pictures again', async () => {
    await runAutoencoder(quick(), SILENT);
    expect((await readdir(folder)).sort()).to.deep.equal([
      'autoencoder.html',
      'autoencoder.png',
      'autoencoder.safetensors',
      'autoencoder_loss.svg',
    ]);
    const verdict = said.at(-1)!;
    expect(verdict).to.match(/^held-out pictures: mean squared error 0\.\d+, PSNR \d+\.\d\d dB$/);
    const html = await readFile(join(folder, 'autoencoder.html'), 'utf8');
    const sheet = await readFile(join(folder, 'autoencoder.png'));
    expect(html).to.include(sheet.toString('base64')).and.include('ct2d_fwd_f32_nchw');

    await runAutoencoder(quick('--evaluate', join(folder, 'autoencoder.safetensors')), SILENT);
    expect(said.at(-1)).to.equal(verdict);
    expect(await readFile(join(folder, 'autoencoder_again.png'))).to.deep.equal(sheet);
    using model = new Autoencoder();
    expect(Object.keys(await io.safetensors.load(join(folder, 'autoencoder.safetensors'))).sort()).to.deep.equal(
      Object.keys(model.stateDict()).sort(),
    );
  });

  it('write the DCGAN its pictures, curve, report and both networks', async () => {
    await runGan(quick('--gan'), SILENT);
    expect((await readdir(folder)).sort()).to.deep.equal([
      'gan.html',
      'gan.png',
      'gan_course.png',
      'gan_discriminator.safetensors',
      'gan_generator.safetensors',
      'gan_loss.svg',
    ]);
    expect(said.at(-1)).to.match(/^last losses: generator \d+\.\d{3}, discriminator \d+\.\d{3}$/);
  });
});
