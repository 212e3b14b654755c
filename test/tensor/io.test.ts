/** Files: what was written is read back, byte for byte where the format says so; hostile ones are refused in a sentence. */

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { FracstrideError, io, memory, nn, scope, type Tensor, tensor, zeros } from 'fracstride';
import { bfloatBits, bfloatValue, halfBits, halfValue } from '../../src/io/half.js';
import { roundTo } from '../../src/verify/rounding.js';

const { safetensors, npy, png } = io;
const data = (value: Tensor): number[] => Array.from(value.dataSync());

/** A file of a header text and data. */
function container(header: unknown, bytes: Uint8Array | number = 0, length?: number | bigint): Uint8Array {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const body = typeof bytes === 'number' ? Buffer.alloc(bytes) : Buffer.from(bytes);
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(length ?? text.length));
  return Buffer.concat([head, text, body]);
}

async function inFolder(fn: (path: (name: string) => string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'fracstride-io-'));
  try {
    await fn((name) => join(folder, name));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Any damage to a good file: it is read, or refused in a sentence. */
function expectSurvival(file: Uint8Array, deserialize: (bytes: Uint8Array) => Tensor[]): void {
  const edits = fc.array(fc.record({ at: fc.nat(file.length - 1), value: fc.nat(255) }), { maxLength: 4 });
  fc.assert(
    fc.property(edits, fc.option(fc.nat(file.length), { freq: 7 }), (list, length) => {
      const broken = file.slice(0, length ?? file.length);
      for (const { at, value } of list) if (at < broken.length) broken[at] = value;
      try {
        for (const value of deserialize(broken)) value.dispose();
      } catch (error) {
        if (!(error instanceof FracstrideError)) throw error;
      }
    }),
    { numRuns: 2000 },
  );
}

describe('io.safetensors', () => {
  it('writes the very bytes of the format: header length, JSON padded to 8, data by type and name', () => {
    scope(() => {
      const values = {
        b: tensor([1, -2]),
        a: tensor([[0.5]], { dtype: 'float64' }),
        c: tensor([3], { dtype: 'float16' }),
      };
      const file = safetensors.serialize(values, { metadata: { z: '1', format: 'pt' } });
      const text =
        '{"__metadata__":{"format":"pt","z":"1"},"a":{"dtype":"F64","shape":[1,1],"data_offsets":[0,8]},' +
        '"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},"c":{"dtype":"F16","shape":[1],"data_offsets":[16,18]}}';
      const padded = text.padEnd(Math.ceil(text.length / 8) * 8);
      const body = Buffer.alloc(18);
      body.writeDoubleLE(0.5, 0);
      body.writeFloatLE(1, 8);
      body.writeFloatLE(-2, 12);
      body.writeUInt16LE(0x4200, 16);
      expect(Buffer.from(file).equals(Buffer.from(container(padded, body)))).to.equal(true);
      const reordered = { c: values.c, a: values.a, b: values.b };
      expect(safetensors.serialize(reordered, { metadata: { format: 'pt', z: '1' } })).to.deep.equal(file);
      expect(safetensors.metadata(file)).to.deep.equal({ format: 'pt', z: '1' });
    });
  });

  it('round-trips every dtype, odd values, empty tensors and scalars', () => {
    scope(() => {
      const odd = [0, -0, 1, -1.5, 65504, 6e-8, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 1 / 3];
      const tensors: Record<string, Tensor> = {
        empty: zeros([0, 3]),
        scalar: tensor(2.5),
        'ünï💡': tensor([7], { dtype: 'int32' }),
      };
      for (const dtype of ['float32', 'float64', 'float16', 'bfloat16'] as const)
        tensors[dtype] = tensor(odd, { dtype });
      const back = safetensors.deserialize(safetensors.serialize(tensors));
      expect(Object.keys(back).sort()).to.deep.equal(Object.keys(tensors).sort());
      for (const [name, value] of Object.entries(tensors)) {
        expect(back[name]!.dtype).to.equal(value.dtype);
        expect(back[name]!.shape).to.deep.equal(value.shape);
        data(value).forEach((v, i) => {
          expect(Object.is(data(back[name]!)[i], v), `${name} ${i}`).to.equal(true);
        });
      }
    });
  });

  it('keeps all 65536 patterns of both 16-bit types', () => {
    scope(() => {
      for (const dtype of ['F16', 'BF16']) {
        const body = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer);
        const file = container({ x: { dtype, shape: [65536], data_offsets: [0, 131072] } }, body);
        const { x } = safetensors.deserialize(file);
        const again = safetensors.serialize({ x: x! });
        const bits = new Uint16Array(again.slice(again.length - 131072).buffer);
        const values = x!.dataSync();
        for (let i = 0; i < 65536; i++)
          if (bits[i] !== i && !Number.isNaN(values[i]!)) expect.fail(`${dtype} ${i} became ${bits[i]}`);
      }
    });
  });

  it('rounds to 16 bits to the nearest, ties to even', () => {
    const around = (value: number): number[] =>
      [value, value * (1 + 2 ** -23), value * (1 - 2 ** -24)].map(Math.fround);
    const values = [
      1 + 2 ** -11,
      1 + 3 * 2 ** -11,
      65504,
      65520,
      65519,
      2 ** -24,
      2 ** -25,
      3 * 2 ** -25,
      2 ** -14 - 2 ** -25,
      1e-40,
      3e38,
      3.4e38,
    ];
    for (const exact of [...values, 1 + 2 ** -8, 1 + 3 * 2 ** -8].flatMap(around).flatMap((v) => [v, -v])) {
      expect(halfValue(halfBits(exact)), `${exact} in float16`).to.equal(roundTo('float16', exact));
      expect(bfloatValue(bfloatBits(exact)), `${exact} in bfloat16`).to.equal(roundTo('bfloat16', exact));
    }
    expect([halfValue(halfBits(Number.NaN)), bfloatValue(bfloatBits(Number.NaN))]).to.deep.equal([
      Number.NaN,
      Number.NaN,
    ]);
  });

  it('reads integers of every width as int32, and refuses those that do not fit', () => {
    scope(() => {
      const one = (dtype: string, bytes: ArrayBuffer): Uint8Array =>
        container({ x: { dtype, shape: [2], data_offsets: [0, bytes.byteLength] } }, new Uint8Array(bytes));
      const files: [string, ArrayBuffer, number[]][] = [
        ['I64', BigInt64Array.of(-5n, 2147483647n).buffer, [-5, 2147483647]],
        ['U64', BigUint64Array.of(5n, 6n).buffer, [5, 6]],
        ['I32', Int32Array.of(-2147483648, 9).buffer, [-2147483648, 9]],
        ['U32', Uint32Array.of(3, 4).buffer, [3, 4]],
        ['I16', Int16Array.of(-3, 4).buffer, [-3, 4]],
        ['U16', Uint16Array.of(65535, 4).buffer, [65535, 4]],
        ['I8', Int8Array.of(-3, 4).buffer, [-3, 4]],
        ['U8', Uint8Array.of(255, 4).buffer, [255, 4]],
        ['BOOL', Uint8Array.of(1, 0).buffer, [1, 0]],
      ];
      for (const [dtype, bytes, want] of files) {
        const { x } = safetensors.deserialize(one(dtype, bytes));
        expect([x!.dtype, data(x!)], dtype).to.deep.equal(['int32', want]);
      }
      for (const [dtype, bytes] of [
        ['I64', BigInt64Array.of(0n, 2147483648n).buffer],
        ['U32', Uint32Array.of(0, 4294967295).buffer],
        ['I64', BigInt64Array.of(0n, 2n ** 60n).buffer],
      ] as const) {
        expect(() => safetensors.deserialize(one(dtype, bytes))).to.throw(
          FracstrideError,
          /tensor "x": integers must be within int32/,
        );
      }
    });
  });

  it("writes batch counters as PyTorch's int64, other integers as int32", () => {
    scope(() => {
      using m = new nn.Sequential(new nn.BatchNorm2d(2));
      const file = safetensors.serialize({ ...m.stateDict(), steps: tensor([1], { dtype: 'int32' }) });
      const length = Number(Buffer.from(file).readBigUInt64LE());
      const header = JSON.parse(Buffer.from(file.subarray(8, 8 + length)).toString());
      expect(header['0.num_batches_tracked']).to.deep.include({ dtype: 'I64', shape: [] });
      expect(header.steps.dtype).to.equal('I32');
      using n = new nn.Sequential(new nn.BatchNorm2d(2));
      nn.init.constant_(m.parameters()[0]!, 3);
      n.loadStateDict(safetensors.deserialize(safetensors.serialize(m.stateDict())));
      expect(data(n.parameters()[0]!)).to.deep.equal([3, 3]);
    });
  });

  it('saves and loads by path and by bytes, replacing files in one step', async () => {
    await inFolder(async (path) => {
      using x = tensor([1, 2, 3]);
      await safetensors.save(path('a.safetensors'), { x });
      await safetensors.save(path('a.safetensors'), { y: x });
      expect(await readdir(path('.'))).to.deep.equal(['a.safetensors']);
      for (const source of [path('a.safetensors'), await readFile(path('a.safetensors'))]) {
        const back = await safetensors.load(source, { device: 'cpu' });
        expect(data(back.y!)).to.deep.equal([1, 2, 3]);
        back.y!.dispose();
      }
    });
  });

  it('says why a path cannot be used, and leaves nothing behind', async () => {
    await inFolder(async (path) => {
      using x = tensor([1]);
      const failures = [
        () => safetensors.load(path('none')),
        () => safetensors.load(path('.')),
        () => safetensors.save(path('no/such/folder'), { x }),
        () => safetensors.save(path('.'), { x }),
        () => safetensors.load('a\0b'),
        () => safetensors.load(''),
        () => safetensors.load(null as never),
        () => safetensors.save(3 as never, { x }),
      ];
      for (const fail of failures) {
        const error = await fail().then(
          () => null,
          (e: unknown) => e,
        );
        expect(error).to.be.instanceOf(FracstrideError);
        expect((error as FracstrideError).message).to.match(/^safetensors: (path|file) must be /);
      }
      expect(await readdir(path('.'))).to.deep.equal([]);
    });
  });

  it('refuses files that are not what they say', () => {
    const entry = { dtype: 'F32', shape: [2], data_offsets: [0, 8] };
    const cases: [Uint8Array, RegExp][] = [
      [new Uint8Array(0), /file must be at least 8 bytes long, got 0/],
      [Buffer.from('{}'), /at least 8 bytes/],
      [container({ x: entry }, 8, 2n ** 63n), /header length must be at most/],
      [container({ x: entry }, 8, 2n ** 64n - 1n), /header length must be at most/],
      [container('{}', 0, 3), /header length/],
      [container('', 0), /header must be JSON/],
      [container('[1,2]'), /header must be a JSON object/],
      [container('null'), /header must be a JSON object/],
      [container('{"a": NaN}'), /header must be JSON/],
      [container(`${'['.repeat(100000)}`), /header must be/],
      [Buffer.concat([container('{}', 0, 3), Buffer.from([0xff])]), /header must be JSON in UTF-8/],
      [container({ x: 3 }), /entry of tensor "x"/],
      [container({ x: null }), /entry of tensor "x"/],
      [container({ x: { ...entry, dtype: 'F4' } }, 8), /dtype of tensor "x" must be one of/],
      [container({ x: { ...entry, dtype: 'constructor' } }, 8), /dtype of tensor "x" must be one of/],
      [container({ x: { ...entry, shape: [-2] } }, 8), /shape of tensor "x"/],
      [container({ x: { ...entry, shape: [1.5] } }, 8), /shape of tensor "x"/],
      [container({ x: { ...entry, shape: '2' } }, 8), /shape of tensor "x"/],
      [container('{"x":{"dtype":"F32","shape":[1e400],"data_offsets":[0,8]}}', 8), /shape of tensor "x"/],
      [container({ x: { ...entry, shape: [2 ** 52, 2 ** 52] } }, 8), /data of tensor "x" must be/],
      [container({ x: { ...entry, data_offsets: [0, 4] } }, 8), /data of tensor "x" must be 8 bytes long/],
      [container({ x: { ...entry, data_offsets: [8, 0] } }, 8), /data_offsets of tensor "x"/],
      [container({ x: { ...entry, data_offsets: [0, 8, 8] } }, 8), /data_offsets/],
      [container({ x: { ...entry, data_offsets: [0, 16] } }, 8), /data_offsets/],
      [container({ x: { ...entry, data_offsets: [-8, 0] } }, 8), /data_offsets/],
      [container({ x: entry }, 16), /data must be as long as its tensors, 8 bytes, got 16/],
      [
        container({ x: { ...entry, data_offsets: [8, 16] } }, 16),
        /data of tensor "x" must be where the tensor before it ends/,
      ],
      [container({ x: entry, y: { ...entry, data_offsets: [4, 12] } }, 12), /data of tensor "y" must be where/],
      [container({ x: entry, y: entry }, 8), /data of tensor "y" must be where/],
      [container({ __metadata__: { a: 1 } }), /metadata "a" must be a string/],
      [container({ __metadata__: [] }), /metadata must be an object/],
    ];
    const before = memory().cpu!.live;
    for (const [file, sentence] of cases) {
      expect(() => safetensors.deserialize(file), String(sentence))
        .to.throw(FracstrideError, sentence)
        .with.property('code', 'ERR_ARGUMENT');
    }
    expect(() => safetensors.deserialize('x' as never)).to.throw(FracstrideError, /file must be a Uint8Array/);
    expect(() => safetensors.deserialize(container({}), { devise: 'cpu' } as never)).to.throw(
      FracstrideError,
      /devise/,
    );
    expect(memory().cpu!.live).to.equal(before);
  });

  it('takes any name for a tensor, also those of object properties', () => {
    scope(() => {
      const names = ['__proto__', 'constructor', '', '1', 'a.b', '\u0000'];
      const file = safetensors.serialize(new Map(names.map((name, i) => [name, tensor([i])])));
      const back = safetensors.deserialize(file);
      for (const [i, name] of names.entries())
        expect(data(Object.getOwnPropertyDescriptor(back, name)!.value)).to.deep.equal([i]);
    });
  });

  it('refuses to write what is no tensor, or would not be read back', () => {
    scope(() => {
      const x = tensor([1]);
      const refused: [() => unknown, RegExp][] = [
        [() => safetensors.serialize({ x: [1] as never }), /"x" must be a tensor/],
        [() => safetensors.serialize(null as never), /tensors must be an object/],
        [() => safetensors.serialize({ __metadata__: x }), /name of a tensor must be other than __metadata__/],
        [() => safetensors.serialize({ x }, { metadata: { a: 1 as never } }), /metadata "a" must be a string/],
        [() => safetensors.serialize({ x }, { meta: {} } as never), /meta/],
      ];
      for (const [fn, sentence] of refused) expect(fn).to.throw(FracstrideError, sentence);
    });
  });
});

describe('damaged files', () => {
  it('are read or refused', () => {
    const files = scope(() => {
      const a = tensor([[1, 2, 3]]);
      const b = tensor([3], { dtype: 'float64' });
      const state = safetensors.serialize({ a, b }, { metadata: { k: 'v' } });
      return {
        state,
        array: npy.serialize(a),
        picture: png.serialize(
          tensor([
            [
              [0, 1],
              [0.5, 0.2],
            ],
          ]),
        ),
      };
    });
    expectSurvival(files.state, (bytes) => Object.values(safetensors.deserialize(bytes)));
    expectSurvival(files.array, (bytes) => [npy.deserialize(bytes)]);
    expectSurvival(files.picture, (bytes) => [png.deserialize(bytes)]);
  });
});

describe('io.npy', () => {
  it('writes the very bytes NumPy writes', () => {
    scope(() => {
      const file = Buffer.from(
        npy.serialize(
          tensor([
            [1, 2, 3],
            [4, 5, 6],
          ]),
        ),
      );
      // numpy.save of numpy.arange(1, 7, dtype='float32').reshape(2, 3)
      const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".padEnd(117) + '\n';
      expect(file.subarray(0, 10).toString('hex')).to.equal('934e554d505901007600');
      expect(file.subarray(10, 128).toString('latin1')).to.equal(header);
      expect(Array.from(new Float32Array(Uint8Array.from(file.subarray(128)).buffer))).to.deep.equal([
        1, 2, 3, 4, 5, 6,
      ]);
    });
  });

  it('round-trips dtypes and shapes; bfloat16 goes as float32', async () => {
    await inFolder(async (path) => {
      for (const dtype of ['float32', 'float64', 'float16', 'bfloat16', 'int32'] as const) {
        for (const shape of [[], [6], [1, 2, 3], [0, 4]]) {
          const count = shape.reduce((a, b) => a * b, 1);
          using x = tensor(
            Float32Array.from({ length: count }, (_, i) => i - 2),
            { shape, dtype },
          );
          await npy.save(path('x.npy'), x);
          using y = await npy.load(path('x.npy'));
          expect([y.dtype, y.shape, data(y)]).to.deep.equal([dtype === 'bfloat16' ? 'float32' : dtype, shape, data(x)]);
        }
      }
    });
  });

  const file = (descr: string, order: string, shape: string, bytes: Uint8Array, version = 1): Uint8Array => {
    const text = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': ${shape}, }\n`;
    const head = Buffer.alloc(version === 1 ? 10 : 12);
    head.write('\x93NUMPY', 'latin1');
    head[6] = version;
    if (version === 1) head.writeUInt16LE(text.length, 8);
    else head.writeUInt32LE(text.length, 8);
    return Buffer.concat([head, Buffer.from(text), bytes]);
  };

  it('reads Fortran order, big-endian bytes, every integer and later versions', () => {
    scope(() => {
      const column = file('<f8', 'True', '(2, 3)', new Uint8Array(Float64Array.of(1, 4, 2, 5, 3, 6).buffer), 2);
      expect(npy.deserialize(column).toArray()).to.deep.equal([
        [1, 2, 3],
        [4, 5, 6],
      ]);
      expect(data(npy.deserialize(file('>i2', 'False', '(2,)', Uint8Array.of(0, 7, 255, 254), 3)))).to.deep.equal([
        7, -2,
      ]);
      expect(data(npy.deserialize(file('|u1', 'False', '(2,)', Uint8Array.of(0, 255))))).to.deep.equal([0, 255]);
      expect(
        data(npy.deserialize(file('<i8', 'False', '()', new Uint8Array(BigInt64Array.of(-9n).buffer)))),
      ).to.deep.equal([-9]);
    });
  });

  it('refuses what is no array of numbers', () => {
    const body = new Uint8Array(8);
    const cases: [Uint8Array, RegExp][] = [
      [new Uint8Array(3), /file must be begun/],
      [Buffer.from('\x93NUMPX\x01\x00aaaaaa', 'latin1'), /begun by/],
      [file('<f4', 'False', '(2,)', body, 9), /format version/],
      [file('<f4', 'False', '(3,)', body), /data must be 12 bytes long/],
      [file('<c8', 'False', '(1,)', body), /descr/],
      [file('O', 'False', '(1,)', body), /descr/],
      [file('<f4', 'Maybe', '(2,)', body), /header must be a dictionary/],
      [file('<f4', 'False', "(__import__('os'),)", body), /header must be a dictionary/],
      [file('<f4', 'False', '(1 2,)', body), /shape/],
      [file('<f4', 'False', '(99999999999999999999,)', body), /shape/],
      [file('<f4', 'False', '(2,)', body).subarray(0, 30), /header length/],
    ];
    for (const [bytes, sentence] of cases)
      expect(() => npy.deserialize(bytes), String(sentence)).to.throw(FracstrideError, sentence);
    expect(() => npy.serialize([1] as never)).to.throw(FracstrideError, /tensor/);
  });
});

describe('io.png', () => {
  it('round-trips pictures of 1 to 4 channels, to the nearest of 256 levels', async () => {
    await inFolder(async (path) => {
      for (const channels of [1, 2, 3, 4]) {
        const values = Float32Array.from({ length: channels * 6 }, (_, i) => ((i * 37) % 256) / 255);
        using x = tensor(values, { shape: [channels, 2, 3] });
        await png.save(path('x.png'), x);
        using y = await png.load(path('x.png'));
        expect(y.shape).to.deep.equal([channels, 2, 3]);
        expect(data(y)).to.deep.equal(Array.from(values));
      }
    });
  });

  it('clamps, takes a batch of one, and refuses other shapes', () => {
    scope(() => {
      const y = png.deserialize(png.serialize(tensor([[[[-1, 0.5, 2, Number.NaN]]]])));
      expect(data(y).map((v) => Math.round(v * 255))).to.deep.equal([0, 128, 255, 0]);
      for (const shape of [
        [2, 2],
        [5, 2, 2],
        [2, 3, 4, 4],
        [3, 0, 2],
      ]) {
        expect(() => png.serialize(zeros(shape))).to.throw(FracstrideError, /picture must be of shape \[C, H, W\]/);
      }
      expect(() => png.deserialize(Buffer.from('no picture'))).to.throw(FracstrideError, /file must be a PNG picture/);
      expect(() => png.serialize(3 as never)).to.throw(FracstrideError, /picture must be a tensor/);
    });
  });

  it('reads palettes and samples of less than a byte', () => {
    scope(() => {
      // A 2×2 picture of two bits a sample and the palette black, red, green, white.
      const text =
        'iVBORw0KGgoAAAANSUhEUgAAAAIAAAACAgMAAAAP2OW3AAAADFBMVEUAAAD/AAAA/wD///+2fNpDAAAADElEQVR4nGMQYNgAAADkAMEnqOhXAAAAAElFTkSuQmCC';
      const y = png.deserialize(Buffer.from(text, 'base64'));
      expect(y.toArray()).to.deep.equal([
        [
          [0, 1],
          [0, 1],
        ],
        [
          [0, 0],
          [1, 1],
        ],
        [
          [0, 0],
          [0, 1],
        ],
      ]);
    });
  });
});
