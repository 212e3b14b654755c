/**
 * `node faults_cli.js SCENARIO`: a process on the simulator to which one thing happens. Prints, as one line of JSON, the
 * errors that came of it, live bytes before and after, and whether the process could go on.
 */

import { cuda, memory, nn, ones, rand, type Tensor, zeros } from 'fracstride';
import { noteErrors } from './attempts.js';
import { type SimulatorControl, simulatorControl } from './simulator_control.js';

export interface FaultSummary {
  /** `<code> <sentence>` of each error, in order. */
  readonly errors: readonly string[];
  readonly liveBefore: number;
  readonly liveAfter: number;
  /** Whether the GPU and the CPU computed the right result afterwards. */
  readonly cudaGoesOn: boolean;
  readonly cpuGoesOn: boolean;
  readonly notes: Readonly<Record<string, unknown>>;
}

const { errors, attempt } = noteErrors();
const notes: Record<string, unknown> = {};

const live = () => memory()['cuda:0']?.live ?? 0;

/** Σ of a transposed convolution of ones: 4 taps reach every inner output of a 4×4 kernel with stride 2. */
function sums(device: string): Tensor {
  const x = ones([1, 2, 3, 3], { device });
  const weight = ones([2, 1, 4, 4], { device });
  const y = nn.functional.convTranspose2d(x, weight, null, { stride: 2, padding: 1 });
  for (const t of [x, weight]) t.dispose();
  return y;
}

function works(device: string): boolean {
  try {
    const y = sums(device);
    const values = y.dataSync();
    y.dispose();
    return values[7] === 8;
  } catch (error) {
    notes[`${device} afterwards`] = String(error);
    return false;
  }
}

type Scenario = (simulator: SimulatorControl) => Promise<void>;

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  /** One allocation fails: what is cached is given back, and the second try succeeds. */
  'out of memory once': async (simulator) => {
    zeros([1 << 20], { device: 'cuda' }).dispose();
    simulator.fault('oom@1');
    await attempt(() => zeros([3 << 20], { device: 'cuda' }).dispose());
  },
  'out of memory': async () => {
    const kept = zeros([8 << 20], { device: 'cuda' });
    await attempt(() => zeros([64 << 20], { device: 'cuda' }));
    kept.dispose();
  },
  'a limit': async () => {
    cuda.setMemoryLimit(1 << 20);
    await attempt(() => zeros([1 << 20], { device: 'cuda' }));
    cuda.setMemoryLimit(0);
  },
  'no pinned memory': async (simulator) => {
    cuda.emptyCache();
    simulator.fault('host_oom@1');
    const values = Float32Array.from({ length: 100_000 }, (_, i) => i);
    const { tensor } = await import('fracstride');
    const t = tensor(values, { device: 'cuda' });
    notes.equal = ((await t.data()) as Float32Array).every((value, i) => value === values[i]);
    t.dispose();
  },
  'a launch is refused': async (simulator) => {
    simulator.fault('launch_error@1');
    await attempt(() => sums('cuda'));
  },
  'a module does not load': async (simulator) => {
    simulator.fault('load@1');
    await attempt(() => rand([5], { device: 'cuda', dtype: 'float64' }));
  },
  'a kernel fails while it runs': async (simulator) => {
    simulator.fault('launch@1');
    const x = ones([4], { device: 'cuda' });
    await attempt(() => x.data());
    await attempt(() => x.data());
    await attempt(() => zeros([4], { device: 'cuda' }));
    await attempt(() => cuda.synchronize());
    x.dispose();
  },
  'a copy fails while it runs': async (simulator) => {
    const x = ones([4], { device: 'cuda' });
    cuda.synchronize();
    simulator.fault('copy@1');
    await attempt(() => x.data());
    await attempt(() => x.dataSync());
    x.dispose();
  },
  'the device is lost': async (simulator) => {
    const x = ones([4], { device: 'cuda' });
    simulator.fault('lost');
    await attempt(() => x.add(x));
    await attempt(() => x.dataSync());
    await attempt(() => x.data());
    x.dispose();
  },
  'a slow copy': async (simulator) => {
    const x = ones([4], { device: 'cuda' });
    cuda.synchronize();
    simulator.fault('slow_copy=1000ms');
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    const started = performance.now();
    await x.data();
    notes.waited = performance.now() - started;
    clearInterval(timer);
    notes.ticks = ticks;
    x.dispose();
  },
  'nothing happens': async () => {
    notes.arch = cuda.getDeviceProperties().arch;
  },
};

const scenario = SCENARIOS[process.argv[2] ?? ''];
if (scenario === undefined) throw new Error(`scenario must be one of ${Object.keys(SCENARIOS).join(', ')}`);
const simulator = simulatorControl();
if (process.argv[2] !== 'nothing happens') works('cuda');
const liveBefore = live();
await scenario(simulator);
simulator.fault('clear');
const summary = {
  errors,
  liveBefore,
  liveAfter: live(),
  cudaGoesOn: works('cuda'),
  cpuGoesOn: works('cpu'),
  notes,
};
console.log(JSON.stringify(summary satisfies FaultSummary));
