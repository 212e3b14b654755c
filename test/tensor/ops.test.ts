/** Operations: values against plain JavaScript, first and second gradients against central differences. */

import { expect } from 'chai';
import {
  cat,
  eq,
  gt,
  manualSeed,
  maximum,
  minimum,
  nn,
  rand,
  randn,
  scope,
  stack,
  type Tensor,
  tensor,
  where,
  zeros,
} from '../../src/index.js';
import { distance } from '../../src/ops/losses.js';
import { expectGradients, expectSecondGradients } from '../support/finite_differences.js';

const F64 = { dtype: 'float64', device: 'cpu' } as const;
const LEAF = { ...F64, requiresGrad: true } as const;

/** Random values that stay away from 0, where some operations have a kink. */
function away(shape: number[]): Tensor {
  return scope(() => {
    const values = Array.from(randn(shape, F64).dataSync(), (v) => (v < 0 ? v - 0.1 : v + 0.1));
    return tensor(values, { shape, ...LEAF });
  });
}

/** Random values in [0.5, 1.5). */
function positive(shape: number[]): Tensor {
  return scope(() => tensor(rand(shape, F64).add(0.5).dataSync(), { shape, ...LEAF }));
}

type Differentiable = (...inputs: Tensor[]) => Tensor;

/** First and second gradients at the inputs, which it disposes, by finite differences. */
function check(fn: Differentiable, inputs: Tensor[], second: 'first' | 'second' = 'second'): void {
  const points = inputs.map((x) => ({ shape: x.shape, data: Float64Array.from(x.dataSync()) }));
  expectGradients((values) => fn(...values), points);
  if (second === 'second') expectSecondGradients((values) => fn(...values), points);
  for (const input of inputs) input.dispose();
}

describe('element-wise operations', () => {
  beforeEach(() => manualSeed(1));

  const unary: Record<string, [(x: Tensor) => Tensor, (x: number) => number, ('positive' | 'any')?]> = {
    neg: [(x) => x.neg(), (x) => -x],
    abs: [(x) => x.abs(), Math.abs],
    exp: [(x) => x.exp(), Math.exp],
    log: [(x) => x.log(), Math.log, 'positive'],
    sqrt: [(x) => x.sqrt(), Math.sqrt, 'positive'],
    square: [(x) => x.square(), (x) => x * x],
    'pow 3': [(x) => x.pow(3), (x) => x ** 3],
    'pow -1.5': [(x) => x.pow(-1.5), (x) => x ** -1.5, 'positive'],
    relu: [(x) => x.relu(), (x) => Math.max(x, 0)],
    leakyRelu: [(x) => x.leakyRelu(0.2), (x) => (x > 0 ? x : 0.2 * x)],
    'leakyRelu of a negative slope': [(x) => x.leakyRelu(-0.3), (x) => (x > 0 ? x : -0.3 * x)],
    tanh: [(x) => x.tanh(), Math.tanh],
    sigmoid: [(x) => x.sigmoid(), (x) => 1 / (1 + Math.exp(-x))],
    clamp: [(x) => x.clamp({ min: -0.7, max: 0.9 }), (x) => Math.min(Math.max(x, -0.7), 0.9)],
  };
  for (const [name, [fn, reference, domain]] of Object.entries(unary)) {
    it(`${name} is right, and so are its gradients`, () => {
      const x = domain === 'positive' ? positive([3, 4]) : away([3, 4]);
      using y = fn(x);
      const want = Array.from(x.dataSync(), reference);
      y.dataSync().forEach((v, i) => {
        expect(v).closeTo(want[i]!, 1e-14 * (1 + Math.abs(want[i]!)));
      });
      check(fn, [x]);
    });
  }

  const binary: Record<string, [(a: Tensor, b: Tensor) => Tensor, (a: number, b: number) => number]> = {
    add: [(a, b) => a.add(b), (a, b) => a + b],
    sub: [(a, b) => a.sub(b), (a, b) => a - b],
    mul: [(a, b) => a.mul(b), (a, b) => a * b],
    div: [(a, b) => a.div(b), (a, b) => a / b],
    maximum: [maximum, Math.max],
    minimum: [minimum, Math.min],
    bceWithLogits: [
      (x, t) => distance('bce_logits', x, t),
      (x, t) => Math.max(x, 0) - x * t + Math.log1p(Math.exp(-Math.abs(x))),
    ],
  };
  for (const [name, [fn, reference]] of Object.entries(binary)) {
    it(`${name} broadcasts, and sums gradients over what was repeated`, () => {
      const [a, b] = [away([2, 1, 4]), away([3, 1])];
      using y = fn(a, b);
      expect(y.shape).deep.equals([2, 3, 4]);
      const [p, q] = [a.dataSync(), b.dataSync()];
      y.dataSync().forEach((v, i) => {
        expect(v).closeTo(reference(p[Math.floor(i / 12) * 4 + (i % 4)]!, q[Math.floor(i / 4) % 3]!), 1e-14);
      });
      check(fn, [a, b]);
    });
  }

  it('takes numbers for tensors, on either side', () => {
    using x = tensor([1, 2, 4], F64);
    expect(scope(() => x.mul(3).add(1).toArray())).deep.equals([4, 7, 13]);
    expect(scope(() => where(gt(x, 1.5), x, -1).toArray())).deep.equals([-1, 2, 4]);
    expect(scope(() => eq(x, 2).toArray())).deep.equals([0, 1, 0]);
    const y = away([5]);
    check((v) => where(gt(v, 0), v.mul(v), 2), [y]);
  });

  it('keeps NaN where PyTorch does', () => {
    using x = tensor([Number.NaN, -1, 1], F64);
    for (const y of [x.relu(), x.clamp({ min: 0 }), maximum(x, 0), minimum(x, 0), x.abs()]) {
      expect(y.dataSync()[0]).to.be.NaN;
      y.dispose();
    }
  });

  it('shares the gradient of maximum where both are equal', () => {
    using a = tensor([1, 2], LEAF);
    using b = tensor([1, 3], LEAF);
    scope(() => maximum(a, b).sum().backward());
    expect([a.grad!.toArray(), b.grad!.toArray()]).deep.equals([
      [0.5, 0],
      [0.5, 1],
    ]);
  });

  it('works on more dimensions than a kernel takes, and on any strides', () => {
    using x = randn([2, 3, 2, 2, 3, 2, 2, 2], F64);
    scope(() => {
      const order = [7, 1, 5, 3, 0, 6, 2, 4];
      const turned = x.permute(order);
      const sum = turned.add(turned.contiguous()).dataSync();
      turned
        .mul(2)
        .dataSync()
        .forEach((v, i) => {
          expect(v).equals(sum[i]);
        });
    });
  });

  it('refuses operands that do not belong together', () => {
    using a = zeros([2, 3], F64);
    using b = zeros([4], F64);
    using c = zeros([3], { device: 'cpu' });
    using d = zeros([3], { device: 'cpu', dtype: 'int32' });
    expect(() => a.add(b))
      .throws(/^add: shapes must be such that they broadcast, got /)
      .with.property('code', 'ERR_SHAPE');
    expect(() => a.add(c))
      .throws(/one dtype/)
      .with.property('code', 'ERR_DTYPE');
    expect(() => d.exp())
      .throws(/float type/)
      .with.property('code', 'ERR_DTYPE');
    expect(() => a.add('1' as unknown as number))
      .throws(/a tensor/)
      .with.property('code', 'ERR_ARGUMENT');
  });
});

describe('reductions', () => {
  beforeEach(() => manualSeed(2));

  for (const dim of [undefined, 0, -1, [0, 2], [1, 3], [0, 2, 3], []] as const) {
    for (const layout of ['nchw', 'nhwc'] as const) {
      it(`sum, mean and max over ${JSON.stringify(dim)} in ${layout}`, () => {
        using x = randn([2, 3, 4, 5], F64);
        using laid = x.to({ layout });
        const options = dim === undefined ? {} : { dim };
        scope(() => {
          const want = reduceSlowly(x, dim === undefined ? [0, 1, 2, 3] : [dim].flat());
          const got = [laid.sum(options), laid.mean(options), laid.max(options)];
          got.forEach((y, k) => {
            expect(y.shape).deep.equals(want.shape);
            y.dataSync().forEach((v, i) => {
              expect(v).closeTo([want.sum, want.sum.map((s) => s / want.count), want.max][k]![i]!, 1e-13);
            });
          });
          expect(laid.sum({ ...options, keepdim: true }).ndim).equals(4);
        });
      });
    }
  }

  it('has right gradients', () => {
    check((x) => x.sum({ dim: [0, 2] }).square(), [away([2, 3, 2])]);
    check((x) => x.mean({ dim: 1, keepdim: true }).mul(x), [away([2, 3])]);
    check((x) => x.max({ dim: 1 }).square(), [away([3, 4])]);
  });

  it('sums nothing to 0, and finds no largest of nothing', () => {
    using x = zeros([2, 0], F64);
    expect(scope(() => x.sum({ dim: 1 }).toArray())).deep.equals([0, 0]);
    expect(scope(() => x.mean().item())).to.be.NaN;
    expect(() => x.max())
      .throws(/at least one element/)
      .with.property('code', 'ERR_SHAPE');
    expect(scope(() => x.max({ dim: 0 }).shape)).deep.equals([0]);
  });

  it('holds the mean of half floats beyond their range', () => {
    using x = tensor([60000, 60000, 60000, 60000], { dtype: 'float16', device: 'cpu' });
    using y = x.mean();
    expect(y.item()).closeTo(60000, 32);
  });
});

describe('views, copies and joins', () => {
  beforeEach(() => manualSeed(3));

  const shapes: Record<string, [Differentiable, number[]]> = {
    permute: [(x) => x.permute([2, 0, 1]), [2, 3, 4]],
    transpose: [(x) => x.transpose(0, 1), [2, 3]],
    narrow: [(x) => x.narrow(1, 1, 2), [2, 4]],
    select: [(x) => x.select(1, -1), [2, 4]],
    expand: [(x) => x.expand([4, 2, 3]), [2, 1]],
    'reshape of a view': [(x) => x.transpose(0, 1).reshape([3, 4]), [2, 6]],
    flatten: [(x) => x.flatten(1), [2, 3, 2]],
    unsqueeze: [(x) => x.unsqueeze(1), [2, 3]],
    squeeze: [(x) => x.squeeze(), [2, 1, 3, 1]],
    'contiguous of a view': [(x) => x.transpose().contiguous(), [2, 3]],
    clone: [(x) => x.clone(), [2, 3]],
    'channels last': [(x) => x.to({ layout: 'nhwc' }), [2, 3, 2, 2]],
    cat: [(x) => cat([x, x.narrow(1, 0, 1), x.neg()], 1), [2, 3]],
    stack: [(x) => stack([x, x.exp()], 1), [2, 3]],
    'constant pad': [(x) => nn.functional.pad(x, [1, 0, 0, 2]), [1, 1, 2, 3]],
    'reflect pad': [(x) => nn.functional.pad(x, [2, 1, 1, 1], { mode: 'reflect' }), [1, 1, 2, 3]],
    'replicate pad': [(x) => nn.functional.pad(x, [2, 1, 1, 1], { mode: 'replicate' }), [1, 1, 2, 3]],
    'circular pad': [(x) => nn.functional.pad(x, [2, 1, 1, 2], { mode: 'circular' }), [1, 1, 2, 3]],
  };
  for (const [name, [fn, shape]] of Object.entries(shapes)) {
    it(`${name} has right gradients`, () => check((x) => fn(x).square(), [away(shape)]));
  }

  it('casts have gradients of the type they came from', () => {
    for (const dtype of ['float16', 'bfloat16', 'float32'] as const) {
      using x = tensor([1, 2, 3], { dtype, device: 'cpu', requiresGrad: true });
      scope(() => x.to({ dtype: 'float64' }).mul(3).sum().backward());
      expect([x.grad!.dtype, x.grad!.toArray()]).deep.equals([dtype, [3, 3, 3]]);
    }
  });

  it('views share memory, copies do not', () => {
    using x = tensor(
      [
        [1, 2, 3],
        [4, 5, 6],
      ],
      F64,
    );
    scope(() => {
      const before = x.permute([1, 0]);
      expect(before.toArray()).deep.equals([
        [1, 4],
        [2, 5],
        [3, 6],
      ]);
      expect(before.isContiguous).equals(false);
      expect(before.contiguous().isContiguous).equals(true);
      expect(x.narrow(1, 1, 2).select(0, 1).toArray()).deep.equals([5, 6]);
      expect(x.reshape([3, -1]).toArray()).deep.equals([
        [1, 2],
        [3, 4],
        [5, 6],
      ]);
      expect(before.reshape(-1).toArray()).deep.equals([1, 4, 2, 5, 3, 6]);
      expect(x.expand([2, 2, 3]).strides).deep.equals([0, 3, 1]);
    });
  });

  it('reshapes every view of a small tensor as a copy would', () => {
    using x = randn([2, 3, 4], F64);
    const orders = [
      [0, 1, 2],
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
      [2, 1, 0],
    ];
    for (const order of orders) {
      for (const shape of [[24], [4, 6], [6, 4], [2, 12], [3, 8], [2, 3, 2, 2], [1, 24, 1], [2, 2, 2, 3]]) {
        scope(() => {
          const view = x.permute(order);
          expect(view.reshape(shape).toArray()).deep.equals(view.contiguous().reshape(shape).toArray());
          const part = view.narrow(0, 1, 1).narrow(1, 0, 2);
          expect(part.reshape([part.numel()]).toArray()).deep.equals(part.contiguous().flatten().toArray());
        });
      }
    }
  });

  it('refuses dimensions that are not there, or not determined', () => {
    using x = zeros([0, 3], F64);
    using one = tensor(1, F64);
    expect(() => x.reshape([0, -1])).throws('reshape: shape must be of 0 elements, as [0,3] is, got [0, -1]');
    expect(scope(() => x.reshape([3, -1]).shape)).deep.equals([3, 0]);
    expect(scope(() => one.flatten().shape)).deep.equals([1]);
    expect(() => one.flatten(1, 1)).throws(/^flatten: dim must be an integer from -1 to 0, got 1/);
  });

  it('knows layouts', () => {
    using x = randn([2, 3, 4, 5], F64);
    scope(() => {
      const last = x.to({ layout: 'nhwc' });
      expect([x.layout, last.layout, last.isContiguous]).deep.equals(['nchw', 'nhwc', false]);
      expect(last.strides).deep.equals([60, 1, 15, 3]);
      expect(last.toArray()).deep.equals(x.toArray());
      expect(last.relu().layout).equals('nhwc');
      expect(last.narrow(2, 1, 2).layout).equals('nhwc');
      expect(last.to({ layout: 'nchw' }).isContiguous).equals(true);
      expect(x.narrow(1, 0, 1).to({ layout: 'nhwc' }).shape).deep.equals([2, 1, 4, 5]);
    });
    expect(() => x.flatten().to({ layout: 'nhwc' }))
      .throws(/4-dimensional/)
      .with.property('code', 'ERR_SHAPE');
  });

  it('converts between all element types', () => {
    using x = tensor([1.5, -2.25, 70000, Number.NaN], { dtype: 'float32', device: 'cpu' });
    scope(() => {
      expect(x.to({ dtype: 'float64' }).toArray()).deep.equals([1.5, -2.25, 70000, Number.NaN]);
      expect(x.to({ dtype: 'float16' }).toArray()).deep.equals([1.5, -2.25, Number.POSITIVE_INFINITY, Number.NaN]);
      expect(x.to({ dtype: 'bfloat16' }).toArray()).deep.equals([1.5, -2.25, 70144, Number.NaN]);
      expect(x.to({ dtype: 'int32' }).toArray()).deep.equals([1, -2, 70000, 0]);
      expect(x.to({ dtype: 'int32' }).to({ dtype: 'float64' }).toArray()).deep.equals([1, -2, 70000, 0]);
    });
  });
});

describe('convolutions', () => {
  beforeEach(() => manualSeed(4));
  const { conv2d, convTranspose2d } = nn.functional;

  const transposed: Record<string, [number[], number[], object]> = {
    plain: [[2, 2, 3, 2], [2, 3, 2, 3], {}],
    'stride, padding, output padding': [
      [1, 2, 2, 3],
      [2, 2, 3, 3],
      { stride: [2, 3], padding: 1, outputPadding: [1, 2] },
    ],
    'groups and dilation': [[2, 4, 2, 2], [4, 1, 2, 2], { groups: 2, dilation: [2, 1], outputPadding: [1, 0] }],
    unbatched: [[2, 3, 3], [2, 1, 2, 2], { stride: 2 }],
    tanh: [[1, 2, 2, 2], [2, 2, 2, 2], { activation: 'tanh' }],
    leaky_relu: [[1, 2, 2, 2], [2, 2, 2, 2], { activation: 'leaky_relu', negativeSlope: 0.3 }],
    sigmoid: [[1, 2, 2, 2], [2, 1, 2, 2], { activation: 'sigmoid' }],
    relu: [[1, 2, 2, 2], [2, 1, 2, 2], { activation: 'relu' }],
  };
  for (const [name, [shape, weight, options]] of Object.entries(transposed)) {
    it(`convTranspose2d, ${name}: first and second gradients`, () => {
      const bias = weight[1]! * ((options as { groups?: number }).groups ?? 1);
      check((x, w, b) => convTranspose2d(x, w, b, options), [away(shape), away(weight), away([bias])]);
    });
  }

  const plain: Record<string, [number[], number[], object]> = {
    plain: [[2, 2, 4, 3], [3, 2, 2, 3], {}],
    'stride and padding that leave rows over': [[1, 2, 5, 6], [2, 2, 3, 2], { stride: [2, 3], padding: [1, 0] }],
    'groups and dilation': [[1, 4, 4, 4], [2, 2, 2, 2], { groups: 2, dilation: 2 }],
    "padding 'same' of an even kernel": [[1, 1, 3, 4], [2, 1, 2, 4], { padding: 'same' }],
    unbatched: [[2, 3, 3], [1, 2, 2, 2], { activation: 'tanh' }],
  };
  for (const [name, [shape, weight, options]] of Object.entries(plain)) {
    it(`conv2d, ${name}: first and second gradients`, () => {
      check((x, w, b) => conv2d(x, w, b, options), [away(shape), away(weight), away([weight[0]!])]);
    });
  }

  it('gives the same for any strides of its operands', () => {
    using x = randn([2, 3, 4, 5], F64);
    using w = randn([3, 2, 2, 2], F64);
    using b = randn([2], F64);
    scope(() => {
      const want = convTranspose2d(x, w, b, { stride: 2 });
      const last = x.to({ layout: 'nhwc' });
      const turned = x.permute([3, 2, 1, 0]).contiguous().permute([3, 2, 1, 0]);
      const wide = cat([x, x], 3).narrow(3, 0, 5);
      const weights = w.permute([1, 0, 3, 2]).contiguous().permute([1, 0, 3, 2]);
      const spread = stack([b, b], 1).select(1, 0);
      // Within rounding: inputs that lie in another order go to kernels that sum in another order.
      for (const input of [last, turned, wide]) {
        const got = convTranspose2d(input, weights, spread, { stride: 2 }).to({ layout: 'nchw' });
        expect(got.sub(want).abs().max().item()).below(1e-14);
      }
      expect(convTranspose2d(last, w, b).layout).equals('nhwc');
      expect(convTranspose2d(x, w, b).layout).equals('nchw');
      const flat = zeros([3, 2, 2, 2], F64).add(1);
      const expanded = zeros([1], F64).add(1).expand([3, 2, 2, 2]);
      expect(convTranspose2d(x, expanded).toArray()).deep.equals(convTranspose2d(x, flat).toArray());
    });
  });

  it('takes an empty batch, and no other emptiness', () => {
    using x = zeros([0, 4, 5, 5], LEAF);
    using w = tensor(new Float64Array(4 * 3 * 9), { shape: [4, 3, 3, 3], ...LEAF });
    using b = zeros([3], LEAF);
    scope(() => {
      const y = convTranspose2d(x, w, b, { stride: 2, outputPadding: 5 });
      expect(y.shape).deep.equals([0, 3, 16, 16]);
      y.sum().backward();
    });
    expect([x.grad!.shape, w.grad!.sum().item(), b.grad!.toArray()]).deep.equals([[0, 4, 5, 5], 0, [0, 0, 0]]);
    using empty = zeros([2, 4, 0, 5], F64);
    expect(() => convTranspose2d(empty, w))
      .throws(/non-empty but for the batch/)
      .with.property('code', 'ERR_SHAPE');
    expect(() => convTranspose2d(x, w, null, { padding: 9 }))
      .throws(/output size/)
      .with.property('code', 'ERR_SHAPE');
    using none = zeros([4, 0, 3, 3], F64);
    using one = zeros([1, 4, 5, 5], F64);
    expect(() => convTranspose2d(one, none))
      .throws(/non-empty/)
      .with.property('code', 'ERR_SHAPE');
    using channels = zeros([2, 0, 5, 5], F64);
    using bare = zeros([3, 0, 3, 3], F64);
    expect(scope(() => conv2d(channels, bare).shape)).deep.equals([2, 0, 3, 3]);
    expect(() => convTranspose2d(channels, zeros([0, 3, 3, 3], F64))).throws(/at least 1/);
  });

  it('names the option it does not know', () => {
    using x = zeros([1, 1, 3, 3], F64);
    expect(() => convTranspose2d(x, x, null, { outputpadding: 1 } as object))
      .throws(
        'convTranspose2d: an option must be one of stride, padding, outputPadding, groups, dilation, activation, negativeSlope, got "outputpadding"',
      )
      .with.property('code', 'ERR_ARGUMENT');
  });
});

interface Slow {
  shape: number[];
  sum: number[];
  max: number[];
  count: number;
}

function reduceSlowly(x: Tensor, dims: readonly number[]): Slow {
  const at = dims.map((dim) => (dim + x.ndim) % x.ndim);
  const kept = x.shape.map((_, i) => i).filter((i) => !at.includes(i));
  const shape = kept.map((i) => x.shape[i]!);
  const size = shape.reduce((a, b) => a * b, 1);
  const result: Slow = {
    shape,
    sum: new Array(size).fill(0),
    max: new Array(size).fill(-Infinity),
    count: x.numel() / size,
  };
  x.dataSync().forEach((v, flat) => {
    const index = x.shape.map((s, i) => Math.floor(flat / x.shape.slice(i + 1).reduce((a, b) => a * b, 1)) % s);
    const to = kept.reduce((sum, i) => sum * x.shape[i]! + index[i]!, 0);
    result.sum[to]! += v;
    result.max[to] = Math.max(result.max[to]!, v);
  });
  return result;
}
