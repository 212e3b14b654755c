/** Every rule about the arguments of convTranspose2d and conv2d: its code, its sentence, and which comes first. */

import { expect } from 'chai';
import { type Dtype, memory, nn, scope, type Tensor, zeros } from '../../src/index.js';

type Options = Record<string, unknown>;

interface Case {
  /** Shapes; the defaults are x [2, 4, 5, 5], weight [4, 3, 3, 3] (conv2d: [6, 4, 3, 3]) and no bias. */
  x?: number[];
  weight?: number[];
  bias?: number[];
  dtypes?: { x?: Dtype; weight?: Dtype; bias?: Dtype };
  options?: Options;
  code: string;
  sentence: string;
}

const TRANSPOSED: Record<string, Case> = {
  'groups 0': {
    options: { groups: 0 },
    code: 'ERR_ARGUMENT',
    sentence: 'groups must be an integer from 1 to 2147483647, got 0',
  },
  'groups before everything else': {
    options: { groups: -1, padding: -1, stride: 0 },
    code: 'ERR_ARGUMENT',
    sentence: 'groups must be an integer from 1 to 2147483647, got -1',
  },
  'three strides': {
    options: { stride: [2, 2, 2] },
    code: 'ERR_ARGUMENT',
    sentence: 'stride must be an integer or a pair [height, width] of them, got [2, 2, 2]',
  },
  "padding 'same'": {
    options: { padding: 'same' },
    code: 'ERR_ARGUMENT',
    sentence: 'padding must be an integer or a pair [height, width] of them, got "same"',
  },
  'a fraction': {
    options: { dilation: 1.5 },
    code: 'ERR_ARGUMENT',
    sentence: 'dilation must be an integer or a pair [height, width] of them, got 1.5',
  },
  'negative padding before stride': {
    options: { padding: [0, -1], stride: 0 },
    code: 'ERR_ARGUMENT',
    sentence: 'padding must be at least 0, got [0, -1]',
  },
  'negative output padding': {
    options: { outputPadding: -1 },
    code: 'ERR_ARGUMENT',
    sentence: 'outputPadding must be at least 0, got -1',
  },
  'stride 0': { options: { stride: 0 }, code: 'ERR_ARGUMENT', sentence: 'stride must be at least 1, got 0' },
  'dilation 0': {
    options: { dilation: [1, 0] },
    code: 'ERR_ARGUMENT',
    sentence: 'dilation must be at least 1, got [1, 0]',
  },
  'five dimensions': {
    x: [1, 2, 4, 5, 5],
    code: 'ERR_SHAPE',
    sentence: 'input must be 3-dimensional (C, H, W) or 4-dimensional (N, C, H, W), got [1, 2, 4, 5, 5]',
  },
  'weight of three': { weight: [4, 3, 3], code: 'ERR_SHAPE', sentence: 'weight must be 4-dimensional, got [4, 3, 3]' },
  'fewer channels than groups': {
    options: { groups: 8 },
    code: 'ERR_SHAPE',
    sentence: 'weight must be of at least 8 channels in dimension 0 for 8 groups, got [4, 3, 3, 3]',
  },
  'channels that groups do not divide': {
    options: { groups: 3 },
    code: 'ERR_SHAPE',
    sentence: 'weight must be divisible by 3 groups in dimension 0, got [4, 3, 3, 3]',
  },
  'other channels': {
    x: [2, 5, 5, 5],
    code: 'ERR_SHAPE',
    sentence: 'input must be of 4 channels (by its weight and one group), got [2, 5, 5, 5]',
  },
  'bias of other channels': {
    bias: [3],
    options: { groups: 2 },
    code: 'ERR_SHAPE',
    sentence: 'bias must be 1-dimensional of 6 elements, got [3]',
  },
  'bias of two dimensions': {
    bias: [3, 1],
    code: 'ERR_SHAPE',
    sentence: 'bias must be 1-dimensional of 3 elements, got [3, 1]',
  },
  'no kernel': { weight: [4, 3, 0, 3], code: 'ERR_SHAPE', sentence: 'kernel size must be at least 1, got [0, 3]' },
  'no rows': {
    x: [2, 4, 0, 5],
    code: 'ERR_SHAPE',
    sentence: 'input must be non-empty but for the batch, got [2, 4, 0, 5]',
  },
  'output padding as large as stride and dilation': {
    options: { stride: 2, outputPadding: 2 },
    code: 'ERR_ARGUMENT',
    sentence: 'outputPadding must be smaller than stride [2,2] or dilation [1,1] in each dimension, got [2, 2]',
  },
  'output padding in one dimension': {
    options: { stride: [1, 2], outputPadding: [1, 0] },
    code: 'ERR_ARGUMENT',
    sentence: 'outputPadding must be smaller than stride [1,2] or dilation [1,1] in each dimension, got [1, 0]',
  },
  'no output channels': {
    weight: [4, 0, 3, 3],
    code: 'ERR_SHAPE',
    sentence: 'weight must be non-empty, got [4, 0, 3, 3]',
  },
  'no input channels': {
    x: [2, 0, 5, 5],
    weight: [0, 3, 3, 3],
    code: 'ERR_SHAPE',
    sentence: 'weight must be of at least 1 channels in dimension 0 for 1 groups, got [0, 3, 3, 3]',
  },
  'an output of no rows': {
    x: [1, 4, 2, 5],
    options: { padding: 2 },
    code: 'ERR_SHAPE',
    sentence: 'output size must be at least 1 x 1 for an input of 2 x 5, got [0, 3]',
  },
  'a negative output of an empty batch': {
    x: [0, 4, 2, 2],
    options: { padding: 4 },
    code: 'ERR_SHAPE',
    sentence: 'output size must be at least 0 x 0 for an input of 2 x 2, got [-4, -4]',
  },
  'another dtype': {
    dtypes: { weight: 'float64' },
    code: 'ERR_DTYPE',
    sentence: 'weight\'s dtype must be the input\'s, float32, got "float64"',
  },
  'a bias of another dtype': {
    bias: [3],
    dtypes: { bias: 'float16' },
    code: 'ERR_DTYPE',
    sentence: 'bias\'s dtype must be the input\'s, float32, got "float16"',
  },
  integers: {
    dtypes: { x: 'int32', weight: 'int32' },
    code: 'ERR_DTYPE',
    sentence: 'input\'s dtype must be a float type, got "int32"',
  },
  'an unknown activation': {
    options: { activation: 'gelu' },
    code: 'ERR_ARGUMENT',
    sentence: 'activation must be one of none, relu, leaky_relu, tanh, sigmoid, got "gelu"',
  },
  'a negative slope below 0': {
    options: { activation: 'leaky_relu', negativeSlope: -0.1 },
    code: 'ERR_ARGUMENT',
    sentence: 'negativeSlope must be a finite number ≥ 0, got -0.1',
  },
};

const PLAIN: Record<string, Case> = {
  'another word for padding': {
    options: { padding: 'foo' },
    code: 'ERR_ARGUMENT',
    sentence: "padding must be integers, 'same' or 'valid', got \"foo\"",
  },
  "a stride with padding 'same'": {
    options: { padding: 'same', stride: [1, 3] },
    code: 'ERR_ARGUMENT',
    sentence: "stride for padding 'same' must be 1, got [1, 3]",
  },
  'channels that groups ask': {
    options: { groups: 2 },
    code: 'ERR_SHAPE',
    sentence: 'input must be of 8 channels (by its weight and 2 groups), got [2, 4, 5, 5]',
  },
  'a dilated kernel larger than the input': {
    options: { dilation: 3, stride: 2 },
    code: 'ERR_SHAPE',
    sentence: 'kernel size must be at most the padded input, 5 x 5, got "7 x 7"',
  },
  'negative padding': {
    options: { padding: -1 },
    code: 'ERR_ARGUMENT',
    sentence: 'padding must be at least 0, got -1',
  },
  'no rows, though padding would make some': {
    x: [2, 4, 0, 5],
    options: { padding: 2 },
    code: 'ERR_SHAPE',
    sentence: 'input must be non-empty but for the batch, got [2, 4, 0, 5]',
  },
  'output padding, which it does not have': {
    options: { outputPadding: 1 },
    code: 'ERR_ARGUMENT',
    sentence:
      'an option must be one of stride, padding, dilation, groups, activation, negativeSlope, got "outputPadding"',
  },
};

type Operator = (x: Tensor, weight: Tensor, bias: Tensor | null, options: Options) => Tensor;

function refuses(where: string, operator: Operator, weight: number[], c: Case): void {
  const place = (dtype: Dtype = 'float32') => ({ device: 'cpu', dtype }) as const;
  scope(() => {
    const x = zeros(c.x ?? [2, 4, 5, 5], place(c.dtypes?.x));
    const w = zeros(c.weight ?? weight, place(c.dtypes?.weight));
    const b = c.bias === undefined ? null : zeros(c.bias, place(c.dtypes?.bias));
    const before = memory().cpu.live;
    expect(() => operator(x, w, b, c.options ?? {}))
      .throws(`${where}: ${c.sentence}`)
      .with.property('code', c.code);
    expect(memory().cpu.live).equals(before);
  });
}

describe('convTranspose2d refuses', () => {
  for (const [name, c] of Object.entries(TRANSPOSED)) {
    it(name, () => refuses('convTranspose2d', nn.functional.convTranspose2d, [4, 3, 3, 3], c));
  }

  it('what is no tensor, or a disposed one', () => {
    const { convTranspose2d } = nn.functional;
    using x = zeros([1, 1, 2, 2], { device: 'cpu' });
    const gone = zeros([1, 1, 2, 2], { device: 'cpu' });
    gone.dispose();
    expect(() => convTranspose2d('x' as never, x))
      .throws('convTranspose2d: input must be a tensor, got "x"')
      .with.property('code', 'ERR_ARGUMENT');
    expect(() => convTranspose2d(x, gone))
      .throws(/^convTranspose2d: weight must be a tensor that is not disposed/)
      .with.property('code', 'ERR_DISPOSED');
    expect(() => convTranspose2d(x, x, 1 as never))
      .throws('convTranspose2d: bias must be a tensor, got 1')
      .with.property('code', 'ERR_ARGUMENT');
  });

  it('an output that no memory holds', () => {
    using x = zeros([1, 1, 30000, 2], { device: 'cpu' });
    using w = zeros([1, 1, 1, 1], { device: 'cpu' });
    expect(() => nn.functional.convTranspose2d(x, w, null, { stride: [60000, 60000] }))
      .throws()
      .with.property('code', 'ERR_OUT_OF_MEMORY');
    expect(() => nn.functional.convTranspose2d(x, w, null, { stride: 2147483647 }))
      .throws()
      .with.property('code', 'ERR_OUT_OF_MEMORY');
  });
});

describe('conv2d refuses', () => {
  for (const [name, c] of Object.entries(PLAIN)) {
    it(name, () => refuses('conv2d', nn.functional.conv2d as Operator, [6, 4, 3, 3], c));
  }
});

describe('what an empty batch is let off', () => {
  it('dtypes and the bound of output padding; gradients have the types of their tensors', () => {
    using x = zeros([0, 4, 5, 5], { device: 'cpu', requiresGrad: true });
    using w = zeros([4, 3, 3, 3], { device: 'cpu', dtype: 'float64', requiresGrad: true });
    scope(() => {
      const y = nn.functional.convTranspose2d(x, w, null, { outputPadding: 3 });
      expect([y.shape, y.dtype]).deep.equals([[0, 3, 10, 10], 'float32']);
      y.sum().backward();
    });
    expect([x.grad!.shape, w.grad!.dtype, w.grad!.shape]).deep.equals([[0, 4, 5, 5], 'float64', [4, 3, 3, 3]]);
  });

  it('empty rows where the output has some', () => {
    using x = zeros([0, 4, 0, 5], { device: 'cpu' });
    using w = zeros([4, 3, 3, 3], { device: 'cpu' });
    expect(scope(() => nn.functional.convTranspose2d(x, w).shape)).deep.equals([0, 3, 2, 7]);
  });
});
