/** All layers at a glance: forward and gradients as shares of the multiply-add peak, ours and other implementations'. */

import { BENCH_LAYERS } from '../src/bench/layers.js';
import { compareBackward, type LayerRow, nominal, type Peers, rowKey } from './shares.js';

interface Mark {
  readonly share: number;
  readonly style: string;
  readonly title: string;
}

const ROW = 20;
const LEFT = 300;
const WIDTH = 360;
const GAP = 40;
const TOP = 92;
/** Where the axis ends, in shares of the peak. */
const MOST = 1.8;

/** Series of the legend, in the order they are drawn. */
const SERIES: Readonly<Record<string, string>> = {
  others: 'other implementations, NCHW in and out',
  free: 'others in NHWC or a layout of their own',
  nhwc: 'fracstride NHWC',
  nchw: 'fracstride NCHW',
};

/** The text of an SVG: a panel for forward and one for gradients of each number of threads. */
export function plot(rows: ReadonlyMap<string, LayerRow>, peers: Peers, counts: readonly number[]): string {
  const layers = Object.keys(BENCH_LAYERS);
  const panels = counts.flatMap((threads) => [
    {
      title: `forward, ${threads} thread${threads === 1 ? '' : 's'}`,
      marks: (l: string) => forward(l, rows, peers, threads),
    },
    {
      title: `gradients, ${threads} thread${threads === 1 ? '' : 's'}`,
      marks: (l: string) => backward(l, rows, peers, threads),
    },
  ]);
  const width = LEFT + panels.length * (WIDTH + GAP);
  const height = TOP + layers.length * ROW + 40;
  const names = layers.map((layer, i) => text(LEFT - 10, y(i) + 4, layer, 'end'));
  const bands = layers.filter((_, i) => i % 2 === 1).map((_, i) => band(2 * i + 1, width));
  const drawn = panels.map(({ title, marks }, p) => {
    const left = LEFT + p * (WIDTH + GAP);
    const dots = layers.flatMap((layer, i) => marks(layer).map((mark) => dot(left, i, mark)));
    return [axis(left, layers.length), text(left, TOP - 26, title, 'start', 'head'), ...dots].join('\n');
  });
  const title = 'Share of the multiply-add peak (every tap counted), float32: further right is faster';
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    `<title>${title}</title>`,
    STYLE,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    text(10, 24, title, 'start', 'title'),
    legend(),
    ...bands,
    ...names,
    ...drawn,
    '</svg>\n',
  ].join('\n');
}

const STYLE = `<style>
  text { font: 12px system-ui, sans-serif; fill: #1b1f24 } .title { font-size: 16px; font-weight: 600 }
  .head { font-weight: 600 } .tick { fill: #57606a; font-size: 11px } line { stroke: #d0d7de } .peak { stroke: #57606a }
  .others { fill: #8c959f } .free { fill: none; stroke: #8c959f; stroke-width: 1.5 } .nchw { fill: #cf222e } .nhwc { fill: #0969da }
</style>`;

function y(row: number): number {
  return TOP + row * ROW + ROW / 2;
}

function x(left: number, share: number): number {
  return Number((left + (Math.min(share, MOST) / MOST) * WIDTH).toFixed(1));
}

function text(at: number, line: number, words: string, anchor: 'start' | 'middle' | 'end', style = ''): string {
  return `<text x="${at}" y="${line}" text-anchor="${anchor}" class="${style}">${words}</text>`;
}

function band(row: number, width: number): string {
  return `<rect x="0" y="${y(row) - ROW / 2}" width="${width}" height="${ROW}" fill="#f6f8fa"/>`;
}

function axis(left: number, rows: number): string {
  const ticks = [0, 0.5, 1, 1.5];
  const bottom = TOP + rows * ROW;
  return ticks
    .map((share) => {
      const at = x(left, share);
      const line = `<line x1="${at}" x2="${at}" y1="${TOP}" y2="${bottom}" class="${share === 1 ? 'peak' : ''}"/>`;
      const words = `${Math.round(100 * share)} %`;
      return `${line}\n${text(at, TOP - 8, words, 'middle', 'tick')}${text(at, bottom + 16, words, 'middle', 'tick')}`;
    })
    .join('\n');
}

function dot(left: number, row: number, { share, style, title }: Mark): string {
  const [at, line] = [x(left, share), y(row)];
  const big = style === 'nchw' || style === 'nhwc';
  const shape = big
    ? `<circle cx="${at}" cy="${line}" r="4.5" class="${style}"`
    : `<rect x="${at - 3}" y="${line - 3}" width="6" height="6" class="${style}"`;
  return `${shape}><title>${title}: ${(100 * share).toFixed(0)} %</title>${big ? '</circle>' : '</rect>'}`;
}

function legend(): string {
  let at = 10;
  return Object.entries(SERIES)
    .map(([style, words]) => {
      const mark = dot(at + 6, -1, { share: 0, style, title: words })
        .replaceAll(`"${y(-1)}"`, '"44"')
        .replaceAll(`"${y(-1) - 3}"`, '"41"');
      const drawn = `${mark}\n${text(at + 18, 48, words, 'start')}`;
      at += 34 + 6.6 * words.length;
      return drawn;
    })
    .join('\n');
}

function forward(layer: string, rows: ReadonlyMap<string, LayerRow>, peers: Peers, threads: number): Mark[] {
  const ours = (['nhwc', 'nchw'] as const).flatMap((layout) => {
    const row = rows.get(rowKey({ layer, pass: 'fwd', layout, threads }));
    return row === undefined ? [] : [{ share: row.peak_share, style: layout, title: `${row.kernel}` }];
  });
  return [...theirs(layer, peers.forward[threads]?.[layer], peers, threads, 1), ...ours];
}

function backward(layer: string, rows: ReadonlyMap<string, LayerRow>, peers: Peers, threads: number): Mark[] {
  const ours = (['nhwc', 'nchw'] as const).flatMap((layout) => {
    const found = compareBackward(rows, peers, { threads, layout, against: null }).find((each) => each.layer === layer);
    return found === undefined ? [] : [{ share: found.share, style: layout, title: `fracstride ${layout}` }];
  });
  return [...theirs(layer, peers.backward[threads]?.[layer], peers, threads, 2), ...ours];
}

function theirs(
  layer: string,
  times: Readonly<Record<string, number>> | undefined,
  peers: Peers,
  threads: number,
  work: number,
): Mark[] {
  return Object.entries(times ?? {}).map(([peer, ms]) => ({
    share: (work * nominal(layer)) / (ms * peers.peak_gflops[threads]! * 1e6),
    style: peers.layouts.nchw.includes(peer) ? 'others' : 'free',
    title: peer,
  }));
}
