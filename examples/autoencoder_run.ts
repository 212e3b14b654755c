/** One run of the autoencoder, from the options to the files. */

import { io, scope } from 'fracstride';
import { lineChart, smooth } from './chart.js';
import { loadPictures, type Picture, splitPictures, toTensor } from './data.js';
import { encodeSheet, pairSheet, toPixels } from './grid.js';
import { kernelsOf } from './kernels.js';
import { Autoencoder, CODE } from './models.js';
import type { Options } from './options.js';
import type { Output } from './progress.js';
import { type Figure, renderReport } from './report.js';
import { commandOf, factsOf, type Run, settingsOf, startRun, stepsOf, writeFiles } from './results.js';
import { type Evaluation, evaluate, type History, PEAK_RATE, trainAutoencoder } from './train.js';

const COLUMNS = 12;
/** Held-out pictures on the sheet: enough to see every kind, few enough to look at each. */
const SHOWN = 4 * COLUMNS;

export async function runAutoencoder(options: Options, output: Output = process.stdout): Promise<void> {
  const split = splitPictures(await loadPictures(options.images || undefined));
  const { training, heldOut } = split;
  console.log(`${training.length} pictures to train on, ${heldOut.length} held out`);
  if (options.evaluate !== null) return lookAgain(options.evaluate, heldOut, options);

  const steps = stepsOf(options, training.length);
  const finish = startRun(options, steps);
  const { model, history } = await trainAutoencoder(split, { ...options, output, steps });
  const run = finish(model);
  const result = await evaluate(model, heldOut, options.device);
  const figure = drawFigure(heldOut, result);
  await writeFiles(options.out, {
    'autoencoder.png': figure.png,
    'autoencoder_loss.svg': lossCurve(history),
    'autoencoder.safetensors': io.safetensors.serialize(model.stateDict(), { metadata: { format: 'pt' } }),
    'autoencoder.html': report({
      run,
      model,
      history,
      result,
      figure,
      pictures: [training.length, heldOut.length],
      sample: training.slice(0, options.batch),
    }),
  });
  console.log(verdict(result));
}

/** Without training: draws the held-out pictures with weights of an earlier run. */
async function lookAgain(file: string, heldOut: readonly Picture[], options: Options): Promise<void> {
  const model = new Autoencoder();
  model.loadStateDict(await io.safetensors.load(file));
  model.to({ device: options.device });
  const result = await evaluate(model, heldOut, options.device);
  await writeFiles(options.out, { 'autoencoder_again.png': drawFigure(heldOut, result).png });
  console.log(verdict(result));
}

function verdict({ loss, psnr }: Evaluation): string {
  return `held-out pictures: mean squared error ${loss.toFixed(5)}, PSNR ${psnr.toFixed(2)} dB`;
}

function drawFigure(heldOut: readonly Picture[], result: Evaluation): Figure {
  const count = Math.min(SHOWN, heldOut.length);
  const shown = Array.from({ length: count }, (_, i) => Math.floor((i * heldOut.length) / count));
  const sheet = pairSheet(
    shown.map((i) => heldOut[i]!.pixels),
    shown.map((i) => toPixels(result.reconstructions[i]!)),
    { columns: COLUMNS, scale: 2 },
  );
  const caption =
    'Held-out pictures, which the network has never seen: each original directly above what the network draws from its code. ' +
    `In order: ${shown.map((i) => heldOut[i]!.name).join(', ')}.`;
  return { png: encodeSheet(sheet), width: sheet.width, caption };
}

function lossCurve(history: History): string {
  return lineChart({
    title: 'Mean squared error',
    xLabel: 'training step',
    yLabel: 'mean squared error',
    scale: 'logarithmic',
    series: [
      {
        name: 'training',
        colour: '#8c959f',
        points: smooth(history.training, Math.ceil(history.training.length / 100)),
      },
      { name: 'held out', colour: '#0969da', points: history.heldOut },
    ],
  });
}

function report(a: {
  run: Run;
  model: Autoencoder;
  history: History;
  result: Evaluation;
  figure: Figure;
  pictures: readonly [training: number, heldOut: number];
  /** A batch to send through the layers. */
  sample: readonly Picture[];
}): string {
  const values = CODE.channels * CODE.side ** 2;
  return renderReport({
    title: 'Autoencoder on emoji',
    summary:
      `Strided convolutions squeeze each picture (12,288 numbers) into ${values} numbers; transposed convolutions draw the picture again from those. ` +
      `The network was trained on ${a.pictures[0]} pictures; everything below is about ${a.pictures[1]} others.`,
    facts: [
      ['Held-out PSNR', `${a.result.psnr.toFixed(2)} dB`],
      ['Held-out error', a.result.loss.toFixed(5)],
      ...factsOf(a.run),
    ],
    figures: [a.figure],
    chart: lossCurve(a.history),
    chartNote:
      'Training: each batch before its step, normalised by its own statistics, so noisier and higher than the held-out error, which is measured with running averages.',
    settings: [
      [
        'pictures',
        `${a.pictures[0]} training, ${a.pictures[1]} held out (fixed split; variants of one person stay together)`,
      ],
      ['code', `${CODE.channels} × ${CODE.side} × ${CODE.side} = ${values} numbers a picture`],
      ['optimiser', `Adam, learning rate up to ${PEAK_RATE}, after a warm-up falling along a cosine`],
      ...settingsOf(a.run),
    ],
    kernels: scope(() => kernelsOf(a.model, toTensor(a.sample, a.run.device))),
    command: commandOf(a.run),
  });
}
