/** Optimisers against transcriptions of torch.optim's documented algorithms; groups, state dicts, memory, refusals. */

import { expect } from 'chai';
import { FracstrideError, memory, nn, optim, randn, scope, type Tensor, tensor, zeros } from 'fracstride';
import { expectAlike, pattern, toTensor } from '../support/finite_differences.js';

const data = (value: Tensor): number[] => Array.from(value.dataSync());
const STEPS = 5;

interface Settings {
  lr: number;
  weightDecay: number;
  maximize: boolean;
}

/** One element of a parameter: the gradient in, the parameter out. */
type Rule = (p: number, gradient: number) => number;

function sgdRule(a: Settings & { momentum: number; dampening: number; nesterov: boolean }): Rule {
  let buffer: number | null = null;
  return (p, gradient) => {
    let g = (a.maximize ? -gradient : gradient) + a.weightDecay * p;
    if (a.momentum !== 0) {
      buffer = buffer === null ? g : a.momentum * buffer + (1 - a.dampening) * g;
      g = a.nesterov ? g + a.momentum * buffer : buffer;
    }
    return p - a.lr * g;
  };
}

function adamRule(
  a: Settings & { betas: readonly [number, number]; eps: number; amsgrad: boolean; decoupled: boolean },
): Rule {
  let [m, v, largest, t] = [0, 0, 0, 0];
  const [b1, b2] = a.betas;
  return (before, gradient) => {
    t++;
    let g = a.maximize ? -gradient : gradient;
    let p = before;
    if (a.decoupled) p -= a.lr * a.weightDecay * p;
    else g += a.weightDecay * p;
    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g * g;
    largest = Math.max(largest, v);
    const second = (a.amsgrad ? largest : v) / (1 - b2 ** t);
    return p - (a.lr * (m / (1 - b1 ** t))) / (Math.sqrt(second) + a.eps);
  };
}

type AnyOptimizer = optim.SGD | optim.Adam | optim.AdamW;

/** Runs an optimiser and its rule side by side over two parameters with given gradients. */
function expectTrajectory(
  make: (params: Tensor[]) => AnyOptimizer,
  rule: () => Rule,
  dtype: 'float64' | 'float32',
): void {
  scope(() => {
    const start = [pattern([3, 4], 0.2), pattern([5], 0.5)];
    const params = start.map((p) => nn.parameter(toTensor(p).to({ dtype })));
    const rules = start.map((p) => Array.from(p.data, rule));
    const want = params.map(data);
    using optimizer = make(params);
    for (let step = 0; step < STEPS; step++) {
      params.forEach((p, k) => {
        const g = pattern(p.shape, 0.05 * step + 0.3 * k);
        want[k] = want[k]!.map((value, i) => rules[k]![i]!(value, g.data[i]!));
        p.grad = toTensor(g).to({ dtype });
      });
      optimizer.step();
      params.forEach((p, k) => {
        expectAlike(data(p), want[k]!, dtype === 'float64' ? 1e-13 : 2e-6, `step ${step}, parameter ${k}`);
      });
    }
    for (const p of params) p.dispose();
  });
}

const plain = { lr: 0.05, weightDecay: 0, maximize: false };
const SGD_CASES = [
  { ...plain, momentum: 0, dampening: 0, nesterov: false },
  { ...plain, momentum: 0, dampening: 0, nesterov: false, weightDecay: 0.1, maximize: true },
  { ...plain, momentum: 0.9, dampening: 0, nesterov: false },
  { ...plain, momentum: 0.9, dampening: 0.4, nesterov: false, weightDecay: 0.1 },
  { ...plain, momentum: 0.8, dampening: 0, nesterov: true, weightDecay: 0.01 },
  { ...plain, momentum: 0.8, dampening: -0.5, nesterov: false, maximize: true },
];
const ADAM_CASES = [
  { ...plain, betas: [0.9, 0.999], eps: 1e-8, amsgrad: false },
  { ...plain, betas: [0.5, 0.9], eps: 1e-3, amsgrad: false, weightDecay: 0.2 },
  { ...plain, betas: [0.6, 0.7], eps: 1e-8, amsgrad: true, weightDecay: 0.3 },
  { ...plain, betas: [0, 0], eps: 1e-2, amsgrad: false, maximize: true },
] as const;

describe('optimisers follow their documented algorithms', () => {
  for (const dtype of ['float64', 'float32'] as const) {
    for (const a of SGD_CASES) {
      it(`SGD ${JSON.stringify(a)} ${dtype}`, () =>
        expectTrajectory(
          (p) => new optim.SGD(p, a),
          () => sgdRule(a),
          dtype,
        ));
    }
    for (const a of ADAM_CASES) {
      it(`Adam ${JSON.stringify(a)} ${dtype}`, () => {
        expectTrajectory(
          (p) => new optim.Adam(p, a),
          () => adamRule({ ...a, decoupled: false }),
          dtype,
        );
      });
      it(`AdamW ${JSON.stringify(a)} ${dtype}`, () => {
        expectTrajectory(
          (p) => new optim.AdamW(p, a),
          () => adamRule({ ...a, decoupled: true }),
          dtype,
        );
      });
    }
  }

  it("with PyTorch's defaults", () => {
    scope(() => {
      const p = nn.parameter(zeros([2]));
      const hyper = (optimizer: AnyOptimizer): object => {
        const { params: _, ...rest } = optimizer.paramGroups[0]!;
        return rest;
      };
      expect(hyper(new optim.SGD([p]))).to.deep.equal({
        lr: 1e-3,
        momentum: 0,
        dampening: 0,
        weightDecay: 0,
        nesterov: false,
        maximize: false,
      });
      const adam = {
        lr: 1e-3,
        betas: [0.9, 0.999],
        eps: 1e-8,
        weightDecay: 0,
        amsgrad: false,
        maximize: false,
        capturable: false,
      };
      expect(hyper(new optim.Adam([p]))).to.deep.equal(adam);
      expect(hyper(new optim.AdamW([p]))).to.deep.equal({ ...adam, weightDecay: 1e-2 });
      p.dispose();
    });
  });

  it('for gradients that lie in memory unlike their parameter, and for 16-bit parameters', () => {
    scope(() => {
      const p = nn.parameter(
        tensor([
          [1, 2, 3],
          [4, 5, 6],
        ]),
      );
      p.grad = tensor([
        [1, 4],
        [2, 5],
        [3, 6],
      ]).transpose();
      new optim.SGD([p], { lr: 1 }).step();
      expect(data(p)).to.deep.equal([0, 0, 0, 0, 0, 0]);
      for (const dtype of ['float16', 'bfloat16'] as const) {
        const half = nn.parameter(tensor([1, -2], { dtype }));
        half.grad = tensor([0.5, 0.25], { dtype });
        using optimizer = new optim.SGD([half], { lr: 0.5, momentum: 0.5 });
        optimizer.step();
        expect(data(half)).to.deep.equal([0.75, -2.125]);
        half.dispose();
      }
      p.dispose();
    });
  });
});

describe('optimiser groups and state', () => {
  it('gives each group its own hyperparameters, which can be changed between steps', () => {
    scope(() => {
      const [a, b] = [0, 1].map(() => nn.parameter(zeros([1]))) as [Tensor, Tensor];
      const optimizer = new optim.SGD([{ params: [a] }, { params: [b], lr: 1 }], { lr: 0.5 });
      const step = (): number[] => {
        for (const p of [a, b]) p.grad = tensor([1]);
        optimizer.step();
        return [a.item(), b.item()];
      };
      expect(step()).to.deep.equal([-0.5, -1]);
      optimizer.paramGroups[0]!.lr = 2;
      expect(step()).to.deep.equal([-2.5, -2]);
      const c = nn.parameter(zeros([1]));
      optimizer.addParamGroup({ params: new Set([c]), momentum: 0.9 });
      c.grad = tensor([1]);
      optimizer.step();
      expect(c.item()).to.equal(-0.5);
      expect(optimizer.stateDict().param_groups.map((g) => g.params)).to.deep.equal([[0], [1], [2]]);
      for (const p of [a, b, c]) p.dispose();
      optimizer.dispose();
    });
  });

  it('passes over parameters without gradient, and zeroGrad drops or clears them', () => {
    scope(() => {
      const [a, b] = [0, 1].map(() => nn.parameter(zeros([2]))) as [Tensor, Tensor];
      using optimizer = new optim.Adam([a, b]);
      a.grad = tensor([1, 1]);
      optimizer.step();
      expect(data(b)).to.deep.equal([0, 0]);
      expect(Object.keys(optimizer.stateDict().state)).to.deep.equal(['0']);
      optimizer.zeroGrad({ setToNone: false });
      expect(data(a.grad!)).to.deep.equal([0, 0]);
      optimizer.zeroGrad();
      expect(a.grad).to.equal(null);
      for (const p of [a, b]) p.dispose();
    });
  });

  it('makes graphs that saved a parameter refuse to go on after a step', () => {
    scope(() => {
      const p = nn.parameter(tensor([3]));
      using optimizer = new optim.Adam([p]);
      const y = p.square().sum();
      p.grad = tensor([1]);
      optimizer.step();
      expect(() => y.backward()).to.throw(FracstrideError, /must be unchanged since/);
      p.dispose();
    });
  });

  it('calls a closure first and returns what it returns', () => {
    scope(() => {
      const p = nn.parameter(tensor([3]));
      using optimizer = new optim.SGD([p], { lr: 0.1 });
      const loss = optimizer.step(() => {
        const value = p.square().sum();
        value.backward();
        return value.item();
      });
      expect(loss).to.equal(9);
      expect(p.item()).to.be.closeTo(2.4, 1e-6);
      p.dispose();
    });
  });

  for (const Kind of [optim.SGD, optim.Adam, optim.AdamW]) {
    it(`${Kind.name}: a run goes on from a state dict as if it had not stopped`, () => {
      scope(() => {
        const start = pattern([4], 0.4);
        const settings = { lr: 0.1, momentum: 0.9, ...(Kind === optim.SGD ? {} : { amsgrad: true }) };
        if (Kind !== optim.SGD) delete (settings as { momentum?: number }).momentum;
        const run = (p: Tensor, optimizer: AnyOptimizer, from: number, to: number): void => {
          for (let step = from; step < to; step++) {
            p.grad = toTensor(pattern([4], 0.1 * step));
            optimizer.step();
          }
        };
        const whole = nn.parameter(toTensor(start));
        using first = new Kind([whole], settings);
        run(whole, first, 0, 3);
        const resumed = nn.parameter(whole.detach().clone());
        using second = new Kind([resumed]);
        second.loadStateDict(first.stateDict());
        const live = memory().cpu!.live;
        second.loadStateDict(first.stateDict());
        expect(memory().cpu!.live).to.equal(live);
        expect(second.paramGroups[0]!.lr).to.equal(0.1);
        run(whole, first, 3, 6);
        run(resumed, second, 3, 6);
        expect(data(resumed)).to.deep.equal(data(whole));
        for (const p of [whole, resumed]) p.dispose();
      });
    });
  }

  it("names states and hyperparameters as PyTorch's files do", () => {
    scope(() => {
      const p = nn.parameter(zeros([2]));
      p.grad = tensor([1, 2]);
      using adam = new optim.Adam([p], { amsgrad: true });
      adam.step();
      const { state, param_groups: groups } = adam.stateDict();
      expect(Object.keys(state[0]!)).to.deep.equal(['step', 'exp_avg', 'exp_avg_sq', 'max_exp_avg_sq']);
      expect(state[0]!.step).to.equal(1);
      expect(Object.keys(groups[0]!)).to.deep.equal([
        'lr',
        'betas',
        'eps',
        'weight_decay',
        'amsgrad',
        'maximize',
        'capturable',
        'params',
      ]);
      using sgd = new optim.SGD([p], { momentum: 0.5 });
      sgd.step();
      expect(Object.keys(sgd.stateDict().state[0]!)).to.deep.equal(['momentum_buffer']);
      p.dispose();
    });
  });

  it('refuses a state dict of other groups or shapes, and keeps its own then', () => {
    scope(() => {
      const [a, b] = [nn.parameter(zeros([2])), nn.parameter(zeros([3]))];
      using one = new optim.Adam([a]);
      using other = new optim.Adam([b]);
      for (const p of [a, b]) p.grad = zeros(p.shape);
      one.step();
      other.step();
      const kept = one.stateDict().state[0]!.exp_avg as Tensor;
      expect(() => one.loadStateDict(other.stateDict())).to.throw(
        FracstrideError,
        /state exp_avg must be of shape \[2\]/,
      );
      expect(kept.isDisposed).to.equal(false);
      using two = new optim.Adam([a, b]);
      expect(() => two.loadStateDict(one.stateDict())).to.throw(FracstrideError, /groups/);
      for (const wrong of [null, {}, { state: {} }, { state: {}, param_groups: [null] }]) {
        expect(() => one.loadStateDict(wrong as never)).to.throw(FracstrideError);
      }
      const dict = one.stateDict();
      const bad = { ...dict, param_groups: [{ ...dict.param_groups[0]!, lr: -1 }] };
      expect(() => one.loadStateDict(bad)).to.throw(FracstrideError, /lr/);
      for (const p of [a, b]) p.dispose();
    });
  });
});

describe('optimisers and memory', () => {
  it('allocate state in the first step, outside of scopes, and nothing after it', () => {
    const before = memory().cpu!.live;
    const model = new nn.Linear(10, 3);
    const optimizer = new optim.Adam(model.parameters());
    const live: number[] = [];
    for (let i = 0; i < 4; i++) {
      scope(() => {
        optimizer.zeroGrad();
        model
          .forward(randn([5, 10]))
          .square()
          .mean()
          .backward();
        const own = memory().cpu!.live;
        optimizer.step();
        live.push(memory().cpu!.live - own);
      });
    }
    expect(live).to.deep.equal([2 * 4 * 33, 0, 0, 0]);
    optimizer.zeroGrad();
    expect(memory().cpu!.live - before).to.equal(3 * 4 * 33);
    optimizer.dispose();
    model.dispose();
    expect(memory().cpu!.live).to.equal(before);
  });
});

describe('optimisers refuse', () => {
  const refused = (make: () => unknown, sentence: RegExp): void => {
    expect(make).to.throw(FracstrideError, sentence);
  };

  it('hyperparameters out of range, and unknown ones', () => {
    scope(() => {
      const p = [nn.parameter(zeros([1]))];
      refused(() => new optim.SGD(p, { lr: -1 }), /SGD: lr must be a finite number ≥ 0, got -1/);
      refused(() => new optim.SGD(p, { momentum: -0.1 }), /momentum/);
      refused(() => new optim.SGD(p, { nesterov: true }), /nesterov must be with a momentum and zero dampening/);
      refused(() => new optim.SGD(p, { weight_decay: 1 } as never), /weight_decay/);
      refused(() => new optim.Adam(p, { betas: [1, 0.9] }), /betas\[0\] must be a number in \[0, 1\)/);
      refused(() => new optim.Adam(p, { betas: [0.9] as never }), /betas/);
      refused(() => new optim.Adam(p, { eps: -1 }), /eps/);
      refused(() => new optim.AdamW(p, { lr: Number.NaN }), /lr/);
      refused(() => new optim.AdamW(p, { amsgrad: 1 as never }), /amsgrad/);
      refused(() => new optim.AdamW([{ params: p, momentum: 1 } as never]), /momentum/);
    });
  });

  it('to count steps on a device that records no graphs', () => {
    scope(() => {
      const p = nn.parameter(zeros([2]));
      p.grad = zeros([2]);
      using adam = new optim.Adam([p], { capturable: true });
      refused(() => adam.step(), /Adam: capturable must be false on a device that records no graphs, got "cpu"/);
      p.dispose();
    });
  });

  it('what are no parameters', () => {
    scope(() => {
      const p = nn.parameter(zeros([2]));
      refused(() => new optim.SGD([]), /at least one parameter/);
      refused(() => new optim.SGD([{ params: [] }]), /at least one parameter/);
      refused(() => new optim.SGD([p, p]), /twice/);
      refused(() => new optim.SGD([{ params: [p] }, { params: [p] }]), /twice/);
      refused(() => new optim.SGD([p.mul(2)]), /leaf/);
      refused(() => new optim.SGD([3 as never]), /SGD/);
      refused(() => new optim.SGD(p as never), /iterable/);
      refused(() => new optim.SGD(null as never), /iterable/);
      refused(() => new optim.SGD([zeros([2], { dtype: 'int32' })]), /float/);
      refused(() => new optim.SGD([zeros([2, 4]).narrow(1, 0, 2)]), /gaps/);
      p.dispose();
    });
  });

  it('but not parameters of no elements', () => {
    scope(() => {
      using layer = new nn.ConvTranspose2d(4, 0, 3);
      using optimiser = new optim.SGD(layer.parameters(), { lr: 0.1, momentum: 0.9 });
      for (const p of layer.parameters()) p.grad = zeros([...p.shape]);
      for (let i = 0; i < 2; i++) optimiser.step();
    });
  });
});
