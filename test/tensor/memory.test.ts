/** Memory: exact bytes, who holds them, and when they go. */

import { expect } from 'chai';
import {
  grad,
  keep,
  manualSeed,
  memory,
  nn,
  noGrad,
  randn,
  scope,
  type Tensor,
  tensor,
  zeros,
} from '../../src/index.js';
import { startTraining } from '../support/training.js';

const CPU = { device: 'cpu' } as const;
const LEAF = { ...CPU, requiresGrad: true } as const;

/** Live bytes now. */
const live = (): number => memory().cpu.live;

describe('dispose', () => {
  let before = 0;
  beforeEach(() => {
    before = live();
  });
  afterEach(() => {
    expect(live()).equals(before);
  });
  const held = (): number => live() - before;

  it('gives bytes back exactly', () => {
    const sizes = { float32: 4, float64: 8, float16: 2, bfloat16: 2, int32: 4 } as const;
    for (const [dtype, bytes] of Object.entries(sizes)) {
      const x = zeros([3, 5], { ...CPU, dtype: dtype as keyof typeof sizes });
      expect(held()).equals(15 * bytes);
      x.dispose();
      expect(held()).equals(0);
    }
  });

  it('is what `using` does, and may come twice', () => {
    {
      using x = zeros([4], CPU);
      expect(held()).equals(16);
      x.dispose();
      x[Symbol.dispose]();
    }
    expect(held()).equals(0);
  });

  it('leaves views their memory', () => {
    const x = tensor([1, 2, 3, 4], CPU);
    const y = x.narrow(0, 1, 2);
    const z = y.detach();
    x.dispose();
    y.dispose();
    expect(held()).equals(16);
    expect(z.toArray()).deep.equals([2, 3]);
    z.dispose();
  });

  it('leaves a backward pass what it saved', () => {
    const x = tensor([1, 2], LEAF);
    const y = tensor([3, 4], CPU);
    const z = x.mul(y);
    y.dispose();
    expect(held()).equals(24);
    const total = z.sum();
    z.dispose();
    expect(held()).equals(8 + 8 + 4);
    total.backward();
    expect(held()).equals(8 + 4 + 8);
    expect(x.grad!.toArray()).deep.equals([3, 4]);
    total.dispose();
    x.dispose();
  });

  it('takes the gradient with it', () => {
    const x = tensor([1, 2], LEAF);
    using y = x.sum();
    y.backward();
    const gradient = x.grad!;
    x.dispose();
    expect(gradient.isDisposed).equals(true);
    expect(held()).equals(4);
  });

  it('releases the graph that only it led to', () => {
    const x = randn([10], LEAF);
    let y = x.mul(x);
    for (let i = 0; i < 50; i++) {
      const product = y.mul(x);
      const next = product.tanh();
      product.dispose();
      y.dispose();
      y = next;
    }
    // x, the first product, and what each tanh saved of itself.
    expect(held()).equals(52 * 40);
    y.dispose();
    expect(held()).equals(40);
    x.dispose();
  });

  it('is final: any use throws', () => {
    const x = zeros([2], CPU);
    x.dispose();
    expect(x.isDisposed).equals(true);
    expect(String(x)).equals('Tensor(disposed)');
    const uses: (() => unknown)[] = [
      () => x.shape,
      () => x.dtype,
      () => x.numel(),
      () => x.dataSync(),
      () => x.add(1),
      () => x.grad,
      () => x.backward(),
      () => x.requiresGrad,
      () => grad(x, x),
    ];
    for (const use of uses)
      expect(use)
        .throws(/dispos/)
        .with.property('code', 'ERR_DISPOSED');
  });

  it('a gradient that arrives after its leaf is dropped', () => {
    const x = tensor([1, 2], LEAF);
    const y = scope(() => x.mul(3).sum());
    x.dispose();
    y.backward();
    y.dispose();
  });
});

describe('scope', () => {
  let before = 0;
  beforeEach(() => {
    before = live();
  });
  afterEach(() => {
    expect(live()).equals(before);
  });
  const held = (): number => live() - before;

  it('disposes what is not returned', () => {
    const y = scope(() => {
      const x = tensor([1, 2, 3], CPU);
      return x.add(1).mul(2);
    });
    expect(held()).equals(12);
    expect(y.toArray()).deep.equals([4, 6, 8]);
    y.dispose();
  });

  it('lets tensors escape inside arrays, objects and maps', () => {
    const found = scope(() => {
      const make = (): Tensor => zeros([1], CPU);
      make();
      return { a: [make(), { b: make() }], map: new Map([['c', make()]]), set: new Set([make()]), n: 1 };
    });
    expect(held()).equals(16);
    const all = [found.a[0] as Tensor, (found.a[1] as { b: Tensor }).b, ...found.map.values(), ...found.set];
    for (const x of all) x.dispose();
  });

  it('looks into whatever is returned, and runs nothing of it', () => {
    let ran = 0;
    const strange = scope(() => {
      const own = zeros([1], CPU);
      const revoked = Proxy.revocable({}, {});
      revoked.revoke();
      const getter = {
        get lost(): Tensor {
          ran++;
          return own;
        },
      };
      return { getter, proxy: revoked.proxy, holes: new Array(2 ** 32 - 1), own: Object.assign(new Date(0), { own }) };
    });
    expect(ran).equals(0);
    expect(held()).equals(4);
    strange.own.own.dispose();
  });

  it('nests: what leaves the inner one belongs to the outer', () => {
    scope(() => {
      const y = scope(() => zeros([5], CPU).add(1));
      expect(held()).equals(20);
      expect(y.isDisposed).equals(false);
    });
    expect(held()).equals(0);
  });

  it('disposes when the function throws', () => {
    expect(() =>
      scope(() => {
        zeros([5], CPU);
        throw new Error('mine');
      }),
    ).throws('mine');
    expect(held()).equals(0);
  });

  it('leaves gradients and what was kept', () => {
    const w = tensor([1, 2], LEAF);
    const state: Tensor[] = [];
    scope(() => {
      state.push(keep(zeros([2], CPU)));
      w.mul(2).sum().backward();
    });
    expect(w.grad!.toArray()).deep.equals([2, 2]);
    expect(held()).equals(24);
    w.dispose();
    state[0]!.dispose();
  });

  it('lets the gradient of a tensor that goes be returned', () => {
    const g = scope(() => {
      const x = tensor([1, 2], LEAF);
      x.square().sum().backward();
      return x.grad!;
    });
    expect(g.toArray()).deep.equals([2, 4]);
    expect(held()).equals(8);
    g.dispose();
  });

  it('follows awaits, each in its own context', async () => {
    const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
    const worker = (value: number): Promise<Tensor> =>
      scope(async () => {
        const x = tensor([value], CPU);
        await wait(2 * value);
        const y = x.mul(10);
        await wait(1);
        expect(x.isDisposed).equals(false);
        return y.add(value);
      });
    const pending = Promise.all([worker(1), worker(2), worker(3)]);
    const outside = zeros([1], CPU);
    const results = await pending;
    expect(results.map((x) => x.item())).deep.equals([11, 22, 33]);
    expect(held()).equals(16);
    for (const x of [...results, outside]) x.dispose();
    const failing = scope(async () => {
      zeros([1], CPU);
      await wait(1);
      throw new Error('late');
    });
    const reason = await failing.then(
      () => 'none',
      (error: Error) => error.message,
    );
    expect(reason).equals('late');
  });

  it('gives data out of a scope', async () => {
    const data = await scope(async () => tensor([1, 2], CPU).add(1).data());
    expect(Array.from(data)).deep.equals([2, 3]);
  });
});

describe('a long loop', () => {
  /** Runs a thousand iterations and returns the live bytes after the fifth and after the last. */
  const measure = (step: () => void): [number, number] => {
    let fifth = 0;
    for (let i = 0; i < 1000; i++) {
      step();
      if (i === 4) fifth = live();
    }
    return [fifth, live()];
  };

  it('that never calls backward does not grow', () => {
    using x = randn([8], LEAF);
    let carried = x.mul(1);
    const [fifth, last] = measure(() => {
      scope(() => {
        x.tanh().mul(x).sum();
      });
      using y = x.exp();
      using z = y.mul(y);
      expect(z.requiresGrad).equals(true);
    });
    expect(last).equals(fifth);
    carried.dispose();
    carried = noGrad(() => x.mul(1));
    const again = measure(() => {
      const next = noGrad(() => carried.add(x));
      carried.dispose();
      carried = next;
    });
    expect(again[1]).equals(again[0]);
    carried.dispose();
  });

  it('that trains does not grow, and ends with its parameters', () => {
    const before = live();
    manualSeed(3);
    const w = randn([2, 2, 3, 3], LEAF);
    const b = zeros([2], LEAF);
    const [fifth, last] = measure(() =>
      scope(() => {
        const x = randn([2, 2, 4, 4], CPU);
        const y = nn.functional.convTranspose2d(x, w, b, { stride: 2, padding: 1, activation: 'tanh' });
        y.square().mean().backward();
        const next = noGrad(() => w.sub(w.grad!.mul(0.01)));
        expect(next.shape).deep.equals(w.shape);
        w.grad = null;
        b.grad = null;
      }),
    );
    expect(last).equals(fifth);
    expect(live() - before).equals((2 * 2 * 9 + 2) * 4);
    w.dispose();
    b.dispose();
    expect(live()).equals(before);
  });

  it('that trains asks the system for nothing once it is warm', () => {
    const training = startTraining(7);
    for (let i = 0; i < 5; i++) training.step();
    const { cached } = memory().cpu;
    for (let i = 0; i < 10; i++) {
      training.step();
      // a block that the system gave, or got back, would be seen here
      expect(memory().cpu.cached).equals(cached);
    }
    training.dispose();
  });

  it('peak and cached bytes are told', () => {
    const x = zeros([1000], CPU);
    const { peak, cached } = memory().cpu;
    expect(peak).greaterThan(3999);
    expect(cached).greaterThan(-1);
    x.dispose();
  });
});

describe('the finalizer', () => {
  it('frees what was forgotten, some time later', async () => {
    if (globalThis.gc === undefined) {
      const { setFlagsFromString } = await import('node:v8');
      const { runInNewContext } = await import('node:vm');
      setFlagsFromString('--expose-gc');
      globalThis.gc = runInNewContext('gc') as NonNullable<typeof globalThis.gc>;
    }
    /** Collects until nothing more is freed, and returns the live bytes: what earlier tests forgot is gone then. */
    const settle = async (): Promise<number> => {
      let unchanged = 0;
      for (let i = 0; i < 200 && unchanged < 5; i++) {
        const now = live();
        globalThis.gc!();
        await new Promise((resolve) => setTimeout(resolve, 10));
        unchanged = live() === now ? unchanged + 1 : 0;
      }
      return live();
    };
    const before = await settle();
    const forget = (): void => {
      const x = randn([100], LEAF);
      x.mul(x).tanh();
    };
    for (let i = 0; i < 10; i++) forget();
    expect(live()).equals(before + 10 * 3 * 400);
    expect(await settle()).equals(before);
  });
});
