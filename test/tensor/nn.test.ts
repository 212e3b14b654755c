/** Modules: what they list, load, move and print; containers. */

import { inspect } from 'node:util';
import { expect } from 'chai';
import { lastKernel, manualSeed, memory, nn, randn, scope, type Tensor, tensor, zeros } from 'fracstride';
import { expectAlike } from '../support/finite_differences.js';
import { refusal } from '../support/refusal.js';

const data = (value: Tensor): number[] => Array.from(value.dataSync());

class Block extends nn.Module {
  readonly up = new nn.ConvTranspose2d(4, 2, 4, { stride: 2, padding: 1 });
  readonly norm = new nn.BatchNorm2d(2);
  readonly act = new nn.LeakyReLU(0.2);
  readonly scale = nn.parameter(tensor([1, 2]));

  forward(x: Tensor): Tensor {
    return this.act.forward(this.norm.forward(this.up.forward(x)));
  }
}

describe('nn.Module', () => {
  it('lists parameters, buffers and modules in the order they were set, its own first', () => {
    using m = new Block();
    const names = ['scale', 'up.weight', 'up.bias', 'norm.weight', 'norm.bias'];
    expect(m.namedParameters().map(([name]) => name)).to.deep.equal(names);
    expect(m.parameters()).to.deep.equal(m.namedParameters().map(([, p]) => p));
    expect(m.namedBuffers().map(([name]) => name)).to.deep.equal([
      'norm.running_mean',
      'norm.running_var',
      'norm.num_batches_tracked',
    ]);
    expect(m.namedModules().map(([path]) => path)).to.deep.equal(['', 'up', 'norm', 'act']);
    expect(m.children()).to.deep.equal([m.up, m.norm, m.act]);
    const order: string[] = [];
    m.apply((module) => order.push(module.constructor.name));
    expect(order).to.deep.equal(['ConvTranspose2d', 'BatchNorm2d', 'LeakyReLU', 'Block']);
  });

  it('lists a shared module once, but under each of its names in the state dict; cycles do no harm', () => {
    class Tied extends nn.Module {
      first = new nn.Linear(2, 2, { bias: false });
      second = this.first;
      self: nn.Module = this;
      forward(x: Tensor): Tensor {
        return x;
      }
    }
    using m = new Tied();
    expect(m.parameters()).to.have.length(1);
    expect(Object.keys(m.stateDict())).to.deep.equal(['first.weight', 'second.weight']);
  });

  it('lists a parameter of two modules once, under its first name', () => {
    using a = new nn.Linear(2, 2, { bias: false });
    using b = new nn.Linear(2, 2, { bias: false });
    b.weight.dispose();
    b.weight = a.weight;
    const model = new nn.Sequential(a, b);
    expect(model.namedParameters()).to.deep.equal([['0.weight', a.weight]]);
    expect(Object.keys(model.stateDict())).to.deep.equal(['0.weight', '1.weight']);
  });

  it('calls forward by call, with its arguments', () => {
    scope(() => {
      using m = new nn.ConvTranspose2d(1, 1, 3, { stride: 2 });
      expect(m.call(zeros([1, 1, 2, 2]), { outputSize: [6, 6] }).shape).to.deep.equal([1, 1, 6, 6]);
    });
  });

  it('switches modes of everything below', () => {
    using m = new nn.Sequential(new Block(), new nn.ReLU());
    expect(
      m
        .eval()
        .modules()
        .map((module) => module.training),
    ).to.deep.equal(Array(6).fill(false));
    expect(
      m
        .train()
        .modules()
        .map((module) => module.training),
    ).to.deep.equal(Array(6).fill(true));
    expect(m.train(false).training).to.equal(false);
    expect(refusal(() => m.train(1 as never))[0]).to.equal('ERR_ARGUMENT');
  });

  it('drops gradients, and freezes', () => {
    scope(() => {
      using m = new nn.Linear(2, 2);
      m.forward(randn([3, 2]))
        .sum()
        .backward();
      expect(m.weight.grad).to.not.equal(null);
      m.zeroGrad();
      expect(m.weight.grad).to.equal(null);
      m.requiresGrad_(false);
      expect(m.parameters().map((p) => p.requiresGrad)).to.deep.equal([false, false]);
      expect(m.forward(randn([3, 2])).requiresGrad).to.equal(false);
    });
  });

  it('prints as PyTorch does', () => {
    using m = new nn.Sequential(
      new nn.Sequential(new nn.Flatten(), new nn.Unflatten(1, [2, 3])),
      new nn.LeakyReLU(0.2),
      new nn.Tanh(),
    );
    const text = [
      'Sequential(',
      '  (0): Sequential(',
      '    (0): Flatten(start_dim=1, end_dim=-1)',
      '    (1): Unflatten(dim=1, unflattened_size=(2, 3))',
      '  )',
      '  (1): LeakyReLU(negative_slope=0.2)',
      '  (2): Tanh()',
      ')',
    ].join('\n');
    expect(String(m)).to.equal(text);
    expect(inspect(m)).to.equal(text);
    expect(String(new nn.Sequential())).to.equal('Sequential()');
    expect(String(new nn.LeakyReLU({ negativeSlope: 0.00001 }))).to.equal('LeakyReLU(negative_slope=1e-05)');
    expect(String(new nn.LeakyReLU(1))).to.equal('LeakyReLU(negative_slope=1.0)');
    expect(String(new nn.LeakyReLU(-0.0001))).to.equal('LeakyReLU(negative_slope=-0.0001)');
    expect(String(new nn.BCEWithLogitsLoss())).to.equal('BCEWithLogitsLoss()');
  });

  it('gives all memory back', () => {
    const before = memory().cpu!.live;
    const m = new Block();
    expect(memory().cpu!.live - before).to.equal(4 * (4 * 2 * 16 + 2 + 2 + 4 * 2) + 4);
    m.dispose();
    expect(memory().cpu!.live).to.equal(before);
    expect(refusal(() => m.forward(zeros([1, 4, 2, 2])))[0]).to.equal('ERR_DISPOSED');
  });

  it('outlives the scope it was made in', () => {
    const m = scope(() => {
      const made = new Block();
      void made;
      return null;
    });
    expect(m).to.equal(null);
    let kept: nn.Linear | undefined;
    scope(() => {
      kept = new nn.Linear(2, 2);
    });
    expect(kept!.weight.isDisposed).to.equal(false);
    kept!.dispose();
  });
});

describe('state dicts', () => {
  it('round-trip by value, into the tensors that are there', () => {
    manualSeed(1);
    using a = new Block();
    using b = new Block();
    const own = b.up.weight;
    expect(b.loadStateDict(a.stateDict())).to.deep.equal({ missingKeys: [], unexpectedKeys: [] });
    expect(b.up.weight).to.equal(own);
    expect(data(b.up.weight)).to.deep.equal(data(a.up.weight));
    nn.init.zeros_(a.up.weight);
    expect(data(b.up.weight)).to.not.deep.equal(data(a.up.weight));
    b.loadStateDict(new Map(Object.entries(a.stateDict())));
    expect(data(b.up.weight)).to.deep.equal(data(a.up.weight));
  });

  it('convert float types, and refuse integers for floats', () => {
    scope(() => {
      using m = new nn.Linear(2, 1, { bias: false });
      m.loadStateDict({ weight: tensor([[0.1, 2]], { dtype: 'float64' }) });
      expect(data(m.weight)).to.deep.equal([Math.fround(0.1), 2]);
      const [code, sentence] = refusal(() => m.loadStateDict({ weight: tensor([[1, 2]], { dtype: 'int32' }) }));
      expect(code).to.equal('ERR_DTYPE');
      expect(sentence).to.match(/"weight" int32 for float32/);
    });
  });

  it('name everything that does not fit, and change nothing then', () => {
    scope(() => {
      using m = new nn.Sequential(new nn.Linear(2, 2), new nn.Linear(2, 1));
      const before = data(m.parameters()[0]!);
      const wrong = { '0.weight': zeros([2, 2]), '1.weight': zeros([1, 3]), '1.bias': zeros([1]), extra: zeros([1]) };
      const [code, sentence] = refusal(() => m.loadStateDict(wrong));
      expect(code).to.equal('ERR_ARGUMENT');
      expect(sentence).to.equal(
        'loadStateDict: state dict must match the module Sequential, got missing keys "0.bias"; ' +
          'unexpected keys "extra"; other sizes "1.weight" [1, 3] for [1, 2]',
      );
      expect(data(m.parameters()[0]!)).to.deep.equal(before);
      const extra = { ...m.stateDict(), 'no.such': zeros([1]) };
      expect(refusal(() => m.loadStateDict(extra))[1]).to.match(/got unexpected keys "no.such"$/);
      const [loose] = refusal(() => m.loadStateDict(wrong, { strict: false }));
      expect(loose).to.equal('ERR_SHAPE');
      const report = m.loadStateDict({ '0.weight': zeros([2, 2]), extra: zeros([1]) }, { strict: false });
      expect(report).to.deep.equal({ missingKeys: ['0.bias', '1.weight', '1.bias'], unexpectedKeys: ['extra'] });
      expect(data(m.parameters()[0]!)).to.deep.equal([0, 0, 0, 0]);
    });
  });

  it('may lack the batch counter, as those of old PyTorch do', () => {
    using m = new nn.BatchNorm2d(1);
    const { num_batches_tracked: _, ...rest } = m.stateDict();
    expect(m.loadStateDict(rest).missingKeys).to.deep.equal([]);
  });

  it('are refused where they are none', () => {
    using m = new nn.Linear(1, 1);
    for (const wrong of [null, 3, 'x', [], { weight: [1] }, undefined]) {
      expect(refusal(() => m.loadStateDict(wrong as never))[0]).to.equal('ERR_ARGUMENT');
    }
    expect(refusal(() => m.loadStateDict(m.stateDict(), { strickt: true } as never))[1]).to.match(/strickt/);
  });
});

describe('nn.Module.to', () => {
  it('changes float parameters and buffers, not counters; keeps freezing and gradients', () => {
    const before = memory().cpu!.live;
    scope(() => {
      using m = new Block();
      m.norm.weight!.requiresGrad = false;
      const x = randn([1, 4, 3, 3]);
      m.forward(x).sum().backward();
      const old = m.up.weight;
      expect(m.to({ dtype: 'float64' })).to.equal(m);
      expect(old.isDisposed).to.equal(true);
      expect(m.parameters().map((p) => p.dtype)).to.deep.equal(Array(5).fill('float64'));
      expect(m.parameters().map((p) => p.requiresGrad)).to.deep.equal([true, true, true, false, true]);
      expect(m.up.weight.grad!.dtype).to.equal('float64');
      expect(m.buffers().map((b) => b.dtype)).to.deep.equal(['float64', 'float64', 'int32']);
      expect(m.forward(x.to({ dtype: 'float64' })).dtype).to.equal('float64');
      const same = m.up.weight;
      expect(m.to({ device: 'cpu' }).up.weight).to.equal(same);
      expect(refusal(() => m.to({ dtype: 'int32' }))[0]).to.equal('ERR_DTYPE');
      expect(refusal(() => m.to({ device: 'tpu' }))[0]).to.equal('ERR_ARGUMENT');
    });
    expect(memory().cpu!.live).to.equal(before);
  });
});

describe('nn.Sequential', () => {
  it('takes modules, an array or an object, and numbers or names them', () => {
    const layers = (): nn.Module[] => [new nn.Linear(1, 1), new nn.ReLU(), new nn.Linear(1, 1)];
    for (const make of [() => new nn.Sequential(...layers()), () => new nn.Sequential(layers())]) {
      using m = make();
      expect(Object.keys(m.stateDict())).to.deep.equal(['0.weight', '0.bias', '2.weight', '2.bias']);
      expect(m.length).to.equal(3);
      expect(m.at(-1)).to.equal([...m][2]);
    }
    using named = new nn.Sequential({ fc: new nn.Linear(1, 1), act: new nn.ReLU() });
    expect(Object.keys(named.stateDict())).to.deep.equal(['fc.weight', 'fc.bias']);
    using grown = new nn.Sequential();
    for (let i = 0; i < 12; i++) grown.append(new nn.Identity());
    expect(grown.namedChildren().map(([name]) => name)).to.deep.equal(Array.from({ length: 12 }, (_, i) => String(i)));
    expect(refusal(() => new nn.Sequential(new nn.ReLU(), 3 as never))[1]).to.match(/child 1 must be a module/);
  });

  it('fuses a convolution with the activation after it: one kernel, the same values and gradients', () => {
    const activations = [new nn.ReLU(), new nn.LeakyReLU(0.3), new nn.Tanh(), new nn.Sigmoid()];
    for (const act of activations) {
      for (const make of [
        () => new nn.ConvTranspose2d(3, 4, 4, { stride: 2, padding: 1, dtype: 'float64' }),
        () => new nn.Conv2d(3, 4, 3, { padding: 1, dtype: 'float64' }),
      ]) {
        scope(() => {
          using conv = make();
          const x = randn([2, 3, 5, 4], { dtype: 'float64', requiresGrad: true });
          const run = (forward: (x: Tensor) => Tensor): number[][] => {
            conv.zeroGrad();
            x.grad = null;
            const y = forward(x);
            const kernel = lastKernel();
            y.square().sum().backward();
            return [
              data(y),
              data(x.grad!),
              data(conv.weight.grad!),
              data(conv.bias!.grad!),
              [Number(/__pointwise__/.test(kernel))],
            ];
          };
          const apart = run((input) => act.forward(conv.forward(input)));
          const fused = run((input) => new nn.Sequential(conv, act).forward(input));
          expect([apart[4], fused[4]]).to.deep.equal([[1], [0]]);
          for (let i = 0; i < 4; i++) expectAlike(fused[i]!, apart[i]!, 1e-13, `${act} ${i}`);
        });
      }
    }
  });

  it('does not fuse what would give wrong gradients, or is no plain layer', () => {
    class Doubled extends nn.Conv2d {
      override forward(x: Tensor): Tensor {
        return super.forward(x).mul(2);
      }
    }
    scope(() => {
      const x = randn([1, 1, 3, 3]);
      using turned = new nn.Sequential(new nn.Conv2d(1, 1, 1), new nn.LeakyReLU(-0.5));
      turned.forward(x);
      expect(lastKernel()).to.match(/^leaky_relu_f32__pointwise__/);
      using doubled = new nn.Sequential(new Doubled(1, 1, 1), new nn.ReLU());
      doubled.forward(x);
      expect(lastKernel()).to.match(/^relu_f32__pointwise__/);
    });
  });

  it('keeps nothing of what its layers make but the result', () => {
    const before = memory().cpu!.live;
    using m = new nn.Sequential(new nn.Conv2d(1, 2, 3), new nn.BatchNorm2d(2), new nn.ReLU(), new nn.Flatten());
    const own = memory().cpu!.live;
    const x = randn([1, 1, 8, 8]);
    m.requiresGrad_(false);
    using y = m.forward(x);
    expect(memory().cpu!.live - own).to.equal(4 * (64 + 2 * 36));
    expect(y.shape).to.deep.equal([1, 72]);
    x.dispose();
    y.dispose();
    m.dispose();
    expect(memory().cpu!.live).to.equal(before);
  });

  it('refuses lists without end, and objects that throw when they are looked at', () => {
    const endless = {
      *[Symbol.iterator](): Iterator<nn.Module> {
        for (;;) yield new nn.ReLU();
      },
    };
    expect(refusal(() => new nn.ModuleList(endless))[1]).to.match(/modules must be of at most 1048576 entries/);
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    for (const hostile of [proxy, [proxy], { a: proxy }, new Map([['weight', proxy]])]) {
      expect(refusal(() => new nn.Sequential(hostile as never))[0]).to.equal('ERR_ARGUMENT');
      expect(refusal(() => new nn.Sequential().loadStateDict(hostile as never))[0]).to.equal('ERR_ARGUMENT');
    }
  });

  it('says which layer gives no tensor', () => {
    class Nothing extends nn.Module {
      forward(): null {
        return null;
      }
    }
    scope(() => {
      const m = new nn.Sequential(new nn.Identity(), new Nothing());
      expect(refusal(() => m.forward(zeros([1])))[1]).to.match(/the result of layer 1 must be a tensor/);
      expect(refusal(() => m.forward(3 as never))[1]).to.match(/input must be a tensor/);
      expect(refusal(() => new nn.ModuleList([m]).forward())[0]).to.equal('ERR_ARGUMENT');
    });
  });
});

describe('nn.LazyConvTranspose2d', () => {
  it('becomes a ConvTranspose2d at its first input, with the numbers of one made at once', () => {
    scope(() => {
      manualSeed(5);
      using lazy = new nn.LazyConvTranspose2d(4, 3, { groups: 2 });
      expect(String(lazy)).to.equal('LazyConvTranspose2d(0, 4, kernel_size=(3, 3), stride=(1, 1), groups=2)');
      expect(refusal(() => lazy.forward(zeros([1, 3, 2, 2])))[1]).to.match(/inChannels must be divisible by groups/);
      const x = zeros([1, 6, 2, 2]);
      lazy.forward(x);
      manualSeed(5);
      using eager = new nn.ConvTranspose2d(6, 4, 3, { groups: 2 });
      expect(lazy).to.be.instanceOf(nn.ConvTranspose2d);
      expect(lazy.constructor).to.equal(nn.ConvTranspose2d);
      expect(String(lazy)).to.equal(String(eager));
      expect(data(lazy.weight)).to.deep.equal(data(eager.weight));
      expect(data(lazy.bias!)).to.deep.equal(data(eager.bias!));
      const weight = lazy.weight;
      lazy.forward(x);
      expect(lazy.weight).to.equal(weight);
    });
  });

  it('takes its channels from a state dict, whose values stay', () => {
    scope(() => {
      using eager = new nn.Sequential(new nn.ConvTranspose2d(3, 2, 2));
      const lazy = new nn.LazyConvTranspose2d(2, 2);
      using model = new nn.Sequential(lazy);
      model.loadStateDict(eager.stateDict());
      const x = randn([1, 3, 2, 2]);
      expect(data(model.forward(x))).to.deep.equal(data(eager.forward(x)));
    });
  });
});
