/** Line charts as SVG text that stands on its own or inside a page. */

import { escapeHtml } from './html.js';

export interface Series {
  readonly name: string;
  readonly colour: string;
  /** [x, y] pairs by rising x; on a logarithmic scale y > 0. */
  readonly points: readonly (readonly [number, number])[];
}

export interface Chart {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly scale: 'linear' | 'logarithmic';
  readonly series: readonly Series[];
}

const WIDTH = 860;
const HEIGHT = 340;
const LEFT = 70;
const RIGHT = 20;
const TOP = 44;
const BOTTOM = 50;

/** The means of runs of `size` neighbouring points, which shows a noisy curve's course. */
export function smooth(points: readonly (readonly [number, number])[], size: number): [number, number][] {
  const out: [number, number][] = [];
  for (let i = 0; i < points.length; i += size) {
    const run = points.slice(i, i + size);
    const mean = run.reduce((sum, [, y]) => sum + y, 0) / run.length;
    out.push([run.at(-1)![0], mean]);
  }
  return out;
}

export function lineChart(chart: Chart): string {
  const all = chart.series.flatMap((series) => series.points);
  const ys = all.map(([, y]) => y);
  const end = Math.max(1, ...all.map(([x]) => x));
  const xTicks = linearTicks(0, end).filter((value) => value <= end);
  const range = [Math.min(...ys), Math.max(...ys)] as const;
  const yTicks = chart.scale === 'linear' ? linearTicks(Math.min(0, range[0]), range[1]) : logarithmicTicks(...range);
  const x = position([0, end], LEFT, WIDTH - RIGHT, 'linear');
  const y = position(yTicks, HEIGHT - BOTTOM, TOP, chart.scale);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(chart.title)}"`,
    ` font-family="system-ui, sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    `<text x="${LEFT}" y="20" font-size="14" font-weight="600" fill="#1b1f24">${escapeHtml(chart.title)}</text>`,
    ...yTicks.map((value) => yTick(value, y(value))),
    ...xTicks.map(
      (value) =>
        `<text x="${x(value)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="#57606a">${value}</text>`,
    ),
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 10}" text-anchor="middle" fill="#57606a">${escapeHtml(chart.xLabel)}</text>`,
    `<text transform="translate(16 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle" fill="#57606a">${escapeHtml(chart.yLabel)}</text>`,
    ...chart.series.map((series) => curve(series, x, y)),
    ...chart.series.map((series, i) => legend(series, WIDTH - RIGHT - 130 * (chart.series.length - i))),
    '</svg>',
  ].join('\n');
}

function curve(series: Series, x: (v: number) => number, y: (v: number) => number): string {
  const points = series.points.map(([px, py]) => `${x(px).toFixed(1)},${y(py).toFixed(1)}`).join(' ');
  return `<polyline points="${points}" fill="none" stroke="${series.colour}" stroke-width="2" stroke-linejoin="round"/>`;
}

function legend(series: Series, left: number): string {
  return (
    `<rect x="${left}" y="14" width="18" height="4" fill="${series.colour}"/>` +
    `<text x="${left + 24}" y="20" fill="#1b1f24">${escapeHtml(series.name)}</text>`
  );
}

function yTick(value: number, at: number): string {
  return (
    `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="#e3e6ea"/>` +
    `<text x="${LEFT - 8}" y="${at + 4}" text-anchor="end" fill="#57606a">${value}</text>`
  );
}

/** Maps values onto pixels: the first of `values` onto `from`, the last onto `to`. */
function position(
  values: readonly number[],
  from: number,
  to: number,
  scale: Chart['scale'],
): (value: number) => number {
  const bend = scale === 'linear' ? (value: number) => value : Math.log;
  const low = bend(values[0]!);
  const span = bend(values.at(-1)!) - low || 1;
  return (value) => from + ((bend(value) - low) / span) * (to - from);
}

/** Multiples of 1, 2 or 5 times a power of ten that enclose [low, high]. */
function linearTicks(low: number, high: number): number[] {
  const rough = (high - low || 1) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough)!;
  const first = Math.floor(low / step);
  const count = Math.ceil(high / step - 1e-9) - first;
  return Array.from({ length: count + 1 }, (_, i) => Number(((first + i) * step).toPrecision(6)));
}

/** 1, 2 and 5 times the powers of ten that enclose [low, high]. */
function logarithmicTicks(low: number, high: number): number[] {
  const marks: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    marks.push(...[1, 2, 5].map((factor) => Number((factor * 10 ** power).toPrecision(1))));
  }
  const first = Math.max(
    0,
    marks.findLastIndex((mark) => mark <= low),
  );
  const last = marks.findIndex((mark) => mark >= high);
  return marks.slice(first, Math.max(first + 1, last) + 1);
}
