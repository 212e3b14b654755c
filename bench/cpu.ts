/**
 * The layers of known networks on this CPU against other implementations, as shares of the multiply-add peak measured
 * beside each layer: what bench/results/cpu_layers.jsonl holds, after measuring more of it.
 *
 * usage: node dist/bench/cpu.js [--threads 1,2] [--layer REGEX] [--pass fwd,dgrad,wgrad,bgrad] [--layout nchw,nhwc]
 *          [--rounds N] [--seconds N] [--file FILE] [--table] [--plot FILE.svg]
 *   --table      measures nothing, only prints what the file holds
 *   --seconds    measures what has the oldest rows first, and stops after so long; again goes on where it stopped
 *   --plot       also draws all layers
 */

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { table } from '../codegen/cli/table.js';
import { LAYOUTS, PASSES } from '../codegen/problem.js';
import { BENCH_LAYERS } from '../src/bench/layers.js';
import { areWords, commandLine, isCount, LAYER, THREADS } from './command_line.js';
import { plot } from './plot.js';
import { keepLatest, readRows } from './row.js';
import {
  type Comparison,
  compareBackward,
  compareForward,
  type LayerRow,
  latest,
  type Peers,
  rowKey,
  summary,
} from './shares.js';

const here = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const flags = commandLine('bench:cpu', {
  threads: THREADS,
  layer: LAYER,
  pass: {
    about: 'passes, separated by commas',
    value: '<list>',
    default: 'fwd,dgrad,wgrad,bgrad',
    check: areWords(PASSES),
  },
  layout: {
    about: 'memory layouts, separated by commas',
    value: '<list>',
    default: 'nchw,nhwc',
    check: areWords(LAYOUTS),
  },
  rounds: { about: 'rounds that a median is of', value: '<count>', default: '5', check: isCount },
  seconds: { about: 'begin nothing after so long', value: '<count>', default: '100000', check: isCount },
  file: { about: 'where rows are kept', value: '<path>', default: here('bench/results/cpu_layers.jsonl') },
  table: { about: 'measure nothing, print what is kept' },
  plot: { about: 'write a picture of the rows', value: '<path>' },
});
const counts = flags.threads.split(',').map(Number);
const peers = JSON.parse(readFileSync(here('bench/peers/shares.json'), 'utf8')) as Peers;

/** Layers by what the machine limits them with. */
const KINDS: Readonly<Record<string, RegExp>> = {
  'image heads': /_64-3_|_128-3_|_56-1_/,
  '1×1 input': /_1x1_/,
  depthwise: /^dw/,
  'few channels': /^fcn8s|^docexample/,
};

if (!flags.table) measure();
const rows = latest(readRows<LayerRow>(flags.file));
for (const threads of counts) console.log(`${report(threads)}\n`);
if (flags.plot !== undefined) writeFileSync(flags.plot, plot(rows, peers, counts));

interface Piece {
  readonly layer: string;
  readonly pass: LayerRow['pass'];
  readonly layout: LayerRow['layout'];
  readonly threads: number;
}

/** One process a piece, so that none inherits another's memory. Forward goes first, then what has no rows. */
function measure(): void {
  const words = <T extends string>(text: string) => text.split(',') as T[];
  const layers = Object.keys(BENCH_LAYERS).filter((name) => new RegExp(flags.layer).test(name));
  const pieces: Piece[] = words<Piece['layout']>(flags.layout).flatMap((layout) =>
    words<Piece['pass']>(flags.pass).flatMap((pass) =>
      counts.flatMap((threads) => layers.map((layer) => ({ layer, pass, layout, threads }))),
    ),
  );
  const age = new Map(readRows<LayerRow>(flags.file).map((row, i) => [rowKey(row), i]));
  const oldest = (piece: Piece): number => age.get(rowKey(piece)) ?? -1;
  const end = performance.now() + 1000 * Number(flags.seconds);
  const queue = pieces.sort((a, b) => oldest(a) - oldest(b));
  while (queue.length > 0 && performance.now() < end) {
    const { pass, layout, threads } = queue[0]!;
    const alike = (piece: Piece) => piece.pass === pass && piece.layout === layout && piece.threads === threads;
    const some = queue.filter(alike).slice(0, 8);
    for (const piece of some) queue.splice(queue.indexOf(piece), 1);
    const pattern = `^(${some.map(({ layer }) => layer).join('|')})$`;
    const asked = ['bench', '--device', 'cpu', '--layer', pattern, '--pass', pass, '--layout', layout];
    const how = ['--threads', `${threads}`, '--rounds', flags.rounds, '--store', flags.file, '--json'];
    spawnSync(process.execPath, [here('dist/src/bin.js'), ...asked, ...how], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }
  keepLatest<LayerRow>(flags.file, (row) => `${row.device} ${row.dtype} ${row.chosen || row.kernel} ${rowKey(row)}`);
}

function report(threads: number): string {
  const { nchw, nhwc } = peers.layouts;
  const questions: [what: string, found: Comparison[]][] = [
    ['forward NCHW : best NCHW', compareForward(rows, peers, { threads, layout: 'nchw', against: nchw })],
    ['forward NCHW : best of any layout', compareForward(rows, peers, { threads, layout: 'nchw', against: null })],
    ['forward NHWC : best NHWC', compareForward(rows, peers, { threads, layout: 'nhwc', against: nhwc })],
    ['gradients NCHW : best of any layout', compareBackward(rows, peers, { threads, layout: 'nchw', against: null })],
    ['gradients NHWC : best of any layout', compareBackward(rows, peers, { threads, layout: 'nhwc', against: null })],
  ];
  const lines = questions.map(([what, found]) => {
    const all = summary(found);
    if (all === null) return [what, '', '', '', ''];
    const { mean, worst, count } = all;
    return [what, `${count}`, mean.toFixed(2), worst.ratio.toFixed(2), `${worst.layer} (${worst.peer})`];
  });
  const head = ['shares of the peak, ours : theirs', 'layers', 'geometric mean', 'least', 'where'];
  const title = threads === 1 ? '1 thread' : `${threads} threads`;
  return [`${title}\n`, layers(threads), '', table(head, lines), '', roofs(threads)].join('\n');
}

/** One line a layer. */
function layers(threads: number): string {
  const of = (found: readonly Comparison[]) => new Map(found.map((each) => [each.layer, each]));
  const nchw = of(compareForward(rows, peers, { threads, layout: 'nchw', against: peers.layouts.nchw }));
  const any = of(compareForward(rows, peers, { threads, layout: 'nchw', against: null }));
  const nhwc = of(compareForward(rows, peers, { threads, layout: 'nhwc', against: peers.layouts.nhwc }));
  const back = of(compareBackward(rows, peers, { threads, layout: 'nchw', against: null }));
  const ratio = (each: Comparison | undefined): string => each?.ratio.toFixed(2) ?? '';
  const lines = Object.keys(BENCH_LAYERS).map((layer) => {
    const row = rows.get(rowKey({ layer, pass: 'fwd', layout: 'nchw', threads }));
    const share = row === undefined ? '' : (100 * row.peak_share).toFixed(0);
    const gradients = back.get(layer);
    return [
      ...[layer, row?.kernel.split('__')[1] ?? '', share, ratio(nchw.get(layer)), ratio(any.get(layer))],
      ...[ratio(nhwc.get(layer)), gradients === undefined ? '' : (100 * gradients.share).toFixed(0), ratio(gradients)],
    ];
  });
  const head = ['layer', 'kernel', '% peak', ': NCHW', ': any', 'NHWC', 'gradients %', ': any'];
  return table(head, lines);
}

/** Shares of the roofline where it, and not another implementation, is what to look at. */
function roofs(threads: number): string {
  const lines = Object.entries(KINDS).flatMap(([kind, pattern]) =>
    [...rows.values()]
      .filter((row) => row.threads === threads && pattern.test(row.layer) && row.pass !== 'bgrad')
      .sort((a, b) => (a.layer + a.layout + a.pass < b.layer + b.layout + b.pass ? -1 : 1))
      .map((row) => [
        ...[kind, row.layer, row.layout, row.pass, row.variant, row.bound],
        ...[row.us_min.toFixed(0), row.roof_us.toFixed(0), (100 * row.roof_share).toFixed(0)],
      ]),
  );
  return table(['kind', 'layer', 'layout', 'pass', 'kernel', 'bound', 'µs', 'roof µs', '% roof'], lines);
}
