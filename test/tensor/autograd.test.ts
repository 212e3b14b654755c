/** Autograd: what is recorded, what is refused, and in which words; gradients of gradients; the order of sums. */

import { expect } from 'chai';
import { backward, grad, manualSeed, mul, noGrad, randn, scope, type Tensor, tensor, zeros } from '../../src/index.js';
import { markWritten } from '../../src/tensor.js';

const F64 = { dtype: 'float64', device: 'cpu' } as const;
const LEAF = { ...F64, requiresGrad: true } as const;

/** Checks an error's whole sentence and code. */
function refuses(fn: () => unknown, code: string, sentence: string): void {
  expect(fn).throws(sentence).with.property('code', code);
}

describe('backward', () => {
  it('adds gradients up in leaves, in place', () => {
    using x = tensor([1, 2], LEAF);
    scope(() => {
      x.square().sum().backward();
      const first = x.grad;
      expect(first!.toArray()).deep.equals([2, 4]);
      x.mul(3).sum().backward();
      expect(x.grad).equals(first);
      expect(x.grad!.toArray()).deep.equals([5, 7]);
    });
    x.grad = null;
    expect(x.grad).equals(null);
  });

  it('takes the gradient of the output', () => {
    using x = tensor([1, 2], LEAF);
    scope(() => x.square().backward(tensor([10, 100], F64)));
    expect(x.grad!.toArray()).deep.equals([20, 400]);
  });

  it('sums over all ways, once a node', () => {
    using x = tensor([3], LEAF);
    scope(() => {
      const y = x.square();
      const z = y.mul(y).add(y);
      z.sum().backward();
    });
    expect(x.grad!.toArray()).deep.equals([4 * 27 + 6]);
  });

  it('works for a leaf itself', () => {
    using x = tensor(2, LEAF);
    x.backward();
    x.backward(null);
    expect(x.grad!.item()).equals(2);
  });

  it('unwinds a graph of any depth', () => {
    using x = tensor([1], LEAF);
    scope(() => {
      let y = x.mul(1);
      for (let i = 0; i < 20000; i++) y = y.add(0);
      y.backward();
    });
    expect(x.grad!.toArray()).deep.equals([1]);
  });

  it('gives every leaf a gradient of its own', () => {
    using x = tensor([1, 2], LEAF);
    using y = tensor([3, 4], LEAF);
    scope(() => x.add(y).sum().backward());
    scope(() => x.sum().backward());
    expect([x.grad!.toArray(), y.grad!.toArray()]).deep.equals([
      [2, 2],
      [1, 1],
    ]);
  });

  it('shares no memory with the gradient of the output, and is no part of its graph', () => {
    using x = tensor([1, 2], LEAF);
    using y = tensor([3, 4], LEAF);
    using g = tensor([5, 6], LEAF);
    scope(() => {
      x.backward(g);
      expect(x.grad!.requiresGrad).equals(false);
      x.add(y).backward(g, { createGraph: true });
      expect([x, y].map((leaf) => leaf.grad!.requiresGrad)).deep.equals([true, true]);
      noGrad(() => y.grad!.copy_(zeros([2], F64)));
      expect([g, x.grad!, y.grad!].map((t) => t.toArray())).deep.equals([
        [5, 6],
        [10, 12],
        [0, 0],
      ]);
      grad(x.grad!.sum(), g).dispose();
      x.grad = null;
      y.grad = null;
    });
  });

  it('adds to a gradient that was assigned expanded, or is that of another leaf too', () => {
    using x = tensor([1, 2], LEAF);
    using y = tensor([3, 4], LEAF);
    scope(() => {
      x.grad = tensor([1], F64).expand([2]);
      x.mul(2).sum().backward();
      expect(x.grad!.toArray()).deep.equals([3, 3]);
      y.grad = x.grad;
      y.sum().backward();
      expect(x.grad!.toArray()).deep.equals([4, 4]);
      x.grad = null;
      expect(y.grad!.toArray()).deep.equals([4, 4]);
    });
  });

  it('gives bitwise the same each time', () => {
    const run = (): number[] => {
      manualSeed(7);
      using x = randn([50], LEAF);
      return scope(() => {
        const parts = [x.exp(), x.square(), x.tanh(), x.mul(0.3), x.sigmoid()];
        parts
          .reduce((a, b) => a.add(b.mul(x)))
          .sum()
          .backward();
        return Array.from(x.grad!.dataSync());
      });
    };
    expect(run()).deep.equals(run());
  });
});

describe('grad', () => {
  it('leaves .grad alone, and gives one tensor for one input', () => {
    using x = tensor([1, 2], LEAF);
    using y = tensor([3, 4], LEAF);
    scope(() => {
      const z = x.mul(y).sum();
      const [gx, gy] = grad(z, [x, y], { retainGraph: true });
      expect([gx!.toArray(), gy!.toArray(), x.grad, y.grad]).deep.equals([[3, 4], [1, 2], null, null]);
      expect(grad(z, x).toArray()).deep.equals([3, 4]);
    });
  });

  it('takes several outputs, and inputs that are not leaves, even twice', () => {
    using x = tensor([1, 2], LEAF);
    scope(() => {
      const y = x.square();
      const [a, b] = [y.sum(), y.mul(x)];
      const seed = tensor([1, 10], F64);
      const found = grad([a, b], [y, x, y], { gradOutputs: [null, seed] });
      expect(found.map((g) => g.toArray())).deep.equals([
        [2, 21],
        [2 + 3, 4 + 120],
        [2, 21],
      ]);
    });
  });

  it('differentiates gradients', () => {
    using x = tensor([2], LEAF);
    scope(() => {
      let y = x.pow(4);
      for (const want of [32, 48, 48, 24]) {
        y = grad(y.sum(), x, { createGraph: true });
        expect(y.toArray()).deep.equals([want]);
      }
    });
    scope(() => {
      const y = x.pow(3).sum();
      backward(y, null, { createGraph: true });
      expect(x.grad!.requiresGrad).equals(true);
      expect(grad(x.grad!.sum(), x).toArray()).deep.equals([12]);
    });
  });

  it('says which input was not used', () => {
    using x = tensor([1], LEAF);
    using y = tensor([1], LEAF);
    scope(() => {
      refuses(
        () => grad(x.mul(2), [x, y]),
        'ERR_ARGUMENT',
        'grad: inputs[1] must be used to compute the outputs, or allowUnused set, got "one that is not"',
      );
      const found = grad(x.mul(2), [x, y], { allowUnused: true }) as (Tensor | null)[];
      expect([found[0]!.toArray(), found[1]]).deep.equals([[2], null]);
    });
  });
});

describe('what backward refuses', () => {
  it('a gradient is missing or does not fit', () => {
    using x = tensor([1, 2], LEAF);
    scope(() => {
      refuses(
        () => x.mul(2).backward(),
        'ERR_ARGUMENT',
        'backward: the output must be of one element where no gradient is given, got [2]',
      );
      const y = x.mul(2);
      refuses(
        () => y.backward(zeros([3], F64)),
        'ERR_SHAPE',
        "backward: the gradient must be of the output's shape [2], got [3]",
      );
      refuses(
        () => y.backward(zeros([2], { device: 'cpu' })),
        'ERR_DTYPE',
        'backward: the gradient must be of the output\'s dtype float64, got "float32"',
      );
      refuses(
        () => grad(y, x, { gradOutputs: [] }),
        'ERR_ARGUMENT',
        'grad: gradOutputs must be at least one tensor, got []',
      );
    });
  });

  it('nothing was recorded', () => {
    using x = tensor([1], F64);
    using y = tensor([1], LEAF);
    const sentence = 'the output must be recorded from a tensor that requires a gradient, got "one that is not"';
    scope(() => {
      refuses(() => x.mul(2).backward(), 'ERR_ARGUMENT', `backward: ${sentence}`);
      refuses(() => noGrad(() => y.mul(2)).backward(), 'ERR_ARGUMENT', `backward: ${sentence}`);
      refuses(() => y.detach().backward(), 'ERR_ARGUMENT', `backward: ${sentence}`);
    });
  });

  it('the graph was freed', () => {
    using x = tensor([1], LEAF);
    scope(() => {
      const y = x.square();
      y.backward();
      refuses(
        () => y.backward(),
        'ERR_ARGUMENT',
        'backward: the graph must still hold its saved tensors, got a second backward through square; pass retainGraph: true to the first',
      );
      const z = x.square();
      z.backward(null, { retainGraph: true });
      z.backward();
      expect(x.grad!.toArray()).deep.equals([6]);
    });
  });

  it('a saved tensor was written to', () => {
    using x = tensor([1], LEAF);
    scope(() => {
      const y = x.square();
      markWritten(x);
      refuses(
        () => y.backward(),
        'ERR_ARGUMENT',
        'backward: a tensor saved by square must be unchanged since, got one written to 1 more times; clone it before it is written to',
      );
    });
  });

  it('an integer tensor or the result of an operation is made a leaf', () => {
    refuses(
      () => zeros([1], { dtype: 'int32', device: 'cpu', requiresGrad: true }),
      'ERR_DTYPE',
      'zeros: dtype must be a float type where requiresGrad is true, got "int32"',
    );
    scope(() => {
      const whole = zeros([1], { dtype: 'int32', device: 'cpu' });
      refuses(
        () => {
          whole.requiresGrad = true;
        },
        'ERR_DTYPE',
        'requiresGrad: dtype must be a float type for gradients, got "int32"',
      );
      const y = tensor([1], LEAF).neg();
      refuses(
        () => {
          y.requiresGrad = false;
        },
        'ERR_ARGUMENT',
        'requiresGrad: the tensor must be a leaf, got the result of neg; detach() it first',
      );
    });
  });

  it('a gradient is assigned that is not one', () => {
    using x = tensor([1, 2], LEAF);
    refuses(
      () => {
        x.grad = 1 as unknown as Tensor;
      },
      'ERR_ARGUMENT',
      'grad: value must be another tensor or null, got 1',
    );
    refuses(
      () => {
        x.grad = x;
      },
      'ERR_ARGUMENT',
      'grad: value must be another tensor or null, got the tensor itself',
    );
    scope(() => {
      refuses(
        () => {
          x.grad = zeros([3], F64);
        },
        'ERR_SHAPE',
        'grad: value must be float64 of shape [2] on cpu, got float64 of shape [3] on cpu',
      );
    });
  });
});

describe('recording', () => {
  it('follows requiresGrad', () => {
    using x = tensor([1], LEAF);
    using c = tensor([2], F64);
    scope(() => {
      expect([x.isLeaf, x.mul(c).requiresGrad, c.mul(c).requiresGrad, x.detach().requiresGrad]).deep.equals([
        true,
        true,
        false,
        false,
      ]);
      expect(x.mul(c).isLeaf).equals(false);
      x.requiresGrad = false;
      expect(x.mul(c).requiresGrad).equals(false);
    });
  });

  it('stops in noGrad, and only in that async context', async () => {
    using x = tensor([1], LEAF);
    const seen: Record<string, boolean> = {};
    const look = (name: string): void => {
      using y = mul(x, 2);
      seen[name] = y.requiresGrad;
    };
    const quiet = noGrad(async () => {
      look('inside, before');
      await new Promise((resolve) => setTimeout(resolve, 5));
      look('inside, after');
      return 1;
    });
    look('beside');
    await new Promise((resolve) => setTimeout(resolve, 1));
    look('beside, later');
    expect(await quiet).equals(1);
    expect(seen).deep.equals({ 'inside, before': false, beside: true, 'beside, later': true, 'inside, after': false });
  });

  it('detached memory is shared', () => {
    using x = tensor([1, 2], LEAF);
    using y = x.detach();
    expect(y.toArray()).deep.equals([1, 2]);
    expect(y.grad).equals(null);
  });
});
