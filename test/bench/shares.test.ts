/** What benches compute from stored rows: taps that exist, ratios, means, profiles, plots. */

import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { plot } from '../../bench/plot.js';
import { launchesOf, shares } from '../../bench/profile.js';
import { compareBackward, compareForward, type LayerRow, latest, type Peers, summary } from '../../bench/shares.js';
import { usefulFlops } from '../../codegen/passes.js';
import { parseProblem } from '../../codegen/problem_text.js';
import { BENCH_LAYERS } from '../../src/bench/layers.js';

const PEERS = JSON.parse(readFileSync(new URL('../../../bench/peers/shares.json', import.meta.url), 'utf8')) as Peers;

const DCGAN = 'dcgan_n16_l2_512-256_4x4_k4s2';
const ROW: LayerRow = {
  ...{ layer: DCGAN, pass: 'fwd', dtype: 'float32', layout: 'nchw', device: 'cpu', threads: 1 },
  ...{ kernel: 'ct2d_fwd_f32_nchw__igemm_px_t14x32__avx512', variant: 'igemm', chosen: true, us_min: 10_000 },
  ...{ peak_gflops: 100, peak_share: 1.0737, roof_us: 8000, roof_share: 0.8, bound: 'arithmetic' },
  ...{ commit: 'abc', date: '2026-11-23', cpu: 'some' },
};

describe('benches', () => {
  it('count the taps that exist', () => {
    const useful = (words: string) => usefulFlops(parseProblem(words));
    expect(useful(BENCH_LAYERS[DCGAN]!)).to.equal(822_083_584);
    expect(useful(BENCH_LAYERS['dcgan_n16_l3_256-128_8x8_k4s2']!)).to.equal(943_718_400);
    for (const pass of ['dgrad', 'wgrad']) expect(useful(`${BENCH_LAYERS[DCGAN]} pass=${pass}`)).to.equal(822_083_584);
    // One position, kernel 3×3, padding 1: the middle tap alone.
    expect(useful('convT2d n=1 c=1 k=1 h=1 w=1 r=3 padding=1')).to.equal(2);
    expect(useful('convT2d n=1 c=1 k=1 h=1 w=1 r=3x5 padding=0x2')).to.equal(6);
    expect(useful('convT2d n=3 c=4 k=8 h=5 w=7 r=2 stride=2 groups=2')).to.equal(2 * 3 * 4 * 4 * 35 * 4);
  });

  it('compare shares of the peak, the last row of each layer with the best peer of a kind', () => {
    const rows = latest([{ ...ROW, peak_share: 0.1 }, { ...ROW, chosen: false, peak_share: 3 }, ROW]);
    const [found, ...others] = compareForward(rows, PEERS, { threads: 1, layout: 'nchw', against: PEERS.layouts.nchw });
    expect(others).to.deep.equal([]);
    // oneDNN NCHW: 1073741824 operations in 9.75 ms at a peak of 117.4 GFLOP/s.
    expect(found).to.include({ layer: DCGAN, peer: 'oneDNN NCHW', share: 1.0737 });
    expect(found!.peerShare).to.be.closeTo(0.938, 0.001);
    expect(found!.ratio).to.be.closeTo(1.0737 / 0.938, 0.002);
    expect(compareForward(rows, PEERS, { threads: 1, layout: 'nhwc', against: null })).to.deep.equal([]);
    expect(compareForward(rows, PEERS, { threads: 2, layout: 'nchw', against: null })).to.deep.equal([]);
    expect(compareBackward(rows, PEERS, { threads: 1, layout: 'nchw', against: null })).to.deep.equal([]);
  });

  it('add up gradients, each at the peak of its moment', () => {
    const parts = (['dgrad', 'wgrad', 'bgrad'] as const).map((pass, i) => ({
      ...ROW,
      pass,
      us_min: [8000, 9000, 100][i]!,
    }));
    const [found] = compareBackward(latest(parts), PEERS, { threads: 1, layout: 'nchw', against: null });
    expect(found!.share).to.be.closeTo((2 * 1073.741824) / 17_100 / 0.1, 1e-3);
    expect(found!.peer).to.equal('oneDNN dx + dw');
  });

  it('sum up by the geometric mean and the worst layer', () => {
    const of = (layer: string, ratio: number) => ({ layer, ratio, share: 1, peer: 'p', peerShare: 1 });
    const found = summary([of('a', 2), of('b', 0.5), of('c', 8)])!;
    expect(found).to.include({ count: 3 });
    expect(found.mean).to.be.closeTo(2, 1e-12);
    expect(found.worst.layer).to.equal('b');
    expect(summary([])).to.equal(null);
  });

  it('know a peer of every layout for every layer', () => {
    for (const threads of ['1', '2']) {
      for (const layer of Object.keys(BENCH_LAYERS)) {
        const found = Object.keys(PEERS.forward[threads]![layer]!);
        const { nchw, nhwc, own } = PEERS.layouts;
        for (const group of [nchw, nhwc, own])
          expect(
            found.some((peer) => group.includes(peer)),
            layer,
          ).to.equal(true);
        for (const peer of found) expect([...nchw, ...nhwc, ...own], layer).to.include(peer);
        expect(PEERS.backward[threads]![layer], layer).to.have.property('oneDNN dx + dw');
      }
    }
  });

  it('draw every layer, with and without a row of ours', () => {
    const svg = plot(latest([ROW]), PEERS, [1, 2]);
    for (const layer of Object.keys(BENCH_LAYERS)) expect(svg).to.include(`>${layer}</text>`);
    expect(svg.match(/<circle [^>]*class="nchw"/g)).to.have.length(2); // The legend's and the row's.
    expect(svg).to.include('<title>ct2d_fwd_f32_nchw__igemm_px_t14x32__avx512: 107 %</title>');
  });

  it('profile the fastest step after the first', () => {
    const step = (i: number, at: number) => `step ${i} ${at}`;
    const launch = (kernel: string, us: number) => `fracstride: cpu ${kernel} ${us} µs`;
    const text = [
      ...[step(0, 0), launch('slow', 5000), step(1, 100), launch('a', 3000), launch('b', 1000), launch('a', 2000)],
      ...[step(2, 110), launch('a', 9000), step(3, 130), ''],
    ].join('\n');
    const { launches, stepMs } = launchesOf(text);
    expect(stepMs).to.equal(10);
    expect(launches.map(({ kernel }) => kernel)).to.deep.equal(['a', 'b', 'a']);
    expect(shares(launches, stepMs)).to.deep.equal([
      { what: 'a', calls: 2, ms: 5, share: 0.5 },
      { what: 'b', calls: 1, ms: 1, share: 0.1 },
      { what: 'outside of kernels', calls: 0, ms: 4, share: 0.4 },
    ]);
  });
});
