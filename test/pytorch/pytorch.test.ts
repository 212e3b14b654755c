/**
 * What PyTorch wrote and computed (test/pytorch/make_state.py) against the same modules here: a state dict of
 * ConvTranspose2d, Conv2d and BatchNorm2d layers, outputs and gradients in both modes, losses, optimisers, a training.
 */

import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { grad, io, nn, optim, scope, type Tensor, tensor } from 'fracstride';

type Tensors = Record<string, Tensor>;

const numbers = (t: Tensor): number[] => Array.from(t.dataSync());

const file = (name: string) => fileURLToPath(new URL(`../../../test/pytorch/${name}`, import.meta.url));

/** The layers of `network()` in make_state.py. */
function network(): nn.Sequential {
  return new nn.Sequential(
    new nn.ConvTranspose2d(6, 8, 4, { stride: 2, padding: 1, bias: false }),
    new nn.BatchNorm2d(8),
    new nn.ReLU(),
    new nn.ConvTranspose2d(8, 12, [3, 5], {
      stride: [2, 1],
      padding: [1, 2],
      outputPadding: [1, 0],
      groups: 4,
      dilation: [1, 2],
    }),
    new nn.BatchNorm2d(12, { eps: 1e-3, momentum: 0.3 }),
    new nn.LeakyReLU(0.2),
    new nn.Conv2d(12, 6, 3, { padding: 'same', dilation: 2, groups: 3 }),
    new nn.BatchNorm2d(6, { momentum: null }),
    new nn.Tanh(),
    new nn.Conv2d(6, 4, [3, 2], { stride: [2, 1], padding: [1, 0] }),
    new nn.BatchNorm2d(4, { affine: false }),
    new nn.Sigmoid(),
    new nn.ConvTranspose2d(4, 3, 3, { padding: 2, dilation: 3, outputPadding: 2 }),
    new nn.BatchNorm2d(3, { trackRunningStats: false }),
    new nn.ConvTranspose2d(3, 3, 3, { stride: [1, 2], padding: 1, groups: 3 }),
  );
}

type Make = (params: Tensor[]) => { step(): void; stateDict(): { state: object }; dispose(): void };

/** The rows of OPTIMISERS in make_state.py. */
const OPTIMISERS: Readonly<Record<string, Make>> = {
  sgd: (p) => new optim.SGD(p as never, { lr: 0.1 }),
  sgd_momentum: (p) => new optim.SGD(p as never, { lr: 0.05, momentum: 0.9 }),
  sgd_dampening: (p) => new optim.SGD(p as never, { lr: 0.05, momentum: 0.8, dampening: 0.3, weightDecay: 0.1 }),
  sgd_nesterov: (p) => new optim.SGD(p as never, { lr: 0.05, momentum: 0.9, nesterov: true, weightDecay: 0.01 }),
  sgd_maximize: (p) => new optim.SGD(p as never, { lr: 0.05, momentum: 0.5, maximize: true }),
  adam: (p) => new optim.Adam(p as never, { lr: 0.01 }),
  adam_decay: (p) => new optim.Adam(p as never, { lr: 0.02, betas: [0.5, 0.9], eps: 1e-4, weightDecay: 0.2 }),
  adam_amsgrad: (p) => new optim.Adam(p as never, { lr: 0.02, betas: [0.6, 0.7], amsgrad: true }),
  adam_maximize: (p) => new optim.Adam(p as never, { lr: 0.02, maximize: true }),
  adamw: (p) => new optim.AdamW(p as never, { lr: 0.01 }),
  adamw_amsgrad: (p) => new optim.AdamW(p as never, { lr: 0.02, betas: [0.7, 0.8], weightDecay: 0.3, amsgrad: true }),
};

describe('PyTorch: state dict, outputs, gradients, losses, optimisers', () => {
  let state: Tensors;
  let expected: Tensors;

  before(async () => {
    state = await io.safetensors.load(file('state.safetensors'));
    expected = await io.safetensors.load(file('expected.safetensors'));
  });

  after(() => {
    for (const t of [...Object.values(state), ...Object.values(expected)]) t.dispose();
  });

  /** Largest difference relative to the largest expected magnitude. */
  function expectClose(got: Tensor | null | undefined, name: string, tolerance: number): void {
    const want = expected[name];
    if (!want || !got) throw new Error(`${name}: nothing to compare`);
    expect([...got.shape], name).to.deep.equal([...want.shape]);
    const [a, b] = [numbers(got), numbers(want)];
    const scale = b.reduce((m, v) => Math.max(m, Math.abs(v)), 0) || 1;
    let worst = 0;
    for (let i = 0; i < b.length; i++)
      worst = Math.max(worst, Math.abs(a[i]! - b[i]!) / scale || Number(a[i] !== b[i]));
    expect(worst, `${name}: largest relative error`).to.be.at.most(tolerance);
  }

  /** The bias of a layer in front of a batch norm has gradient zero but for rounding, which is not compared. */
  function expectGradient(got: Tensor | null | undefined, name: string, tolerance: number): void {
    if (largest(expected[name]!) > 1e-10) expectClose(got, name, tolerance);
    else expect(largest(got!), name).to.be.below(tolerance);
  }

  function loaded(dtype: 'float32' | 'float64'): nn.Sequential {
    const model = network();
    const report = model.loadStateDict(state);
    expect(report.missingKeys).to.deep.equal([]);
    expect(report.unexpectedKeys).to.deep.equal([]);
    return model.to({ dtype });
  }

  const batch = (i: number, dtype: 'float32' | 'float64', requiresGrad = false) => {
    const all = expected['network/inputs']!;
    const size = all.numel() / 3;
    const shape = [...all.shape].slice(1);
    return tensor(all.dataSync().slice(i * size, (i + 1) * size), { shape, dtype, requiresGrad });
  };

  it('loads the state dict: same names, shapes and values, counters included', () => {
    scope(() => {
      const model = loaded('float32');
      const own = model.stateDict();
      expect(Object.keys(own).sort()).to.deep.equal(Object.keys(state).sort());
      for (const [name, value] of Object.entries(own)) {
        expect([...value.shape], name).to.deep.equal([...state[name]!.shape]);
        expect([...value.dataSync()], name).to.deep.equal([...state[name]!.dataSync()]);
      }
      expect(own['1.num_batches_tracked']!.item()).to.equal(7);
      for (const t of Object.values(own)) t.dispose();
    });
  });

  for (const [dtype, tolerance] of [
    ['float32', 2e-5],
    ['float64', 1e-11],
  ] as const) {
    it(`evaluates to PyTorch's outputs and gradients in ${dtype}`, () => {
      scope(() => {
        const model = loaded(dtype).eval();
        const y = model.forward(batch(0, dtype)) as Tensor;
        expectClose(y, 'network/eval/out', tolerance);
        const parameters = model.namedParameters();
        const gradOutputs = [expected['network/gradOutput']!.to({ dtype })];
        const gradients = grad(
          [y],
          parameters.map(([, p]) => p),
          { gradOutputs },
        );
        parameters.forEach(([name], i) => {
          expectGradient(gradients[i], `network/eval/grad/${name}`, 5 * tolerance);
        });
        for (const t of Object.values(model.stateDict())) t.dispose();
      });
    });
  }

  it("trains through batch norms to PyTorch's outputs, gradients and running statistics", () => {
    scope(() => {
      const model = loaded('float64').train();
      for (const i of [0, 1]) model.forward(batch(i, 'float64'));
      const x = batch(2, 'float64', true);
      const y = model.forward(x) as Tensor;
      expectClose(y, 'network/train/out', 1e-11);
      const named: [string, Tensor][] = [...model.namedParameters(), ['input', x]];
      const gradients = grad(
        [y],
        named.map(([, p]) => p),
        { gradOutputs: [expected['network/gradOutput']!] },
      );
      named.forEach(([name], i) => {
        expectGradient(gradients[i], `network/train/grad/${name}`, 1e-10);
      });
      for (const [name, value] of model.namedBuffers()) expectClose(value, `network/after/${name}`, 1e-11);
      for (const t of Object.values(model.stateDict())) t.dispose();
    });
  });

  const largest = (t: Tensor) => numbers(t).reduce((m, v) => Math.max(m, Math.abs(v)), 0);

  for (const reduction of ['mean', 'sum', 'none'] as const) {
    for (const [name, Loss] of [
      ['bce', nn.BCEWithLogitsLoss],
      ['mse', nn.MSELoss],
      ['l1', nn.L1Loss],
    ] as const) {
      it(`${name} loss, reduction ${reduction}`, () => {
        scope(() => {
          const x = expected['loss/input']!.clone().detach();
          x.requiresGrad = true;
          const key = `loss/${name}_${reduction}`;
          const target = name === 'bce' ? clamped(expected['loss/target']!) : expected['loss/target']!;
          const value = new Loss({ reduction }).forward(x, target);
          expectClose(value, key, 1e-14);
          const ones = tensor(new Float64Array(value.numel()).fill(1), { shape: [...value.shape], dtype: 'float64' });
          const [gradient] = grad([value], [x], { gradOutputs: [ones] });
          expectClose(gradient, `${key}/grad`, 1e-14);
        });
      });
    }
  }

  const clamped = (t: Tensor) =>
    tensor(
      numbers(t).map((v) => Math.min(1, Math.max(0, v))),
      { shape: [...t.shape], dtype: 'float64' },
    );

  for (const [name, make] of Object.entries(OPTIMISERS)) {
    it(`${name}: parameters after every step, and the state`, () => {
      scope(() => {
        const values = [0, 1].map((j) => nn.parameter(expected[`optim/start/${j}`]!.clone()));
        const optimiser = make(values);
        for (let step = 0; step < 6; step++) {
          values.forEach((value, j) => {
            value.grad = row(expected[`optim/gradients/${j}`]!, step);
          });
          optimiser.step();
          values.forEach((value, j) => {
            const want = row(expected[`optim/${name}/${j}`]!, step);
            const error = Math.max(...numbers(value).map((v, i) => Math.abs(v - numbers(want)[i]!)));
            expect(error, `parameter ${j} after step ${step + 1}`).to.be.below(1e-12);
          });
        }
        expectState(name, optimiser.stateDict().state as unknown as Record<string, Record<string, Tensor | number>>);
        optimiser.dispose();
        for (const value of values) value.dispose();
      });
    });
  }

  function row(t: Tensor, i: number): Tensor {
    const shape = [...t.shape].slice(1);
    const size = t.numel() / t.shape[0]!;
    return tensor(t.dataSync().slice(i * size, (i + 1) * size), { shape, dtype: 'float64' });
  }

  function expectState(name: string, got: Record<string, Record<string, Tensor | number>>): void {
    const prefix = `optim/${name}/state/`;
    const keys = Object.keys(expected).filter((key) => key.startsWith(prefix));
    for (const key of keys) {
      const [index, field] = key.slice(prefix.length).split('/') as [string, string];
      const value = got[index]?.[field];
      if (typeof value === 'number') expect(value, key).to.equal(expected[key]!.item());
      else if (value?.numel() === 1 && field === 'step') expect(value.item(), key).to.equal(expected[key]!.item());
      else expectClose(value, key, 1e-12);
    }
  }

  it("five steps of training a small network give PyTorch's losses and state", () => {
    scope(() => {
      const model = new nn.Sequential(
        new nn.Conv2d(2, 6, 3, { stride: 2, padding: 1, dtype: 'float64' }),
        new nn.BatchNorm2d(6, { dtype: 'float64' }),
        new nn.LeakyReLU(0.2),
        new nn.ConvTranspose2d(6, 2, 4, { stride: 2, padding: 1, dtype: 'float64' }),
        new nn.Tanh(),
      );
      model.loadStateDict(under('training/start/'));
      const x = expected['training/input']!;
      const optimiser = new optim.Adam(model.parameters(), { lr: 0.01, betas: [0.5, 0.999] });
      const losses = Array.from({ length: 5 }, () => {
        optimiser.zeroGrad();
        const loss = new nn.MSELoss().forward(model.forward(x) as Tensor, x);
        loss.backward();
        optimiser.step();
        return loss.item();
      });
      const want = expected['training/losses']!.dataSync();
      losses.forEach((loss, i) => {
        expect(Math.abs(loss - want[i]!), `loss ${i}`).to.be.below(1e-10);
      });
      const end = model.stateDict();
      for (const [name, value] of Object.entries(end)) expectClose(value, `training/end/${name}`, 1e-8);
      optimiser.dispose();
      for (const t of Object.values(end)) t.dispose();
    });
  });

  const under = (prefix: string): Tensors =>
    Object.fromEntries(
      Object.entries(expected)
        .filter(([name]) => name.startsWith(prefix))
        .map(([name, value]) => [name.slice(prefix.length), value]),
    );
});
