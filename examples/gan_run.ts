/** One run of the DCGAN, from the options to the files. */

import { io, randn, scope } from 'fracstride';
import { lineChart, smooth } from './chart.js';
import { loadPictures } from './data.js';
import { type Gan, type GanHistory, type Snapshot, trainGan } from './gan.js';
import { encodeSheet, tileSheet, toPixels } from './grid.js';
import { kernelsOf } from './kernels.js';
import { NOISE } from './models.js';
import type { Options } from './options.js';
import type { Output } from './progress.js';
import { type Figure, renderReport } from './report.js';
import { commandOf, factsOf, type Run, settingsOf, startRun, stepsOf, writeFiles } from './results.js';

const COLUMNS = 12;
const SAMPLES = 4 * COLUMNS;

export async function runGan(options: Options, output: Output = process.stdout): Promise<void> {
  const pictures = await loadPictures(options.images || undefined);
  console.log(`${pictures.length} pictures to learn from`);
  const steps = stepsOf(options, pictures.length);
  const finish = startRun(options, steps);
  const gan = await trainGan(pictures, { ...options, output, steps, samples: SAMPLES });
  const run = finish(gan.generator, gan.discriminator);
  const figures = [drawLast(gan.snapshots.at(-1)!), drawCourse(gan.snapshots)];
  await writeFiles(options.out, {
    'gan.png': figures[0]!.png,
    'gan_course.png': figures[1]!.png,
    'gan_loss.svg': lossCurve(gan.history),
    'gan_generator.safetensors': io.safetensors.serialize(gan.generator.stateDict(), { metadata: { format: 'pt' } }),
    'gan_discriminator.safetensors': io.safetensors.serialize(gan.discriminator.stateDict(), {
      metadata: { format: 'pt' },
    }),
    'gan.html': report({ run, gan, figures, pictures: pictures.length }),
  });
  const [, generatorLoss] = gan.history.generator.at(-1)!;
  const [, discriminatorLoss] = gan.history.discriminator.at(-1)!;
  console.log(`last losses: generator ${generatorLoss.toFixed(3)}, discriminator ${discriminatorLoss.toFixed(3)}`);
}

function drawLast(snapshot: Snapshot): Figure {
  const sheet = tileSheet(snapshot.pictures.map(toPixels), { columns: COLUMNS, scale: 2 });
  const caption = `What the generator draws from ${snapshot.pictures.length} samples of noise after ${snapshot.step} steps.`;
  return { png: encodeSheet(sheet), width: sheet.width, caption };
}

/** One row a snapshot, the same noise in each column. */
function drawCourse(snapshots: readonly Snapshot[]): Figure {
  const rows = snapshots.flatMap((snapshot) => snapshot.pictures.slice(0, COLUMNS).map(toPixels));
  const sheet = tileSheet(rows, { columns: COLUMNS, scale: 1 });
  const steps = snapshots.map((snapshot) => snapshot.step).join(', ');
  const caption = `How it learned: each row draws from the same ${COLUMNS} samples of noise, after ${steps} steps.`;
  return { png: encodeSheet(sheet), width: sheet.width, caption };
}

function lossCurve(history: GanHistory): string {
  const size = Math.ceil(history.generator.length / 150);
  return lineChart({
    title: 'Binary cross entropy',
    xLabel: 'training step',
    yLabel: 'loss',
    scale: 'linear',
    series: [
      { name: 'generator', colour: '#0969da', points: smooth(history.generator, size) },
      { name: 'discriminator', colour: '#bc4c00', points: smooth(history.discriminator, size) },
    ],
  });
}

function report(a: { run: Run; gan: Gan; figures: readonly Figure[]; pictures: number }): string {
  return renderReport({
    title: 'DCGAN on emoji',
    summary:
      `A generator of transposed convolutions learned to draw pictures from ${NOISE} random numbers each, ` +
      `against a discriminator of strided convolutions that was shown ${a.pictures} real pictures.`,
    facts: factsOf(a.run),
    figures: a.figures,
    chart: lossCurve(a.gan.history),
    chartNote:
      'The two play against each other, so neither loss says how good the pictures are: a discriminator near 1.39 (twice ln 2) cannot tell drawn from real.',
    settings: [
      ['pictures', String(a.pictures)],
      [
        'optimiser',
        'Adam, betas 0.5 and 0.999, learning rate up to 0.001 for the generator, 0.0004 for the discriminator, falling along a cosine',
      ],
      ...settingsOf(a.run),
    ],
    kernels: scope(() =>
      kernelsOf(a.gan.generator, randn([a.run.options.batch, NOISE, 1, 1], { device: a.run.device })),
    ),
    command: commandOf(a.run),
  });
}
