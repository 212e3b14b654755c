/**
 * Random programs of the tensor API, for differential.ts: each step is run here as it is chosen, so that the next one can
 * go by the shapes that there are. What is refused here stays in the program, as a step that PyTorch has to refuse too.
 */

import { cat, grad, maximum, minimum, nn, noGrad, optim, reciprocal, stack, Tensor, tensor, where } from 'fracstride';
import { type Choices, choices } from '../support/choices.js';

export type Dtype = 'float64' | 'float32' | 'float16' | 'bfloat16';

export interface Shown {
  readonly shape: readonly number[];
  readonly data: readonly (number | string)[];
  readonly grad: boolean;
}

export interface Outcome {
  readonly error?: string;
  readonly values?: readonly (Shown | null)[];
}

export interface Step {
  readonly call: string;
  readonly args: readonly unknown[];
  readonly out?: string;
  readonly outs?: readonly string[];
  readonly noGrad?: boolean;
}

export interface Program {
  readonly seed: number;
  readonly dtype: Dtype;
  readonly steps: Step[];
  readonly outcomes: Outcome[];
}

type Options = Record<string, unknown>;
type AnyTensor = Tensor | null;

const F = nn.functional;
type Dim = number | number[] | null;
type Call = (...args: never[]) => unknown;

const MAKERS: Record<string, (args: unknown[], o: Options) => nn.Module> = {
  ConvTranspose2d: (a, o) => new nn.ConvTranspose2d(a[0] as number, a[1] as number, a[2] as number, o),
  Conv2d: (a, o) => new nn.Conv2d(a[0] as number, a[1] as number, a[2] as number, o),
  BatchNorm2d: (a, o) => new nn.BatchNorm2d(a[0] as number, o),
};

const OPTIMISERS: Record<string, (p: Tensor[], o: Options) => optim.SGD | optim.Adam> = {
  SGD: (p, o) => new optim.SGD(p, o),
  Adam: (p, o) => new optim.Adam(p, o),
  AdamW: (p, o) => new optim.AdamW(p, o),
};

function calls(dtype: Dtype): Record<string, Call> {
  const reduce = (dim: Dim, keepdim: boolean) => (dim === null ? { keepdim } : { dim, keepdim });
  return {
    tensor: (data: number[], shape: number[], requiresGrad: boolean) =>
      tensor(Float64Array.from(data), { shape, dtype, requiresGrad }),
    permute: (x: Tensor, dims: number[]) => x.permute(dims),
    transpose: (x: Tensor, a: number, b: number) => x.transpose(a, b),
    narrow: (x: Tensor, dim: number, start: number, length: number) => x.narrow(dim, start, length),
    select: (x: Tensor, dim: number, i: number) => x.select(dim, i),
    expand: (x: Tensor, shape: number[]) => x.expand(shape),
    reshape: (x: Tensor, shape: number[]) => x.reshape(shape),
    flatten: (x: Tensor, a: number, b: number) => x.flatten(a, b),
    unsqueeze: (x: Tensor, dim: number) => x.unsqueeze(dim),
    squeeze: (x: Tensor, dim: number | null) => (dim === null ? x.squeeze() : x.squeeze(dim)),
    contiguous: (x: Tensor, layout: 'nchw' | 'nhwc') => x.contiguous(layout),
    clone: (x: Tensor) => x.clone(),
    detach: (x: Tensor) => x.detach(),
    add: (a: Tensor, b: Tensor | number) => a.add(b),
    sub: (a: Tensor, b: Tensor | number) => a.sub(b),
    mul: (a: Tensor, b: Tensor | number) => a.mul(b),
    div: (a: Tensor, b: Tensor | number) => a.div(b),
    maximum,
    minimum,
    gt: (a: Tensor, b: Tensor | number) => a.gt(b),
    eq: (a: Tensor, b: Tensor | number) => a.eq(b),
    where,
    neg: (x: Tensor) => x.neg(),
    abs: (x: Tensor) => x.abs(),
    exp: (x: Tensor) => x.exp(),
    log: (x: Tensor) => x.log(),
    sqrt: (x: Tensor) => x.sqrt(),
    square: (x: Tensor) => x.square(),
    reciprocal,
    pow: (x: Tensor, exponent: number) => x.pow(exponent),
    relu: (x: Tensor) => x.relu(),
    leakyRelu: (x: Tensor, slope: number) => x.leakyRelu(slope),
    tanh: (x: Tensor) => x.tanh(),
    sigmoid: (x: Tensor) => x.sigmoid(),
    clamp: (x: Tensor, low: number | null, high: number) =>
      x.clamp(low === null ? { max: high } : { min: low, max: high }),
    sum: (x: Tensor, dim: Dim, keep: boolean) => x.sum(reduce(dim, keep)),
    mean: (x: Tensor, dim: Dim, keep: boolean) => x.mean(reduce(dim, keep)),
    max: (x: Tensor, dim: Dim, keep: boolean) => x.max(reduce(dim, keep)),
    cat,
    stack,
    pad: (x: Tensor, amounts: number[], mode: 'constant') => F.pad(x, amounts, { mode }),
    linear: F.linear,
    convTranspose2d: F.convTranspose2d,
    conv2d: F.conv2d,
    batchNorm: (x: Tensor, m: AnyTensor, v: AnyTensor, weight: AnyTensor, bias: AnyTensor, training: boolean) =>
      F.batchNorm(x, m, v, { weight, bias, training, momentum: 0.1, eps: 1e-3 }),
    mseLoss: (x: Tensor, y: Tensor, reduction: 'mean') => F.mseLoss(x, y, { reduction }),
    l1Loss: (x: Tensor, y: Tensor, reduction: 'mean') => F.l1Loss(x, y, { reduction }),
    bce: (x: Tensor, y: Tensor, weight: AnyTensor, posWeight: AnyTensor, reduction: 'mean') =>
      F.binaryCrossEntropyWithLogits(x, y, { weight, posWeight, reduction }),
    module: (kind: string, args: unknown[], o: Options, state: Record<string, [number[], number[]]>) => {
      const made = MAKERS[kind]!(args, { ...o, dtype });
      const given = Object.entries(state).map(([name, [data, shape]]) => {
        return [name, tensor(Float64Array.from(data), { shape, dtype })] as const;
      });
      made.loadStateDict(Object.fromEntries(given), { strict: false });
      return made;
    },
    activation: (kind: 'ReLU' | 'Tanh' | 'Sigmoid' | 'LeakyReLU') =>
      kind === 'LeakyReLU' ? new nn.LeakyReLU(0.3) : new nn[kind](),
    sequential: (layers: nn.Module[]) => new nn.Sequential(...layers),
    share: (m: nn.Conv2d, other: nn.Conv2d) => {
      m.weight = other.weight;
    },
    parameter: (m: Record<string, unknown>, name: string) => m[name],
    buffer: (m: nn.BatchNorm2d, name: string) => (name === 'running_mean' ? m.runningMean : m.runningVar),
    train: (m: nn.Module, on: boolean) => void m.train(on),
    forward: (m: nn.Layer, x: Tensor) => m.forward(x),
    forwardSized: (m: nn.ConvTranspose2d, x: Tensor, outputSize: number[]) => m.forward(x, { outputSize }),
    copy_: (x: Tensor, y: Tensor) => void x.copy_(y),
    requiresGrad: (x: Tensor, value: boolean) => {
      x.requiresGrad = value;
    },
    backward: (y: Tensor, g: AnyTensor, retainGraph: boolean, createGraph: boolean) =>
      y.backward(g, { retainGraph, createGraph }),
    grad: (ys: Tensor[], xs: Tensor[], gradOutputs: Tensor[], createGraph: boolean, allowUnused: boolean) =>
      grad(ys, xs, { gradOutputs, createGraph, allowUnused }),
    zeroGrad: (x: Tensor) => {
      x.grad = null;
    },
    getGrad: (x: Tensor) => x.grad,
    setGrad: (x: Tensor, g: Tensor) => {
      x.grad = g;
    },
    optimiser: (kind: string, params: Tensor[], o: Options) => OPTIMISERS[kind]!(params, o),
    step: (o: optim.SGD) => o.step(),
    reload: (kind: string, o: optim.SGD, params: Tensor[], settings: Options) => {
      const other = OPTIMISERS[kind]!(params, settings);
      other.loadStateDict(o.stateDict());
      return other;
    },
  };
}

function show(value: unknown): Shown | null {
  if (!Tensor.isTensor(value)) return null;
  const data = Array.from(value.dataSync(), (v) => (Number.isFinite(v) ? v : named(v)));
  return { shape: [...value.shape], data, grad: value.requiresGrad };
}

const named = (v: number): string => (Number.isNaN(v) ? 'nan' : v > 0 ? 'inf' : '-inf');

/** The tensors that a program has. */
interface Held {
  readonly name: string;
  readonly t: Tensor;
  readonly leaf: boolean;
}

interface HeldModule {
  readonly name: string;
  readonly module: nn.Module;
  readonly channels: number;
  readonly transposed: boolean;
}

class Builder {
  readonly steps: Step[] = [];
  readonly outcomes: Outcome[] = [];
  readonly tensors: Held[] = [];
  readonly modules: HeldModule[] = [];
  readonly optimisers: { name: string; kind: string; params: unknown[]; options: Options }[] = [];
  readonly #objects = new Map<string, unknown>();
  readonly #calls: Record<string, Call>;
  readonly #c: Choices;
  readonly #smooth: boolean;
  #names = 0;

  constructor(c: Choices, dtype: Dtype) {
    this.#c = c;
    this.#calls = calls(dtype);
    this.#smooth = dtype !== 'float64';
  }

  /** Runs a step here and notes it; the made object, or undefined where it was refused. */
  run(call: string, args: readonly unknown[], more: { count?: number; noGrad?: boolean } = {}): unknown {
    const noGradients = more.noGrad === true;
    const name = `v${this.#names++}`;
    const outs = Array.from({ length: more.count ?? 0 }, (_, i) => `${name}_${i}`);
    const step: Step = {
      call,
      args,
      out: name,
      ...(call === 'grad' ? { outs } : {}),
      ...(noGradients ? { noGrad: true } : {}),
    };
    this.steps.push(step);
    try {
      const values = args.map((a) => this.#resolve(a));
      const fn = this.#calls[call]!;
      const made = noGradients ? noGrad(() => fn(...(values as never[]))) : fn(...(values as never[]));
      if (call === 'grad') {
        (made as AnyTensor[]).forEach((value, i) => {
          this.#objects.set(outs[i]!, value);
          if (value !== null) this.tensors.push({ name: outs[i]!, t: value, leaf: false });
        });
        this.outcomes.push({ values: (made as AnyTensor[]).map(show) });
        return made;
      }
      this.#objects.set(name, made);
      if (Tensor.isTensor(made)) this.tensors.push({ name, t: made, leaf: made.isLeaf && made.requiresGrad });
      this.outcomes.push({ values: [show(made)] });
      return made ?? null;
    } catch (error) {
      this.outcomes.push({ error: String(error) });
      return undefined;
    }
  }

  last(): string {
    return `v${this.#names - 1}`;
  }

  #resolve(a: unknown): unknown {
    if (Array.isArray(a)) return a.map((v) => this.#resolve(v));
    if (typeof a !== 'object' || a === null) return a;
    if ('t' in a) return this.#objects.get(a.t as string);
    if ('o' in a) return this.#objects.get(a.o as string);
    return a;
  }

  // --- what programs are made of

  readonly below = (n: number): number => this.#c.below(n);
  readonly chance = (percent: number): boolean => this.#c.below(100) < percent;
  readonly pick = <T>(list: readonly T[]): T => this.#c.pick(list);

  numbers(count: number): number[] {
    return Array.from({ length: count }, () => (this.below(33) - 16) / 8);
  }

  fresh(shape: readonly number[], requiresGrad = this.chance(60)): Held {
    const count = shape.reduce((a, b) => a * b, 1);
    this.run('tensor', [this.numbers(count), shape, requiresGrad]);
    return this.tensors.at(-1)!;
  }

  size(): number {
    return this.chance(4) ? 0 : this.chance(8) ? 8 + this.below(12) : 1 + this.below(5);
  }

  any(rank?: number): Held {
    const known = this.tensors.filter(({ t }) => t.numel() < 20_000 && (rank === undefined || t.ndim === rank));
    if (known.length > 0 && this.chance(80)) return this.chance(60) ? known.at(-1)! : this.pick(known);
    const dims = rank ?? this.below(5);
    return this.fresh(Array.from({ length: dims }, () => this.size()));
  }

  /** A tensor of a shape, perhaps a view of another. */
  shaped(shape: readonly number[]): Held {
    if (this.chance(55) || shape.length === 0) return this.fresh(shape);
    const at = this.below(shape.length);
    const kind = this.below(5);
    if (kind === 0) {
      const other = this.below(shape.length);
      const swapped = [...shape];
      [swapped[at], swapped[other]] = [swapped[other]!, swapped[at]!];
      return this.after(this.fresh(swapped), 'transpose', [at, other]);
    }
    if (kind === 1) {
      const start = this.below(3);
      const size = shape[at]! + start + this.below(3);
      return this.after(this.fresh(shape.with(at, size)), 'narrow', [at, start, shape[at]!]);
    }
    if (kind === 2) return this.after(this.fresh(shape.with(at, 1)), 'expand', [shape]);
    if (kind === 3 && shape.length === 4) return this.after(this.fresh(shape), 'contiguous', ['nhwc']);
    return this.after(this.fresh([...shape, 2]), 'select', [shape.length, this.below(2)]);
  }

  after(x: Held, call: string, args: readonly unknown[]): Held {
    this.run(call, [ref(x), ...args]);
    return this.tensors.at(-1)!;
  }

  step(): void {
    const kinds: readonly [number, () => void][] = [
      [14, () => this.view()],
      [12, () => this.binary()],
      [10, () => this.unary()],
      [8, () => this.reduction()],
      [5, () => this.join()],
      [14, () => this.convolution()],
      [6, () => this.makeModule()],
      [12, () => this.callModule()],
      [5, () => this.loss()],
      [10, () => this.backwards()],
      [6, () => this.gradients()],
      [6, () => this.optimise()],
      [5, () => this.place()],
      [3, () => this.norm()],
    ];
    let at = this.below(kinds.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, act] of kinds) {
      at -= weight;
      if (at < 0) {
        act();
        return;
      }
    }
  }

  view(): void {
    const x = this.any();
    const { ndim, shape } = x.t;
    if (ndim === 0 && this.chance(70)) {
      this.binary();
      return;
    }
    // Dimension 0 of a tensor that has none is PyTorch's own idea.
    const dim = (): number => (ndim === 0 ? 3 : 0) + this.below(ndim + 1) - this.below(2) * this.below(ndim + 2);
    const range = { noGrad: this.chance(5) };
    const order = Array.from({ length: ndim }, (_, i) => i);
    for (let i = ndim - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    const acts: (() => unknown)[] = [
      () => this.run('permute', [ref(x), order], range),
      () => this.run('transpose', [ref(x), dim(), dim()], range),
      () => {
        const d = dim();
        const size = shape.at(d) ?? 1;
        const start = this.below(size + 1);
        this.run('narrow', [ref(x), d, start, this.below(size - start + 2)], range);
      },
      () => this.run('select', [ref(x), dim(), this.below(4) - 1], range),
      () =>
        this.run(
          'expand',
          [
            ref(x),
            [
              ...(this.chance(30) ? [this.size()] : []),
              ...shape.map((s) => (s === 1 && this.chance(60) ? this.size() : this.chance(20) ? -1 : s)),
            ],
          ],
          range,
        ),
      () => this.run('reshape', [ref(x), this.otherShape(x.t.numel())], range),
      () => this.run('flatten', [ref(x), dim(), dim()], range),
      () => this.run('unsqueeze', [ref(x), dim()], range),
      () => this.run('squeeze', [ref(x), this.chance(40) ? null : dim()], range),
      () => this.run('contiguous', [ref(x), ndim === 4 && this.chance(60) ? 'nhwc' : 'nchw'], range),
      () => this.run(this.pick(['clone', 'detach']), [ref(x)], range),
    ];
    this.pick(acts)();
  }

  otherShape(count: number): number[] {
    const shape: number[] = [];
    let rest = Math.max(1, count);
    while (rest > 1 && shape.length < 5) {
      const divisors = Array.from({ length: rest }, (_, i) => i + 1).filter((d) => rest % d === 0);
      const size = shape.length === 4 ? rest : this.pick(divisors);
      shape.push(size);
      rest /= size;
    }
    if (this.chance(30)) shape.push(1);
    if (count === 0) shape.splice(this.below(shape.length + 1), 0, 0);
    if (this.chance(40) && shape.length > 0) shape[this.below(shape.length)] = -1;
    if (this.chance(4)) shape.push(2);
    return shape;
  }

  partner(x: Held): unknown {
    if (this.chance(20)) return (this.below(17) - 8) / 4;
    const shape = x.t.shape;
    if (this.chance(30)) return ref(this.any());
    const cut = this.below(shape.length + 1);
    return ref(this.shaped(shape.slice(cut).map((s) => (this.chance(25) ? 1 : s))));
  }

  binary(): void {
    const x = this.any();
    const y = this.partner(x);
    const range = { noGrad: this.chance(5) };
    const name = this.pick(
      this.#smooth ? ['add', 'sub', 'mul'] : ['add', 'sub', 'mul', 'div', 'maximum', 'minimum', 'gt', 'eq', 'where'],
    );
    if (typeof y === 'number' && (name === 'maximum' || name === 'minimum' || name === 'where')) return;
    if (name === 'where') this.run('where', [ref(x), y, y], range);
    else this.run(name, [ref(x), y], range);
  }

  unary(): void {
    const x = this.any();
    const range = { noGrad: this.chance(5) };
    const name = this.pick(
      this.#smooth
        ? ['neg', 'square', 'tanh', 'sigmoid']
        : ['neg', 'square', 'tanh', 'sigmoid', 'abs', 'exp', 'log', 'sqrt', 'reciprocal', 'relu'],
    );
    const kind = this.below(8);
    if (!this.#smooth && kind === 0) this.run('pow', [ref(x), this.pick([0, 1, 2, 3, -1, 0.5, -2])], range);
    else if (!this.#smooth && kind === 1) this.run('leakyRelu', [ref(x), this.pick([0.01, 0, 1, -0.5, 2])], range);
    else if (!this.#smooth && kind === 2)
      this.run('clamp', [ref(x), this.pick([null, -1, 0, -0.5]), this.pick([1, 0.5, 0.25])], range);
    else this.run(name, [ref(x)], range);
  }

  reduction(): void {
    const x = this.any();
    const { ndim } = x.t;
    const name = this.pick(this.#smooth ? ['sum', 'mean'] : ['sum', 'mean', 'max']);
    const dims = Array.from({ length: ndim }, (_, i) => (this.chance(50) ? i : i - ndim)).filter(() => this.chance(50));
    const dim =
      ndim === 0 || this.chance(25)
        ? null
        : dims.length > 0 && this.chance(80)
          ? dims
          : this.below(ndim + 1) - this.below(ndim + 1);
    this.run(name, [ref(x), dim, this.chance(40)], { noGrad: this.chance(5) });
  }

  join(): void {
    const x = this.any();
    const dim = this.below(x.t.ndim + 1) - this.below(2);
    const list = [ref(x)];
    for (let i = this.below(3); i > 0; i--) {
      list.push(
        this.chance(30)
          ? ref(x)
          : ref(this.shaped(x.t.shape.map((s, j) => (j === dim && this.chance(60) ? this.size() : s)))),
      );
    }
    if (x.t.ndim >= 2 && this.chance(30)) {
      const amounts = Array.from({ length: this.pick([2, 4]) }, () => this.below(3));
      const mode = this.pick(['constant', 'constant', 'reflect', 'replicate', 'circular']);
      // PyTorch pads the last two dimensions by these modes only of 3-D and 4-D tensors, and of 4 amounts.
      const known =
        mode === 'constant' || (amounts.length === 4 && (x.t.ndim === 3 || x.t.ndim === 4) && x.t.numel() > 0);
      if (known) this.run('pad', [ref(x), amounts, mode]);
      return;
    }
    this.run(this.pick(['cat', 'stack']), [list, dim]);
  }

  pair(values: readonly number[]): number | number[] {
    const [a, b] = [this.pick(values), this.pick(values)];
    return this.chance(50) ? a : [a, b];
  }

  /** Options of a convolution, now and then such that they must be refused. */
  settings(transposed: boolean, groups: number): Options {
    const o: Options = {};
    if (this.chance(70)) o.stride = this.pair(this.chance(4) ? [0, 1, -1] : [1, 1, 2, 2, 3, 4]);
    if (this.chance(60)) o.padding = this.pair(this.chance(4) ? [-1, 0] : [0, 1, 1, 2, 3, 5]);
    if (this.chance(35)) o.dilation = this.pair(this.chance(4) ? [0, 1] : [1, 2, 2, 3]);
    if (transposed && this.chance(40)) o.outputPadding = this.pair(this.chance(4) ? [-1, 3] : [0, 0, 1, 1, 2]);
    if (!transposed && this.chance(15)) o.padding = this.pick(['same', 'valid', 'same', 'full']);
    if (groups !== 1 || this.chance(20)) o.groups = this.chance(3) ? this.pick([0, 3, -1]) : groups;
    return o;
  }

  channels(): [inside: number, outside: number, groups: number] {
    const groups = this.chance(70) ? 1 : this.pick([2, 3, 4, 7, 16]);
    const per = (): number => (this.chance(3) ? 0 : this.chance(10) ? 16 + this.below(20) : 1 + this.below(5));
    return [groups * per(), groups * per(), groups];
  }

  input(channels: number): Held {
    const found = this.tensors.filter(
      ({ t }) => (t.ndim === 4 || t.ndim === 3) && t.shape.at(-3) === channels && t.numel() < 4000,
    );
    if (found.length > 0 && this.chance(60)) return this.pick(found);
    const space = [1 + this.below(7), 1 + this.below(9)];
    const wrong = this.chance(3) ? 1 : 0;
    const shape = [channels + wrong, ...space];
    return this.shaped(this.chance(15) ? shape : [this.chance(8) ? 0 : 1 + this.below(3), ...shape]);
  }

  kernel(): [number, number] {
    return this.chance(3) ? [0, 1] : [1 + this.below(5), 1 + this.below(5)];
  }

  convolution(): void {
    const transposed = this.chance(60);
    const [inside, outside, groups] = this.channels();
    const shape = transposed
      ? [inside, outside / groups, ...this.kernel()]
      : [outside, inside / groups, ...this.kernel()];
    const weight = this.shaped(shape);
    const bias = this.chance(60) ? ref(this.shaped([outside + (this.chance(3) ? 1 : 0)])) : null;
    const x = this.input(inside);
    const o = this.settings(transposed, groups);
    if (this.chance(20))
      o.activation = this.pick(
        this.#smooth ? ['tanh', 'sigmoid', 'none'] : ['relu', 'leaky_relu', 'tanh', 'sigmoid', 'none'],
      );
    this.run(transposed ? 'convTranspose2d' : 'conv2d', [ref(x), ref(weight), bias, o], { noGrad: this.chance(5) });
  }

  makeModule(): void {
    if (this.chance(25)) {
      this.makeNorm();
      return;
    }
    const transposed = this.chance(60);
    const [inside, outside, groups] = this.channels();
    const o = this.settings(transposed, groups);
    if (this.chance(30)) o.bias = this.chance(50);
    if (!transposed && this.chance(20)) o.paddingMode = this.pick(['zeros', 'reflect', 'replicate', 'circular']);
    if (transposed && this.chance(8)) o.paddingMode = this.pick(['zeros', 'reflect']);
    const kernel = this.kernel();
    const given = kernel[0] === kernel[1] && this.chance(50) ? kernel[0] : kernel;
    const shape = transposed ? [inside, outside / groups, ...kernel] : [outside, inside / groups, ...kernel];
    const count = shape.reduce((a, b) => a * b, 1);
    const state: Options = { weight: [this.numbers(count), shape] };
    if (o.bias !== false) state.bias = [this.numbers(outside), [outside]];
    const made = this.run('module', [transposed ? 'ConvTranspose2d' : 'Conv2d', [inside, outside, given], o, state]);
    if (made === undefined) return;
    this.keep(made as nn.Module, inside, transposed);
    if (this.chance(15)) {
      const other = this.modules.find(
        ({ module }) =>
          module !== made && 'weight' in module && String((module.weight as Tensor | null)?.shape) === String(shape),
      );
      if (other !== undefined) this.run('share', [{ o: this.modules.at(-1)!.name }, { o: other.name }]);
    }
    if (this.chance(40)) this.makeSequential(outside);
  }

  makeNorm(channels = 1 + this.below(4)): void {
    const o: Options = {};
    if (this.chance(30)) o.momentum = this.pick([0.3, 1, 0, null]);
    if (this.chance(20)) o.eps = this.pick([1e-3, 0.5]);
    if (this.chance(20)) o.affine = false;
    if (this.chance(20)) o.trackRunningStats = false;
    const state: Options = {};
    if (o.affine !== false) {
      state.weight = [this.numbers(channels), [channels]];
      state.bias = [this.numbers(channels), [channels]];
    }
    const made = this.run('module', ['BatchNorm2d', [channels], o, state]);
    if (made !== undefined) this.keep(made as nn.Module, channels, false);
  }

  keep(module: nn.Module, channels: number, transposed: boolean): void {
    this.modules.push({ name: this.last(), module, channels, transposed });
  }

  makeSequential(outside: number): void {
    const first = this.modules.at(-1)!;
    const layers = [{ o: first.name }];
    if (this.chance(50)) {
      this.makeNorm(outside);
      layers.push({ o: this.modules.at(-1)!.name });
    }
    if (this.chance(60)) {
      this.run('activation', [
        this.pick(this.#smooth ? ['Tanh', 'Sigmoid'] : ['ReLU', 'Tanh', 'Sigmoid', 'LeakyReLU']),
      ]);
      layers.push({ o: this.last() });
    }
    const made = this.run('sequential', [layers]);
    if (made !== undefined) this.keep(made as nn.Module, first.channels, false);
  }

  callModule(): void {
    if (this.modules.length === 0) {
      this.makeModule();
      return;
    }
    const m = this.chance(60) ? this.modules.at(-1)! : this.pick(this.modules);
    if (this.chance(20)) this.run('train', [{ o: m.name }, this.chance(50)]);
    const x = this.input(m.channels);
    const range = { noGrad: this.chance(15) };
    if (m.transposed && this.chance(35)) {
      const size = [this.below(24), this.below(24)];
      const plain = this.plainSize(m.module as nn.ConvTranspose2d, x.t);
      const close = this.chance(85) ? plain.map((v) => v + this.below(3)) : size;
      const lead = this.chance(40)
        ? Array.from({ length: x.t.ndim - 2 }, () => this.below(9))
        : this.chance(5)
          ? [1]
          : [];
      this.run('forwardSized', [{ o: m.name }, ref(x), [...lead, ...close]], range);
    } else this.run('forward', [{ o: m.name }, ref(x)], range);
    if (m.module instanceof nn.BatchNorm2d && m.module.runningMean !== null) {
      this.run('clone', [{ t: this.named('buffer', m, this.pick(['running_mean', 'running_var'])) }]);
    }
  }

  named(call: string, m: HeldModule, name: string): string {
    this.run(call, [{ o: m.name }, name]);
    this.tensors.pop();
    return this.last();
  }

  plainSize(m: nn.ConvTranspose2d, x: Tensor): number[] {
    return [0, 1].map((i) => {
      const padding = m.padding[i] as number;
      return (x.shape.at(i - 2)! - 1) * m.stride[i]! - 2 * padding + m.dilation[i]! * (m.kernelSize[i]! - 1) + 1;
    });
  }

  norm(): void {
    const x = this.any(this.pick([2, 3, 4, 4]));
    if (x.t.numel() === 0 || !x.t.isContiguous) return;
    const channels = x.t.shape[1]!;
    const some = (percent: number): unknown => (this.chance(percent) ? ref(this.shaped([channels])) : null);
    const training = this.chance(60);
    this.run('batchNorm', [ref(x), null, null, some(60), some(60), training, 0.1, 1e-3]);
  }

  loss(): void {
    const x = this.any();
    const y = this.chance(95) ? this.shaped(x.t.shape) : this.any();
    const reduction = this.pick(['mean', 'sum', 'none', 'mean']);
    const kind = this.pick(this.#smooth ? ['mseLoss', 'bce'] : ['mseLoss', 'l1Loss', 'bce']);
    if (String(x.t.shape) !== String(y.t.shape)) return;
    const weight = (): unknown =>
      this.chance(25) ? ref(this.after(this.shaped(x.t.shape.slice(this.below(x.t.ndim + 1))), 'detach', [])) : null;
    if (kind === 'bce') this.run(kind, [ref(x), ref(y), weight(), weight(), reduction]);
    else this.run(kind, [ref(x), ref(y), reduction]);
  }

  backwards(): void {
    const results = this.tensors.filter(({ t }) => t.requiresGrad && !t.isLeaf && t.numel() > 0);
    const y =
      results.length === 0 || this.chance(4) ? this.any() : this.chance(70) ? results.at(-1)! : this.pick(results);
    const g = y.t.numel() === 1 && this.chance(50) ? null : ref(this.shaped(y.t.shape));
    this.run('backward', [ref(y), g, this.chance(50), this.chance(8)]);
    for (const leaf of this.leaves()) {
      if (Tensor.isTensor(this.run('getGrad', [leaf]))) this.tensors.pop();
    }
    if (this.chance(20)) for (const leaf of this.leaves()) this.run('zeroGrad', [leaf]);
  }

  leaves(): unknown[] {
    const own = this.tensors.filter(({ leaf, t }) => leaf && t.requiresGrad && t.isContiguous).map(ref);
    const parameters = this.modules.flatMap((m) =>
      m.module instanceof nn.Sequential
        ? []
        : m.module.ownParameters().map(([name]) => ({ t: this.named('parameter', m, name) })),
    );
    return [...own, ...parameters].slice(-12);
  }

  gradients(): void {
    const results = this.tensors.filter(({ t }) => t.requiresGrad && !t.isLeaf && t.numel() > 0);
    const sources = this.tensors.filter(({ t }) => t.requiresGrad);
    if (results.length === 0 || sources.length === 0) return;
    const outputs = this.chance(80) ? [results.at(-1)!] : [this.pick(results), this.pick(results)];
    const inputs = Array.from({ length: 1 + this.below(3) }, () => this.pick(sources));
    const gradOutputs = outputs.map((y) => ref(this.shaped(y.t.shape)));
    this.run('grad', [outputs.map(ref), inputs.map(ref), gradOutputs, this.chance(50), this.chance(85)], {
      count: inputs.length,
    });
  }

  optimise(): void {
    if (this.optimisers.length === 0 || this.chance(25)) {
      const params = this.leaves();
      const kind = this.pick(['SGD', 'Adam', 'AdamW']);
      const o: Options = { lr: this.pick([0.1, 0.01, 0]) };
      if (kind === 'SGD') {
        if (this.chance(60)) o.momentum = this.pick([0.9, 0.5]);
        if (this.chance(20)) o.dampening = 0.25;
        if (this.chance(30)) o.nesterov = true;
      } else {
        if (this.chance(40)) o.betas = [0.5, 0.9];
        if (this.chance(40)) o.eps = 1e-3;
        if (this.chance(40)) o.amsgrad = true;
      }
      if (this.chance(40)) o.weightDecay = this.pick([0.1, 0.01, 0]);
      if (this.chance(20)) o.maximize = true;
      if (params.length === 0 && this.chance(90)) return;
      if (this.run('optimiser', [kind, params, o]) === undefined) return;
      this.optimisers.push({ name: this.last(), kind, params, options: o });
    }
    const one = this.optimisers.at(-1)!;
    this.run('step', [{ o: one.name }]);
    // PyTorch forgets the graphs of views whose memory was written to.
    const kept = this.tensors.filter(({ t }) => t.isLeaf);
    this.tensors.splice(0, this.tensors.length, ...kept);
    for (const p of one.params) {
      this.run('clone', [p], { noGrad: true });
      this.tensors.pop();
    }
    if (!this.chance(30)) return;
    if (this.run('reload', [one.kind, { o: one.name }, one.params, one.options]) === undefined) return;
    this.optimisers.push({ ...one, name: this.last() });
  }

  place(): void {
    const x = this.any();
    const kind = this.below(4);
    if (kind === 0) {
      if (x.t.isLeaf || !x.t.requiresGrad) this.run('requiresGrad', [ref(x), this.chance(70)]);
    } else if (kind === 1 && x.t.isLeaf && x.t.requiresGrad) {
      // The gradient belongs to its tensor from then on.
      const g = this.after(this.shaped(x.t.shape), 'clone', []);
      this.tensors.pop();
      this.run('setGrad', [ref(x), ref(g)], { noGrad: true });
    } else if (kind === 2) {
      // what a graph saved, or lies over itself, is for copy_'s own tests
      const target = this.fresh(x.t.shape, false);
      this.run('copy_', [ref(target), this.chance(70) ? ref(x) : ref(this.any())], { noGrad: true });
      this.run('clone', [ref(target)]);
    } else {
      const w = this.fresh([1 + this.below(4), x.t.shape.at(-1) ?? 1]);
      this.run('linear', [ref(x), ref(w), this.chance(50) ? ref(this.shaped([w.t.shape[0]!])) : null]);
    }
  }
}

const ref = (x: Held): { t: string } => ({ t: x.name });

export function randomProgram(seed: number, length: number): Program {
  const c = choices(seed * 7919 + 12345);
  for (let i = 0; i < 8; i++) c.below(2);
  const dtype = c.pick(['float64', 'float64', 'float64', 'float32', 'float32', 'float16', 'bfloat16'] as const);
  const builder = new Builder(c, dtype);
  const count = dtype === 'float64' ? length : Math.min(length, dtype === 'float32' ? 12 : 5);
  for (let i = 0; i < count; i++) builder.step();
  return { seed, dtype, steps: builder.steps, outcomes: builder.outcomes };
}
