/**
 * Stored rows of this package against stored times of other implementations (bench/peers/shares.json), as shares of the
 * multiply-add peak that was measured beside each: above 1, this package makes more of its machine.
 */

import { flops } from '../codegen/passes.js';
import { parseProblem } from '../codegen/problem_text.js';
import { BENCH_LAYERS } from '../src/bench/layers.js';
import { geometricMean } from './row.js';

/** A row of `fracstride bench --device cpu --store`. */
export interface LayerRow {
  readonly layer: string;
  readonly pass: 'fwd' | 'dgrad' | 'wgrad' | 'bgrad';
  readonly dtype: string;
  readonly layout: 'nchw' | 'nhwc';
  readonly device: string;
  readonly threads: number;
  readonly kernel: string;
  readonly variant: string;
  readonly chosen: boolean;
  readonly us_min: number;
  readonly peak_gflops: number;
  readonly peak_share: number;
  readonly roof_us: number;
  readonly roof_share: number;
  readonly bound: 'arithmetic' | 'memory';
  readonly commit: string;
  readonly date: string;
  readonly cpu: string;
}

export interface Peers {
  readonly what: string;
  readonly machine: string;
  readonly measured: string;
  readonly peak_gflops: Readonly<Record<string, number>>;
  readonly layouts: Readonly<Record<'nchw' | 'nhwc' | 'own', readonly string[]>>;
  /** Threads → layer → peer → milliseconds. */
  readonly forward: Times;
  readonly backward: Times;
}

type Times = Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, number>>>>>>;

/** One layer: our share of the peak, the best peer's, and how many times that ours is. */
export interface Comparison {
  readonly layer: string;
  readonly share: number;
  readonly peer: string;
  readonly peerShare: number;
  readonly ratio: number;
}

/** The last row of each layer, pass, layout and number of threads, of float32 and the chosen kernels of this package. */
export function latest(rows: readonly LayerRow[]): Map<string, LayerRow> {
  const mine = rows.filter(({ device, dtype, chosen }) => device === 'cpu' && dtype === 'float32' && chosen);
  return new Map(mine.map((row) => [rowKey(row), row]));
}

export function rowKey({
  layer,
  pass,
  layout,
  threads,
}: Pick<LayerRow, 'layer' | 'pass' | 'layout' | 'threads'>): string {
  return `${layer} ${pass} ${layout} ${threads}`;
}

/** Multiply-adds times two of a forward, every tap counted. */
export function nominal(layer: string): number {
  return flops(parseProblem(BENCH_LAYERS[layer]!));
}

interface Question {
  readonly threads: number;
  readonly layout: 'nchw' | 'nhwc';
  /** Peers that count; null: all of them. */
  readonly against: readonly string[] | null;
}

/** Forward, layer by layer; layers without a row, or without such a peer, are left out. */
export function compareForward(rows: ReadonlyMap<string, LayerRow>, peers: Peers, asked: Question): Comparison[] {
  const { threads, layout } = asked;
  return comparisons(peers.forward, peers, asked, (layer) => {
    const row = rows.get(rowKey({ layer, pass: 'fwd', layout, threads }));
    return row?.peak_share;
  });
}

/** Gradients of input, weight and bias together. */
export function compareBackward(rows: ReadonlyMap<string, LayerRow>, peers: Peers, asked: Question): Comparison[] {
  const { threads, layout } = asked;
  return comparisons(peers.backward, peers, asked, (layer) => {
    const parts = (['dgrad', 'wgrad', 'bgrad'] as const).map((pass) =>
      rows.get(rowKey({ layer, pass, layout, threads })),
    );
    if (parts.some((part) => part === undefined)) return undefined;
    // Seconds at the peak of the moment, so that each part counts by what its machine could do.
    const atPeak = parts.reduce((sum, part) => sum + part!.us_min * part!.peak_gflops, 0);
    return (2 * nominal(layer)) / atPeak / 1e3;
  });
}

function comparisons(
  times: Times,
  peers: Peers,
  { threads, against }: Question,
  shareOf: (layer: string) => number | undefined,
): Comparison[] {
  const peak = peers.peak_gflops[threads];
  const work = times === peers.backward ? 2 : 1;
  return Object.entries(times[threads] ?? {}).flatMap(([layer, found]) => {
    const share = shareOf(layer);
    const candidates = Object.entries(found).filter(([peer]) => against?.includes(peer) ?? true);
    if (share === undefined || candidates.length === 0 || peak === undefined) return [];
    const [peer, ms] = candidates.reduce((best, each) => (each[1] < best[1] ? each : best));
    const peerShare = (work * nominal(layer)) / (ms * peak * 1e6);
    return [{ layer, share, peer, peerShare, ratio: share / peerShare }];
  });
}

export interface Summary {
  readonly count: number;
  readonly mean: number;
  readonly worst: Comparison;
}

/** Geometric mean of the ratios, and the layer with the least; null of none. */
export function summary(found: readonly Comparison[]): Summary | null {
  if (found.length === 0) return null;
  const mean = geometricMean(found.map(({ ratio }) => ratio));
  return { count: found.length, mean, worst: found.reduce((least, each) => (each.ratio < least.ratio ? each : least)) };
}
