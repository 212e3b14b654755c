/** ConvTranspose2d, Conv2d and Linear as modules: arguments and their refusals, output sizes, initialisation, text. */

import { expect } from 'chai';
import {
  type ErrorCode,
  FracstrideError,
  manualSeed,
  nn,
  noGrad,
  ones,
  randn,
  scope,
  type Tensor,
  zeros,
} from 'fracstride';
import {
  expectAlike,
  expectGradients,
  expectSecondGradients,
  pattern,
  toTensor,
} from '../support/finite_differences.js';
import { refusal } from '../support/refusal.js';

const data = (value: Tensor): number[] => Array.from(value.dataSync());

function expectRefused(fn: () => unknown, code: ErrorCode, ...words: RegExp[]): void {
  const [got, sentence] = refusal(fn);
  expect(got, sentence).to.equal(code);
  for (const word of [...words, /^\w+: .+ must be .+, got .+$/]) expect(sentence).to.match(word);
}

describe('nn.ConvTranspose2d', () => {
  it("has PyTorch's weight layout, defaults and text", () => {
    using m = new nn.ConvTranspose2d(4, 8, 3, { stride: 2 });
    expect(m.weight.shape).to.deep.equal([4, 8, 3, 3]);
    expect(m.bias?.shape).to.deep.equal([8]);
    expect([m.stride, m.padding, m.outputPadding, m.dilation]).to.deep.equal([
      [2, 2],
      [0, 0],
      [0, 0],
      [1, 1],
    ]);
    expect(String(m)).to.equal('ConvTranspose2d(4, 8, kernel_size=(3, 3), stride=(2, 2))');
    using full = new nn.ConvTranspose2d(4, 8, 3, {
      stride: 2,
      padding: 1,
      outputPadding: 1,
      groups: 2,
      bias: false,
      dilation: 2,
    });
    expect(full.weight.shape).to.deep.equal([4, 4, 3, 3]);
    expect(full.bias).to.equal(null);
    expect(String(full)).to.equal(
      'ConvTranspose2d(4, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(2, 2), ' +
        'output_padding=(1, 1), groups=2, bias=False)',
    );
  });

  it('takes an integer, a list of one or a pair for every spatial argument', () => {
    using m = new nn.ConvTranspose2d(1, 1, [3, 5], { stride: [2, 1], padding: [4, 2], dilation: 1 });
    expect(m.kernelSize).to.deep.equal([3, 5]);
    using n = new nn.ConvTranspose2d(1, 1, [3] as never);
    expect(n.kernelSize).to.deep.equal([3, 3]);
    expectRefused(
      () => new nn.ConvTranspose2d(1, 1, 3, { stride: [2, 2, 2] as never }),
      'ERR_ARGUMENT',
      /stride must be a single integer value or a list of 2/,
    );
    expectRefused(() => new nn.ConvTranspose2d(1, 1, '3' as never), 'ERR_ARGUMENT', /kernelSize/);
    expectRefused(() => new nn.ConvTranspose2d(1, 1, 3, { padding: 'same' as never }), 'ERR_ARGUMENT', /padding/);
    expectRefused(() => new nn.ConvTranspose2d(1, 1, 2.5), 'ERR_ARGUMENT', /kernelSize/);
  });

  it('checks the padding mode first, then groups, then channels', () => {
    const wrong = { groups: 0, paddingMode: 'reflect' as never };
    expectRefused(() => new nn.ConvTranspose2d(3, 5, 3, wrong), 'ERR_ARGUMENT', /paddingMode/, /'zeros'/);
    expectRefused(
      () => new nn.ConvTranspose2d(3, 5, 3, { groups: 0 }),
      'ERR_ARGUMENT',
      /groups must be a positive integer/,
    );
    expectRefused(
      () => new nn.ConvTranspose2d(4, 4, 3, { groups: -1 }),
      'ERR_ARGUMENT',
      /groups must be a positive integer/,
    );
    expectRefused(
      () => new nn.ConvTranspose2d(3, 5, 3, { groups: 2 }),
      'ERR_ARGUMENT',
      /inChannels must be divisible by groups/,
    );
    expectRefused(
      () => new nn.ConvTranspose2d(4, 5, 3, { groups: 2 }),
      'ERR_ARGUMENT',
      /outChannels must be divisible by groups/,
    );
    expectRefused(() => new nn.ConvTranspose2d(-4, 4, 3), 'ERR_ARGUMENT', /-4/);
    expectRefused(() => new nn.ConvTranspose2d(1.5, 4, 3), 'ERR_ARGUMENT', /inChannels must be an integer/);
  });

  it('refuses unknown options by name, and dtypes it cannot train', () => {
    expectRefused(
      () => new nn.ConvTranspose2d(1, 1, 3, { output_padding: 1 } as never),
      'ERR_ARGUMENT',
      /output_padding/,
    );
    expectRefused(() => new nn.ConvTranspose2d(1, 1, 3, 2 as never), 'ERR_ARGUMENT', /options/);
    expectRefused(() => new nn.ConvTranspose2d(1, 1, 3, { dtype: 'int32' }), 'ERR_DTYPE', /float/);
    expectRefused(() => new nn.ConvTranspose2d(1, 1, 3, { bias: 1 as never }), 'ERR_ARGUMENT', /bias/);
  });

  it('can be built with a stride, channels or a kernel that no input is accepted for, as in PyTorch', () => {
    const cases: [() => nn.ConvTranspose2d, number, RegExp][] = [
      [() => new nn.ConvTranspose2d(2, 2, 3, { stride: 0 }), 2, /stride/],
      [() => new nn.ConvTranspose2d(2, 2, 3, { stride: -1 }), 2, /stride/],
      [() => new nn.ConvTranspose2d(2, 2, 3, { padding: -1 }), 2, /padding/],
      [() => new nn.ConvTranspose2d(2, 2, 0), 2, /kernel size/],
      [() => new nn.ConvTranspose2d(2, 0, 3), 2, /weight/],
      [() => new nn.ConvTranspose2d(2, 2, 3, { outputPadding: 1 }), 2, /outputPadding/],
    ];
    for (const [make, channels, word] of cases) {
      scope(() => {
        using m = make();
        expect(() => m.forward(zeros([1, channels, 4, 4]))).to.throw(FracstrideError, word);
      });
    }
  });

  describe('outputSize', () => {
    const build = () => new nn.ConvTranspose2d(3, 4, 3, { stride: 3, outputPadding: 2 });

    it('replaces outputPadding; 2 elements, or all of the rank, the first ones unread', () => {
      scope(() => {
        using m = build();
        const x = randn([2, 3, 6, 6]);
        const sizes: [number[], number[]][] = [
          [
            [18, 20],
            [2, 4, 18, 20],
          ],
          [
            [99, 77, 19, 18],
            [2, 4, 19, 18],
          ],
        ];
        for (const [outputSize, shape] of sizes) expect(m.forward(x, { outputSize }).shape).to.deep.equal(shape);
        expect(m.forward(x).shape).to.deep.equal([2, 4, 20, 20]);
        expect(m.forward(x, { outputSize: null }).shape).to.deep.equal([2, 4, 20, 20]);
        const unbatched = randn([3, 6, 6]);
        expect(m.forward(unbatched, { outputSize: [18, 19] }).shape).to.deep.equal([4, 18, 19]);
        expect(m.forward(unbatched, { outputSize: [0, 19, 19] }).shape).to.deep.equal([4, 19, 19]);
      });
    });

    it('is what a functional call with the difference as outputPadding gives', () => {
      scope(() => {
        using m = build();
        const x = randn([2, 3, 6, 6]);
        const y = m.forward(x, { outputSize: [19, 20] });
        const same = nn.functional.convTranspose2d(x, m.weight, m.bias, { stride: 3, outputPadding: [1, 2] });
        expect(data(y)).to.deep.equal(data(same));
      });
    });

    it('names the valid range when it is impossible', () => {
      scope(() => {
        using m = build();
        const x = zeros([2, 3, 6, 6]);
        const range =
          /outputSize must be in the valid range from \[18, 18\] to \[20, 20\] \(for an input of \[6, 6\]\)/;
        for (const outputSize of [
          [17, 18],
          [21, 18],
          [20, 21],
        ]) {
          expectRefused(
            () => m.forward(x, { outputSize }),
            'ERR_ARGUMENT',
            range,
            new RegExp(`\\[${outputSize.join(', ')}\\]`),
          );
        }
        expectRefused(() => m.forward(x, { outputSize: [4, 18, 18] }), 'ERR_ARGUMENT', /2 or 4 elements for 4D input/);
        expectRefused(
          () => m.forward(x, { outputSize: [1, 2, 4, 18, 18] }),
          'ERR_ARGUMENT',
          /2 or 4 elements for 4D input/,
        );
        const unbatched = zeros([3, 6, 6]);
        expectRefused(
          () => m.forward(unbatched, { outputSize: [2, 4, 18, 18] }),
          'ERR_ARGUMENT',
          /2 or 3 elements for 3D input/,
        );
        expectRefused(() => m.forward(x, { outputSize: 18 as never }), 'ERR_ARGUMENT', /outputSize/);
        expectRefused(() => m.forward(x, { outputSize: [18.5, 18] }), 'ERR_ARGUMENT', /outputSize must be an integer/);
        expectRefused(() => m.forward(x, { output_size: [18, 18] } as never), 'ERR_ARGUMENT', /output_size/);
      });
    });

    it('counts dilation, and its range is that of the stride alone', () => {
      scope(() => {
        using m = new nn.ConvTranspose2d(1, 1, 3, { stride: 1, dilation: 2 });
        const x = zeros([1, 1, 4, 4]);
        expect(m.forward(x, { outputSize: [8, 8] }).shape).to.deep.equal([1, 1, 8, 8]);
        expectRefused(() => m.forward(x, { outputSize: [9, 8] }), 'ERR_ARGUMENT', /from \[8, 8\] to \[8, 8\]/);
      });
    });

    it('may be in range and still too small to exist', () => {
      scope(() => {
        using m = new nn.ConvTranspose2d(3, 4, 2, { stride: 3, padding: 3 });
        expectRefused(() => m.forward(zeros([1, 3, 2, 2]), { outputSize: [0, 1] }), 'ERR_SHAPE', /output size/);
      });
    });
  });
});

describe('initialisation of convolutions', () => {
  it('draws weight, then bias, from U(−√k, √k) with k = G / (Cout·R·S)', () => {
    scope(() => {
      manualSeed(7);
      using m = new nn.ConvTranspose2d(12, 24, [3, 5], { groups: 4 });
      const bound = Math.sqrt(4 / (24 * 15));
      expect(bound).to.be.closeTo(0.105409, 1e-6);
      const values = data(m.weight);
      expect(Math.max(...values.map(Math.abs))).to.be.within(0.99 * bound, bound * (1 + 1e-6));
      const variance = values.reduce((sum, v) => sum + v * v, 0) / values.length;
      expect(variance).to.be.closeTo((bound * bound) / 3, 0.1 * bound * bound);
      manualSeed(7);
      const weight = nn.init.uniform_(zeros([12, 6, 3, 5]), -bound, bound);
      const bias = nn.init.uniform_(zeros([24]), -bound, bound);
      expectAlike(values, data(weight), 1e-7, 'weight');
      expectAlike(data(m.bias!), data(bias), 1e-7, 'bias');
    });
  });

  it('takes the fan in of a convolution from its input channels', () => {
    manualSeed(3);
    using m = new nn.Conv2d(8, 40, 3, { groups: 2 });
    const bound = 1 / Math.sqrt(4 * 9);
    const largest = Math.max(...data(m.weight).map(Math.abs));
    expect(largest).to.be.within(0.98 * bound, bound * (1 + 1e-6));
  });

  it('draws the same numbers for the same seed, in every float type', () => {
    for (const dtype of ['float32', 'float64', 'float16', 'bfloat16'] as const) {
      scope(() => {
        const draw = (): number[] => {
          manualSeed(11);
          using m = new nn.ConvTranspose2d(2, 3, 3, { dtype });
          expect(m.weight.dtype).to.equal(dtype);
          return data(m.weight);
        };
        expect(draw()).to.deep.equal(draw());
      });
    }
  });
});

describe('nn.Conv2d', () => {
  it("prints as PyTorch's", () => {
    const text = (m: nn.Conv2d): string => {
      using made = m;
      return String(made);
    };
    expect(text(new nn.Conv2d(16, 33, 3, { stride: 2 }))).to.equal('Conv2d(16, 33, kernel_size=(3, 3), stride=(2, 2))');
    expect(text(new nn.Conv2d(3, 4, [3, 5], { padding: 'same', paddingMode: 'circular' }))).to.equal(
      'Conv2d(3, 4, kernel_size=(3, 5), stride=(1, 1), padding=same, padding_mode=circular)',
    );
    expect(text(new nn.Conv2d(4, 4, 3, { padding: [1, 0], dilation: 2, groups: 4, bias: false }))).to.equal(
      'Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 0), dilation=(2, 2), groups=4, bias=False)',
    );
  });

  it('refuses paddings it has not', () => {
    expectRefused(() => new nn.Conv2d(4, 4, 3, { padding: 'same', stride: [1, 3] }), 'ERR_ARGUMENT', /same/, /stride/);
    expectRefused(() => new nn.Conv2d(4, 4, 3, { padding: 'foo' as never }), 'ERR_ARGUMENT', /padding/, /same, valid/);
    expectRefused(
      () => new nn.Conv2d(4, 4, 3, { paddingMode: 'xyz' as never }),
      'ERR_ARGUMENT',
      /paddingMode/,
      /circular/,
    );
  });

  // What lies beyond the edge of the row 1 2 3 4 with two columns on either side.
  const rows = {
    reflect: [3, 2, 1, 2, 3, 4, 3, 2],
    replicate: [1, 1, 1, 2, 3, 4, 4, 4],
    circular: [3, 4, 1, 2, 3, 4, 1, 2],
  };
  for (const [mode, row] of Object.entries(rows) as ['reflect' | 'replicate' | 'circular', number[]][]) {
    it(`pads by ${mode}`, () => {
      scope(() => {
        const x = toTensor({ shape: [1, 1, 1, 4], data: Float64Array.of(1, 2, 3, 4) });
        expect(data(nn.functional.pad(x, [2, 2], { mode }))).to.deep.equal(row);
        using m = new nn.Conv2d(1, 1, [1, 5], { padding: [0, 2], paddingMode: mode, bias: false, dtype: 'float64' });
        nn.init.ones_(m.weight);
        const sums = [0, 1, 2, 3].map((i) => row.slice(i, i + 5).reduce((a, b) => a + b, 0));
        expect(data(m.forward(x))).to.deep.equal(sums);
        using wrong = new nn.Conv2d(1, 1, 1, { padding: [0, -1], paddingMode: mode, dtype: 'float64' });
        expectRefused(() => wrong.forward(x), 'ERR_ARGUMENT', /^Conv2d: padding must be at least 0, got \[0, -1\]/);
        const weight = pattern([2, 2, 3, 3], 0.3);
        expectGradients(
          ([a, w]) => nn.functional.conv2d(nn.functional.pad(a!, [1, 2, 2, 0], { mode }), w!),
          [pattern([1, 2, 4, 4], 0.2), weight],
        );
      });
    });
  }

  it("puts the odd column of 'same' right, and keeps the size", () => {
    scope(() => {
      const x = toTensor({ shape: [1, 1, 1, 4], data: Float64Array.of(1, 2, 3, 4) });
      for (const paddingMode of ['zeros', 'circular'] as const) {
        using m = new nn.Conv2d(1, 1, [1, 2], { padding: 'same', paddingMode, bias: false, dtype: 'float64' });
        nn.init.ones_(m.weight);
        expect(data(m.forward(x))).to.deep.equal(paddingMode === 'zeros' ? [3, 5, 7, 4] : [3, 5, 7, 5]);
      }
    });
  });

  it('refuses to mirror what is too small', () => {
    scope(() => {
      using m = new nn.Conv2d(1, 1, 5, { padding: 2, paddingMode: 'reflect' });
      expectRefused(() => m.forward(ones([1, 1, 2, 8])), 'ERR_SHAPE', /padding \(reflect\)/);
      expectRefused(() => m.forward(ones([2, 8])), 'ERR_SHAPE', /3-dimensional/);
    });
  });
});

describe('nn.Linear', () => {
  it('is x·Wᵀ + b, over any leading dimensions, with gradients of both orders', () => {
    scope(() => {
      using m = new nn.Linear(3, 2, { dtype: 'float64' });
      expect(String(m)).to.equal('Linear(in_features=3, out_features=2, bias=True)');
      const x = pattern([4, 5, 3], 0.1);
      const [w, b] = [data(m.weight), data(m.bias!)];
      const want = Array.from({ length: 40 }, (_, i) => {
        const row = Math.floor(i / 2) * 3;
        return [0, 1, 2].reduce((sum, k) => sum + x.data[row + k]! * w[(i % 2) * 3 + k]!, b[i % 2]!);
      });
      const y = noGrad(() => m.forward(toTensor(x)));
      expect(y.shape).to.deep.equal([4, 5, 2]);
      expectAlike(data(y), want, 1e-14, 'linear');
      const points = [pattern([4, 3], 0.2), pattern([2, 3], 0.4), pattern([2], 0.5)];
      expectGradients(([a, weight, bias]) => nn.functional.linear(a!, weight!, bias!), points);
      expectSecondGradients(([a, weight, bias]) => nn.functional.linear(a!, weight!, bias!), points);
      expectRefused(() => m.forward(zeros([2, 4], { dtype: 'float64' })), 'ERR_SHAPE', /\[out, in\]/);
      using none = new nn.Linear(0, 2, { dtype: 'float64' });
      const bias = none.forward(zeros([3, 0], { dtype: 'float64' }));
      expectAlike(data(bias), [...data(none.bias!), ...data(none.bias!), ...data(none.bias!)], 0, 'no features');
      bias.sum().backward();
      expect(data(none.bias!.grad!)).to.deep.equal([3, 3]);
    });
  });
});
