/** Tensors: making them, reading them, and what is refused on the way. */

import { inspect } from 'node:util';
import { expect } from 'chai';
import * as fracstride from '../../src/index.js';
import {
  arange,
  backends,
  cuda,
  empty,
  full,
  manualSeed,
  memory,
  ones,
  onesLike,
  rand,
  randn,
  scope,
  type Tensor,
  tensor,
  zeros,
  zerosLike,
} from '../../src/index.js';

const CPU = { device: 'cpu' } as const;

function refuses(fn: () => unknown, code: string, sentence: string | RegExp): void {
  expect(fn).throws(sentence).with.property('code', code);
}

describe('factories', () => {
  it('tensor takes numbers, nested arrays and typed arrays', () => {
    scope(() => {
      expect(tensor(3, CPU).shape).deep.equals([]);
      expect(
        tensor(
          [
            [1, 2],
            [3, 4],
            [5, 6],
          ],
          CPU,
        ).shape,
      ).deep.equals([3, 2]);
      expect(tensor([1, 2, 3, 4], { ...CPU, shape: [2, 2] }).toArray()).deep.equals([
        [1, 2],
        [3, 4],
      ]);
      expect(tensor([[], []], CPU).shape).deep.equals([2, 0]);
      const typed: [ArrayBufferView, string][] = [
        [new Float32Array(2), 'float32'],
        [new Float64Array(2), 'float64'],
        [new Int32Array(2), 'int32'],
        [new Uint8Array(2), 'float32'],
      ];
      for (const [data, dtype] of typed) expect(tensor(data, CPU).dtype).equals(dtype);
      expect(tensor(new Float64Array([1, 2]), { ...CPU, dtype: 'float32' }).dataSync()).deep.equals(
        new Float32Array([1, 2]),
      );
    });
  });

  it('tensor copies', () => {
    const data = new Float32Array([1, 2]);
    using x = tensor(data, CPU);
    data[0] = 9;
    expect(x.toArray()).deep.equals([1, 2]);
    x.dataSync()[0] = 9;
    expect(x.toArray()).deep.equals([1, 2]);
  });

  it('rounds to the element type', () => {
    scope(() => {
      expect(tensor([1.0009765625 / 2, 1e-8, 65520], { ...CPU, dtype: 'float16' }).toArray()).deep.equals([
        0.50048828125,
        0,
        Number.POSITIVE_INFINITY,
      ]);
      expect(tensor([1.00390625, 3.140625], { ...CPU, dtype: 'bfloat16' }).toArray()).deep.equals([1, 3.140625]);
      expect(tensor([0.1], { ...CPU, dtype: 'float64' }).item()).equals(0.1);
    });
  });

  it('fill', () => {
    scope(() => {
      expect(zeros([2, 2], CPU).toArray()).deep.equals([
        [0, 0],
        [0, 0],
      ]);
      expect(ones(3, CPU).toArray()).deep.equals([1, 1, 1]);
      expect(full([2], 2.5, CPU).toArray()).deep.equals([2.5, 2.5]);
      expect(empty([2, 3], CPU).shape).deep.equals([2, 3]);
      expect(zeros([], CPU).item()).equals(0);
      expect(zeros([0, 3], CPU).toArray()).deep.equals([]);
      expect(arange(4, CPU).toArray()).deep.equals([0, 1, 2, 3]);
      expect(arange(1, 4, CPU).toArray()).deep.equals([1, 2, 3]);
      expect(arange(1, 2, 0.25, { ...CPU, dtype: 'float64' }).toArray()).deep.equals([1, 1.25, 1.5, 1.75]);
      expect(arange(3, 0, -1, { ...CPU, dtype: 'int32' }).toArray()).deep.equals([3, 2, 1]);
    });
  });

  it('like another tensor', () => {
    scope(() => {
      const x = full([2, 3], 7, { ...CPU, dtype: 'float64' });
      expect([zerosLike(x).dtype, zerosLike(x).toArray()]).deep.equals([
        'float64',
        [
          [0, 0, 0],
          [0, 0, 0],
        ],
      ]);
      const y = onesLike(x, { dtype: 'float32', requiresGrad: true });
      expect([y.dtype, y.requiresGrad, y.sum().item()]).deep.equals(['float32', true, 6]);
    });
  });

  it('random numbers follow the seed, call by call, whatever the threads', () => {
    const draw = (): number[][] =>
      scope(() => {
        manualSeed(42);
        return [rand([5], CPU), randn([100003], CPU), rand([3], { ...CPU, dtype: 'float64' })].map((x) =>
          Array.from(x.dataSync()),
        );
      });
    const before = backends.cpu.threads;
    const first = draw();
    try {
      for (const threads of [1, 2, 3]) {
        backends.cpu.threads = threads;
        expect(draw()).deep.equals(first);
      }
    } finally {
      backends.cpu.threads = before;
    }
    manualSeed(43);
    expect(scope(() => Array.from(rand([5], CPU).dataSync()))).not.deep.equals(first[0]);
    const [uniform, normal] = first;
    expect(uniform!.every((v) => v >= 0 && v < 1)).equals(true);
    const mean = normal!.reduce((a, b) => a + b, 0) / normal!.length;
    const variance = normal!.reduce((a, b) => a + (b - mean) ** 2, 0) / normal!.length;
    expect(mean).closeTo(0, 0.015);
    expect(variance).closeTo(1, 0.02);
  });
});

describe('reading', () => {
  it('data, item, size and numel', async () => {
    using x = tensor(
      [
        [1, 2, 3],
        [4, 5, 6],
      ],
      CPU,
    );
    expect(await x.data()).deep.equals(new Float32Array([1, 2, 3, 4, 5, 6]));
    expect([x.size(0), x.size(-1), x.numel(), x.ndim]).deep.equals([2, 3, 6, 2]);
    expect(x.size()).deep.equals([2, 3]);
    refuses(() => x.item(), 'ERR_SHAPE', 'item: the tensor must be of one element, got [2, 3]');
    refuses(() => x.size(2), 'ERR_ARGUMENT', 'size: dim must be an integer in [-2, 1], got 2');
  });

  it('prints itself in one line', () => {
    scope(() => {
      expect(
        inspect(
          tensor(
            [
              [1, 2],
              [3, 0.1],
            ],
            CPU,
          ),
        ),
      ).equals('Tensor([2, 2], float32, cpu): [[1, 2], [3, 0.1]]');
      expect(
        String(zeros([2, 3, 4, 5], { ...CPU, dtype: 'float64', requiresGrad: true }).to({ layout: 'nhwc' })),
      ).equals('Tensor([2, 3, 4, 5], float64, cpu, nhwc, requiresGrad)');
      expect(inspect({ x: zeros([], CPU) })).equals('{ x: Tensor([], float32, cpu): 0 }');
    });
  });
});

describe('what factories refuse', () => {
  it('data', () => {
    refuses(
      () => tensor([[1, 2], [3]], CPU),
      'ERR_SHAPE',
      'tensor: data must be arrays of equal lengths, 2 at depth 1, got 1',
    );
    refuses(() => tensor([1, [2]] as never, CPU), 'ERR_ARGUMENT', /numbers or nested arrays/);
    // biome-ignore lint/suspicious/noSparseArray: sparse arrays are what is tested
    refuses(() => tensor([1, , 3] as never, CPU), 'ERR_ARGUMENT', /got undefined/);
    refuses(() => tensor('1' as never, CPU), 'ERR_ARGUMENT', /numbers or nested arrays/);
    refuses(() => tensor([1n] as never, CPU), 'ERR_ARGUMENT', /got 1n/);
    refuses(() => tensor(new BigInt64Array(1) as never, CPU), 'ERR_ARGUMENT', /typed array of numbers/);
    refuses(
      () => tensor([1.5], { ...CPU, dtype: 'int32' }),
      'ERR_DTYPE',
      'tensor: data for int32 must be integers of 32 bits, got 1.5',
    );
    refuses(
      () => tensor([1, 2, 3], { ...CPU, shape: [2] }),
      'ERR_SHAPE',
      'tensor: shape must be of 3 elements, as many as the data has, got [2]',
    );
    const cyclic: unknown[] = [];
    cyclic.push(cyclic);
    refuses(() => tensor(cyclic as never, CPU), 'ERR_SHAPE', /nested at most 64 deep/);
    const hostile = new Proxy([1, 2], {
      get() {
        throw new Error('no');
      },
    });
    refuses(() => tensor(hostile, CPU), 'ERR_ARGUMENT', 'tensor: data must be readable, got an exception from it');
  });

  it('shapes, dtypes, devices and options', () => {
    refuses(
      () => zeros([-1], CPU),
      'ERR_SHAPE',
      'zeros: shape must be an integer or an array of integers ≥ 0, got [-1]',
    );
    for (const bad of [Number.NaN, 1.5, Number.POSITIVE_INFINITY, '3', null, {}, [[1]], ['2']]) {
      refuses(() => zeros(bad as never, CPU), 'ERR_SHAPE', /^zeros: shape must be /);
    }
    refuses(() => zeros([1], { ...CPU, dtype: 'float8' as never }), 'ERR_DTYPE', /dtype must be one of float32, /);
    refuses(
      () => zeros([1], { device: 'gpu' }),
      'ERR_ARGUMENT',
      "zeros: device must be 'cpu', 'cuda', 'cuda:N' or 'auto', got \"gpu\"",
    );
    refuses(
      () => zeros([1], { requiresgrad: true } as never),
      'ERR_ARGUMENT',
      'zeros: an option must be one of dtype, device, requiresGrad, got "requiresgrad"',
    );
    refuses(() => zeros([1], 'float32' as never), 'ERR_ARGUMENT', /options must be an object/);
    const hostile = {
      get dtype(): never {
        throw new Error('no');
      },
    };
    refuses(() => zeros([1], hostile), 'ERR_ARGUMENT', 'zeros: options must be readable, got an exception from it');
    refuses(() => manualSeed(-1), 'ERR_ARGUMENT', 'manualSeed: seed must be an integer ≥ 0, got -1');
    refuses(() => arange(0, 1, 0), 'ERR_ARGUMENT', 'arange: step must be a number other than 0, got 0');
    refuses(() => full([1], '1' as never, CPU), 'ERR_ARGUMENT', 'full: value must be a number, got "1"');
  });

  it('more than there is memory, before anything is allocated', () => {
    const before = memory().cpu.live;
    for (const shape of [[1e15], [1e6, 1e6, 1e6], [2 ** 53 - 1, 2 ** 53 - 1], [1e9, 1e5]]) {
      refuses(() => zeros(shape, CPU), 'ERR_OUT_OF_MEMORY', /must be /);
    }
    expect(memory().cpu.live).equals(before);
  });

  it('more than an array or a device holds, of a view that holds next to nothing', async () => {
    using x = zeros([1, 1], CPU);
    using long = x.expand([2 ** 40, 2 ** 40]);
    refuses(
      () => long.dataSync(),
      'ERR_OUT_OF_MEMORY',
      /^data: an array must fit into memory, got 1\.2\d*e\+24 elements$/,
    );
    refuses(() => long.toArray(), 'ERR_OUT_OF_MEMORY', /^data: an array must fit/);
    refuses(() => long.add(1), 'ERR_OUT_OF_MEMORY', /^alloc: size must be at most 2\^53 bytes/);
    const error = await long.data().catch((cause: unknown) => cause);
    expect(error).property('code', 'ERR_OUT_OF_MEMORY');
  });

  it('writing into an expanded tensor', () => {
    scope(() => {
      const x = zeros([1, 3], CPU).expand([2, 3]);
      const rule = 'must be a tensor of elements with memory of their own, got "an expanded one"';
      refuses(() => x.copy_(zeros([2, 3], CPU)), 'ERR_ARGUMENT', `copy_: x ${rule}`);
      refuses(() => fracstride.nn.init.uniform_(x), 'ERR_ARGUMENT', `uniform_: tensor ${rule}`);
      refuses(() => fracstride.nn.init.zeros_(x), 'ERR_ARGUMENT', `constant_: tensor ${rule}`);
    });
  });

  it('construction by hand, and other objects for this', () => {
    expect(() => new (fracstride.Tensor as unknown as new () => Tensor)()).throws(
      TypeError,
      /made by tensor\(\), zeros\(\)/,
    );
    refuses(
      () => fracstride.add(Object.create(fracstride.Tensor.prototype) as Tensor, 1),
      'ERR_ARGUMENT',
      /must be a tensor/,
    );
    refuses(() => fracstride.Tensor.prototype.sum.call({} as Tensor), 'ERR_ARGUMENT', /must be a tensor/);
  });
});

describe('devices and settings', () => {
  it('cuda says why it is unavailable, or runs', () => {
    const reason = cuda.unavailableReason();
    expect(cuda.isAvailable()).equals(reason === null);
    if (reason === null) return expect(cuda.deviceCount()).greaterThan(0);
    expect(reason.length).greaterThan(20);
    expect(cuda.deviceCount()).equals(0);
    for (const use of [
      () => zeros([1], { device: 'cuda' }),
      () => zeros([1], { device: 'cuda:1' }),
      () => cuda.synchronize(),
      () => cuda.memoryStats(),
      () => cuda.getDeviceProperties(0),
      () => cuda.setMemoryLimit(0),
    ]) {
      expect(use).throws(reason).with.property('code', 'ERR_DEVICE_UNAVAILABLE');
    }
    cuda.emptyCache();
    using x = zeros([1], { device: 'auto' });
    expect(x.device).equals('cpu');
  });

  it('settings take their own values only', () => {
    expect(backends.cpu.winograd).equals('accurate');
    backends.cpu.winograd = 'off';
    expect(backends.cpu.winograd).equals('off');
    backends.cpu.winograd = 'accurate';
    const before = backends.cpu.isa;
    for (const isa of backends.cpu.isas) {
      backends.cpu.isa = isa;
      expect(scope(() => zeros([3], CPU).add(1).toArray())).deep.equals([1, 1, 1]);
      expect(fracstride.lastKernel()).equals(`copy_f32__pointwise__${isa}`.replace('copy', 'add'));
    }
    backends.cpu.isa = before;
    refuses(
      () => Object.assign(backends.cpu, { isa: 'mmx' }),
      'ERR_ARGUMENT',
      /^backends.cpu.isa: value must be one of /,
    );
    refuses(() => Object.assign(backends.cpu, { threads: 0 }), 'ERR_ARGUMENT', /integer from 1 to 1024/);
    refuses(() => Object.assign(backends.cudnn, { enabled: 1 }), 'ERR_ARGUMENT', /boolean/);
    expect(() => Object.assign(backends.cpu, { winogradd: 'off' })).throws(TypeError);
    // whether there is a cuDNN is the machine's affair
    if (backends.cudnn.isAvailable()) expect(backends.cudnn.version()).at.least(8000);
    else expect(backends.cudnn.unavailableReason()).a('string');
    expect([backends.cudnn.allowTf32, backends.cuda.matmul.allowTf32]).deep.equals([true, false]);
    fracstride.useDeterministicAlgorithms(true, { warnOnly: true });
    expect(fracstride.areDeterministicAlgorithmsEnabled()).equals(true);
    fracstride.useDeterministicAlgorithms(false);
    refuses(() => fracstride.useDeterministicAlgorithms(1 as never), 'ERR_ARGUMENT', /boolean/);
  });
});
