/** What moves and makes numbers: casts, layouts, views that are copied, constants, random numbers. */

import { arange, full, rand, randn, tensor } from '../create.js';
import { ALL_DTYPES, type Dtype, type FloatDtype } from '../dtype.js';
import { lastKernel } from '../kernels.js';
import { pad } from '../nn/functional.js';
import { cat } from '../ops/join.js';
import { manualSeed } from '../random.js';
import type { Layout } from '../shape.js';
import type { Tensor } from '../tensor.js';
import type { Check, Place } from './check.js';
import { input } from './inputs.js';
import { noise } from './numbers.js';
import { philox } from './philox.js';
import { afterRoundings, none } from './rounded.js';
import { roundTo } from './rounding.js';

/** What int32 holds of a number: its nearest end, or the whole part. */
const asInteger = (value: number): number =>
  Number.isNaN(value) ? 0 : Math.trunc(Math.min(Math.max(value, -(2 ** 31)), 2 ** 31 - 1)) + 0;

const asType = (dtype: Dtype, value: number): number => (dtype === 'int32' ? asInteger(value) : roundTo(dtype, value));

/** The row's own type to every other, and from int32. */
export const CASTS: readonly Check[] = [
  ...ALL_DTYPES.map((to) => castCheck(`to ${to}`, (own) => [own, to])),
  castCheck('from int32', (own) => ['int32', own]),
];

function castCheck(operation: string, types: (own: FloatDtype) => readonly [from: Dtype, to: Dtype]): Check {
  const facts = { operation, problem: 'noise and ends of ranges', layout: null };
  return {
    ...facts,
    run: ({ device, dtype }, tell) => {
      const [from, to] = types(dtype);
      if (from === to) return;
      const numbers = [0, -0, 1, -1, 65504, 65520, 1e-7, 3e9, -3e9, 2 ** -24, ...noise(200, 6, -300, 300)];
      const values = numbers.map((value) => asType(from, value));
      const y = tensor(values, { device, dtype: from }).to({ dtype: to });
      const kernel = lastKernel();
      const exact = values.map((value) => asType(to, value));
      tell({ ...facts, kernel, shape: y.shape, got: y.dataSync(), exact, allowed: none });
    },
  };
}

/** What a view holds, by the flat index of each of its elements in the input. */
interface Moved {
  readonly operation: string;
  readonly shape: readonly number[];
  readonly layout?: Layout;
  readonly move: (x: Tensor) => Tensor;
  readonly from: (i: number) => number;
}

const MOVES: readonly Moved[] = [
  {
    operation: 'permute and contiguous',
    shape: [3, 40, 35],
    move: (x) => x.permute([0, 2, 1]).contiguous(),
    from: (i) => Math.floor(i / 1400) * 1400 + (i % 40) * 35 + (Math.floor(i / 40) % 35),
  },
  {
    operation: 'narrow and clone',
    shape: [6, 7],
    move: (x) => x.narrow(1, 2, 4).clone().contiguous(),
    from: (i) => Math.floor(i / 4) * 7 + 2 + (i % 4),
  },
  { operation: 'cat', shape: [2, 9], move: (x) => cat([x, x], 0), from: (i) => i % 18 },
  {
    operation: 'pad reflect',
    shape: [1, 1, 4, 5],
    move: (x) => pad(x, [2, 1], { mode: 'reflect' }),
    from: (i) => Math.floor(i / 8) * 5 + [2, 1, 0, 1, 2, 3, 4, 3][i % 8]!,
  },
  {
    operation: 'to channels last',
    shape: [2, 5, 40, 7],
    layout: 'nhwc',
    move: (x) => x.to({ layout: 'nhwc' }),
    from: (i) => i,
  },
  {
    operation: 'from channels last',
    shape: [2, 33, 8, 9],
    layout: 'nchw',
    move: (x) => x.to({ layout: 'nhwc' }).mul(1).to({ layout: 'nchw' }),
    from: (i) => i,
  },
];

export const LAYOUTS: readonly Check[] = MOVES.map(({ operation, shape, layout, move, from }) => {
  const facts = { operation, problem: `[${shape}]`, layout: layout ?? null };
  return {
    ...facts,
    run: (place, tell) => {
      const x = input(place, shape, 7);
      const y = move(x.tensor);
      const kernel = lastKernel();
      const got = y.dataSync();
      const exact = Array.from(got, (_, i) => x.values[from(i)]!);
      tell({ ...facts, kernel, shape: y.shape, got, exact, allowed: none });
    },
  };
});

const SEED = 0x1_2345_6789;
const COUNT = 1003;

/** The words of a number: Philox4x32-10 gives four a counter, and four more where 32 bits are not enough. */
const words = (i: number, word = i % 4): [high: number, low: number] => {
  const [high, low] = [0, 1].map((third) => philox(SEED, Math.floor(i / 4), third)[word]!);
  return [high!, low!];
};

function uniform(dtype: FloatDtype, i: number): number {
  const [high, low] = words(i);
  if (dtype === 'float64') return high * 2 ** -32 + Math.floor(low / 2 ** 11) * 2 ** -53;
  const bits = dtype === 'float32' ? 24 : dtype === 'float16' ? 11 : 8;
  return Math.floor(high / 2 ** (32 - bits)) * 2 ** -bits;
}

/** By the method of Box and Muller. */
function normal(dtype: FloatDtype, i: number): number {
  const unit = (word: number): number => {
    const [high, low] = words(i, word);
    if (dtype === 'float64') return (high * 2 ** 21 + Math.floor(low / 2 ** 11) + 0.5) * 2 ** -53;
    return (high + 0.5) * 2 ** -32;
  };
  const pair = (i % 4) - (i % 2);
  const angle = 2 * Math.PI * unit(pair + 1);
  return Math.sqrt(-2 * Math.log(unit(pair))) * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
}

interface Made {
  readonly operation: string;
  readonly make: (place: Place) => Tensor;
  readonly exact: (place: Place, i: number) => number;
  /** Roundings of the kernel's arithmetic relative to the size of what goes into it. */
  readonly roundings?: number;
}

const MADE: readonly Made[] = [
  {
    operation: 'full',
    make: (place) => full([COUNT], 1.2345, place),
    exact: ({ dtype }) => roundTo(dtype, 1.2345),
  },
  { operation: 'arange', make: (place) => arange(-3, 28, 0.25, place), exact: (_, i) => -3 + i / 4 },
  {
    operation: 'rand',
    make: (place) => seeded(() => rand([COUNT], place)),
    exact: ({ dtype }, i) => uniform(dtype, i),
  },
  {
    operation: 'randn',
    make: (place) => seeded(() => randn([COUNT], place)),
    exact: ({ dtype }, i) => normal(dtype, i),
    roundings: 64,
  },
];

function seeded(make: () => Tensor): Tensor {
  manualSeed(SEED);
  return make();
}

export const CREATIONS: readonly Check[] = MADE.map(({ operation, make, exact: value, roundings = 0 }) => {
  const facts = { operation, problem: `${COUNT} elements`, layout: null };
  return {
    ...facts,
    run: (place, tell) => {
      const { dtype } = place;
      const y = make(place);
      const kernel = lastKernel();
      const got = y.dataSync();
      const exact = Array.from(got, (_, i) => value(place, i));
      const size = (i: number): number => Math.max(1, Math.abs(exact[i]!));
      const allowed = roundings === 0 ? none : afterRoundings({ dtype, stored: 1, computed: roundings, size });
      tell({ ...facts, kernel, shape: y.shape, got, exact, allowed });
    },
  };
});
