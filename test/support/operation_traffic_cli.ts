/** What element-wise kernels move and execute, as the simulator counts it (count=1): one launch a row. Prints JSON. */

import { operationGeometry } from '../../codegen/cuda_operations.js';
import { argumentsOf } from '../../codegen/kernel.js';
import type { StorageType } from '../../codegen/operations.js';
import { allDevices, synchronize, targetOf } from '../../src/device.js';
import { loadKernel } from '../../src/images.js';
import { native } from '../../src/native.js';
import { BYTES, dense, strided } from './kernels.js';
import { type KernelCounters, simulatorControl } from './simulator_control.js';

interface Launch {
  readonly operation: string;
  readonly type: StorageType;
  readonly shape: readonly number[];
  /** Out first. */
  readonly strides: readonly (readonly number[])[];
}

/** Of one launch: sectors of 32 bytes that were moved and that the tensors have, instructions of warps. */
export interface Traffic {
  readonly title: string;
  readonly loads: number;
  readonly leastLoads: number;
  readonly stores: number;
  readonly leastStores: number;
  readonly wavefronts: number;
  readonly leastWavefronts: number;
  /** Instructions a thread executes for each element of the output. */
  readonly instructions: number;
}

const N = 1 << 18;
const IMAGES = [16, 64, 256] as const;
const [n, c, hw] = IMAGES;

const LAUNCHES: Readonly<Record<string, Launch>> = {
  'dense add': { operation: 'add', type: 'f32', shape: [N], strides: [[1], [1], [1]] },
  'dense relu of halves': { operation: 'relu', type: 'f16', shape: [N], strides: [[1], [1]] },
  'bias of NCHW': {
    operation: 'add',
    type: 'f32',
    shape: [n, c, hw],
    strides: [dense([n, c, hw]), dense([n, c, hw]), [0, 1, 0]],
  },
  'bias of NHWC': {
    operation: 'add',
    type: 'f32',
    shape: [n * hw, c],
    strides: [
      [c, 1],
      [c, 1],
      [0, 1],
    ],
  },
  'dense copy': { operation: 'copy', type: 'f32', shape: [N], strides: [[1], [1]] },
  'NCHW to NHWC': { operation: 'copy', type: 'f32', shape: [n, hw, c], strides: [dense([n, hw, c]), [c * hw, 1, hw]] },
  'NHWC to NCHW': { operation: 'copy', type: 'f32', shape: [n, c, hw], strides: [dense([n, c, hw]), [c * hw, 1, c]] },
  'NHWC to NCHW, three channels': {
    operation: 'copy',
    type: 'f32',
    shape: [n, 3, 4096],
    strides: [dense([n, 3, 4096]), [3 * 4096, 1, 3]],
  },
};

type Counters = Readonly<Record<string, number>>;

const counter = (counted: KernelCounters, group: string, what: string) => (counted[group] as Counters)[what]!;

function measure(title: string, { operation, type, shape, strides }: Launch): Traffic {
  const addon = native();
  const control = simulatorControl();
  const device = allDevices()[1]!;
  const spec = { operation, type, target: targetOf(device) };
  const { name, handle } = loadKernel(device, spec);
  const names = ['out', 'x0', 'x1'].slice(0, strides.length);
  const scalars = strided(shape, Object.fromEntries(names.map((key, i) => [key, strides[i]!])));
  const elements = strides.map((steps) => shape.reduce((last, size, d) => last + (size - 1) * steps[d]!, 1));
  const args = argumentsOf(spec);
  const numbers = args.filter(({ kind }) => kind !== 'p').map((arg) => scalars[arg.name]!);
  const bytes = elements.map((count) => count * BYTES[type]);
  const buffers = bytes.map((size) => addon.alloc(device.index, size));
  for (const [i, buffer] of buffers.entries()) {
    addon.copyIn(device.index, buffer, 0, new Uint8Array(bytes[i]!));
    addon.args.set([buffer, 0, bytes[i]!], 3 * i);
  }
  addon.args.set(numbers, 3 * buffers.length);
  const { grid, block, sharedBytes } = operationGeometry(operation, type, numbers);
  addon.grid.set([...grid, ...block, sharedBytes]);
  synchronize(device);
  control.counters({ reset: true });
  addon.launch(device.index, handle);
  synchronize(device);
  const counted = control.counters({ reset: true })[name]!;
  for (const buffer of buffers) addon.free(device.index, buffer);
  const count = shape.reduce((a, b) => a * b, 1);
  const executed = Object.values(counted.threadInstructions as Counters).reduce((a, b) => a + b, 0);
  const shared = (what: string) => counter(counted, 'sharedLoads', what) + counter(counted, 'sharedStores', what);
  return {
    title,
    loads: counter(counted, 'globalLoads', 'sectors'),
    leastLoads: bytes.slice(1).reduce((sum, size) => sum + Math.ceil(size / 32), 0),
    stores: counter(counted, 'globalStores', 'sectors'),
    leastStores: Math.ceil(bytes[0]! / 32),
    wavefronts: shared('wavefronts'),
    leastWavefronts: shared('leastWavefronts'),
    instructions: executed / count,
  };
}

process.stdout.write(`${JSON.stringify(Object.entries(LAUNCHES).map(([title, launch]) => measure(title, launch)))}\n`);
