import { expect } from 'chai';
import { decode } from 'fast-png';
import { type Chart, lineChart, smooth } from '../chart.js';
import { SIDE } from '../data.js';
import { encodeSheet, pairSheet, tileSheet, toPixels } from '../grid.js';
import { parseOptions } from '../options.js';
import { Progress } from '../progress.js';
import { renderReport } from '../report.js';

/** A picture of one colour. */
function plain(red: number, green: number, blue: number): Uint8Array {
  const colour = [red, green, blue];
  return Uint8Array.from({ length: 3 * SIDE * SIDE }, (_, i) => colour[Math.floor(i / (SIDE * SIDE))]!);
}

describe('examples: sheets', () => {
  it('have each reconstruction below its original', () => {
    const sheet = pairSheet([plain(1, 2, 3), plain(4, 5, 6)], [plain(7, 8, 9), plain(10, 11, 12)], {
      columns: 2,
      scale: 2,
    });
    const png = decode(encodeSheet(sheet));
    const at = (x: number, y: number) => [...png.data.slice((y * png.width + x) * 3, (y * png.width + x) * 3 + 3)];
    const [left, right] = [14 + SIDE, 14 + 2 * SIDE + 4 + SIDE];
    const [upper, lower] = [14 + SIDE, 14 + 2 * SIDE + 4 + SIDE];
    expect([png.width, png.height]).to.deep.equal([2 * 14 + 4 * SIDE + 4, 2 * 14 + 4 * SIDE + 4]);
    expect([at(left, upper), at(right, upper)]).to.deep.equal([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect([at(left, lower), at(right, lower)]).to.deep.equal([
      [7, 8, 9],
      [10, 11, 12],
    ]);
    expect(at(0, 0)).to.deep.equal([226, 229, 234]);
  });

  it('have as many rows as the tiles need', () => {
    const sheet = tileSheet(
      [1, 2, 3].map((value) => plain(value, 0, 0)),
      { columns: 2, scale: 1 },
    );
    expect([sheet.width, sheet.height]).to.deep.equal([2 * 14 + 2 * SIDE + 4, 2 * 14 + 2 * SIDE + 4]);
    expect(sheet.data[((14 + SIDE + 4) * sheet.width + 14) * 3]).to.equal(3);
  });

  it('clamp and round what a network gives', () => {
    expect([...toPixels(Float32Array.of(-0.5, 0, 0.5, 1, 7, Number.NaN))]).to.deep.equal([0, 0, 128, 255, 255, 0]);
  });
});

describe('examples: charts and report', () => {
  const chart: Chart = {
    title: 'a < b',
    xLabel: 'step',
    yLabel: 'loss',
    scale: 'logarithmic',
    series: [
      {
        name: 'training',
        colour: '#123456',
        points: [
          [1, 0.5],
          [50, 0.02],
          [100, 0.004],
        ],
      },
    ],
  };

  it('draw falling values as a line that goes right and down, inside the picture', () => {
    for (const scale of ['linear', 'logarithmic'] as const) {
      const points = /points="([^"]+)"/
        .exec(lineChart({ ...chart, scale }))![1]!
        .split(' ')
        .map((pair) => pair.split(',').map(Number));
      const [xs, ys] = [points.map(([x]) => x!), points.map(([, y]) => y!)];
      expect(xs).to.deep.equal(xs.toSorted((a, b) => a - b));
      expect(ys).to.deep.equal(ys.toSorted((a, b) => a - b));
      expect(Math.min(...xs, ...ys)).to.be.at.least(40);
      expect(Math.max(...xs)).to.be.at.most(860);
      expect(Math.max(...ys)).to.be.at.most(340);
    }
  });

  it('stay drawable for one point and for equal ones', () => {
    for (const points of [
      [[1, 0.5]],
      [
        [1, 0.5],
        [2, 0.5],
      ],
    ] as [number, number][][]) {
      for (const scale of ['linear', 'logarithmic'] as const) {
        const svg = lineChart({ ...chart, scale, series: [{ ...chart.series[0]!, points }] });
        expect(svg).to.not.match(/NaN|Infinity|undefined/);
      }
    }
  });

  it('smooth by the means of neighbours', () => {
    expect(
      smooth(
        [
          [1, 2],
          [2, 4],
          [3, 9],
        ],
        2,
      ),
    ).to.deep.equal([
      [2, 3],
      [3, 9],
    ]);
  });

  it('make one page that needs no other file and shows text as text', () => {
    const html = renderReport({
      title: '<b>',
      summary: 'a & b',
      facts: [['time', '1:00']],
      figures: [{ png: Uint8Array.of(1, 2, 3), width: 10, caption: '"quoted"' }],
      chart: lineChart(chart),
      chartNote: '1 > 0',
      settings: [['seed', '0']],
      kernels: [['layer', 'kernel']],
      command: 'npm run demo',
    });
    expect(html)
      .to.include('&lt;b&gt;')
      .and.include('a &amp; b')
      .and.include('&quot;quoted&quot;')
      .and.include('a &lt; b')
      .and.include('1 &gt; 0');
    expect(html).to.include('src="data:image/png;base64,AQID"');
    expect(html).to.not.match(/<script|<link|src="(?!data:)|url\(/);
  });
});

describe('examples: progress', () => {
  function show(isTTY: boolean, columns = 200): string[] {
    const written: string[] = [];
    let time = 0;
    const output = { isTTY, columns, write: (text: string) => written.push(text) };
    const progress = new Progress({ total: 100, batch: 16, output, now: () => time });
    for (let step = 1; step <= 100; step++) {
      time += step === 1 ? 3000 : 200;
      progress.update(step, { loss: 1 / step });
    }
    return written;
  }

  it('is a few plain lines without a terminal', () => {
    const lines = show(false);
    expect(lines.length).to.be.within(4, 7);
    expect(lines.join('')).to.not.include('\u001b').and.not.include('\r');
    expect(lines[1]).to.equal(' 26%  step 26/100  loss 0.0385  80 pictures/s  0:15 left\n');
    expect(lines.at(-1)).to.equal('100%  step 100/100  loss 0.0100  80 pictures/s  in 0:23\n');
  });

  it('is one line that redraws itself on a terminal', () => {
    const frames = show(true);
    expect(frames.length).to.equal(100);
    expect(frames.every((frame) => frame.startsWith('\r\u001b[K'))).to.equal(true);
    expect(frames.join('').split('\n')).to.have.length(2);
    expect(frames[49]).to.include('████████████░░░░░░░░░░░░  50%');
  });

  it('shortens the bar, not the text, on a narrow terminal', () => {
    const frame = show(true, 64)[49]!.replace('\r\u001b[K', '');
    expect(frame)
      .to.match(/^█+░+ {2}50% {2}step 50\/100 .* left$/)
      .and.have.length(63);
  });
});

describe('examples: options', () => {
  it('have defaults, and take what is said', () => {
    expect(parseOptions([])).to.include({ gan: false, seed: 0, images: 0, evaluate: null });
    expect(parseOptions(['--gan', '--steps', '7', '--device', 'cpu'])).to.include({
      gan: true,
      steps: 7,
      device: 'cpu',
    });
    expect(parseOptions(['--help'])).to.equal(null);
  });

  it('refuse what makes no sense, by a sentence', () => {
    expect(() => parseOptions(['--epochs', 'many'])).to.throw(
      "--epochs must be a whole number of at least 1, got 'many'.",
    );
    expect(() => parseOptions(['--batch', '1.5'])).to.throw("--batch must be a whole number of at least 2, got '1.5'.");
    expect(() => parseOptions(['--gan', '--evaluate', 'x'])).to.throw('--evaluate is for the autoencoder');
    expect(() => parseOptions(['--nonsense'])).to.throw('nonsense');
  });
});
