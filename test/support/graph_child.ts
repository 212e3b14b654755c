/** Graphs on the driver that FRACSTRIDE_LIBCUDA names; prints what happened as one line of JSON. */

import {
  cuda,
  manualSeed,
  memory,
  nn,
  optim,
  rand,
  randn,
  scope,
  type Tensor,
  tensor,
  zeros,
} from '../../src/index.js';
import { REAL_DEVICE } from './simulated.js';
import { simulatorControl } from './simulator_control.js';

const CUDA = { device: 'cuda' } as const;
/** A real driver counts no launches. */
const control = REAL_DEVICE ? null : simulatorControl();
const live = (): number => memory()['cuda:0']!.live;
const kept = (): number => memory()['cuda:0']!.graphs;

/** What a call throws, and the live bytes it leaves behind. */
function refusal(
  fn: () => unknown,
  options: { device?: string } = CUDA,
): { code: string; message: string; left: number } {
  const before = live();
  try {
    cuda.graph(fn, options);
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return { code, message, left: live() - before };
  }
  throw new Error(`${fn} must be refused`);
}

function launches(): number {
  return Object.values(control?.counters({ reset: true }) ?? {}).reduce((sum, kernel) => sum + kernel.launches, 0);
}

function makeTraining(): { step: () => Tensor; pictures: Tensor; state: () => number[][]; dispose: () => void } {
  manualSeed(3);
  const model = new nn.Sequential(
    new nn.Conv2d(3, 4, 4, { stride: 2, padding: 1, ...CUDA }),
    new nn.BatchNorm2d(4, CUDA),
    new nn.LeakyReLU(0.2),
    new nn.ConvTranspose2d(4, 3, 4, { stride: 2, padding: 1, ...CUDA }),
    new nn.Sigmoid(),
  );
  const optimizer = new optim.Adam(model.parameters(), { lr: 1e-2, capturable: true });
  const pictures = rand([2, 3, 8, 8], CUDA);
  const tensors = () => Object.values(model.stateDict()) as Tensor[];
  return {
    pictures,
    step: () =>
      scope(() => {
        const loss = new nn.MSELoss().forward(model.forward(pictures), pictures);
        optimizer.zeroGrad();
        loss.backward();
        optimizer.step();
        return loss;
      }),
    state: () => tensors().map((t) => Array.from(t.dataSync())),
    dispose: () => {
      optimizer.zeroGrad();
      optimizer.dispose();
      for (const t of [pictures, ...tensors()]) t.dispose();
    },
  };
}

const WARM = 2;
const STEPS = 6;

async function training(recorded: boolean): Promise<{ losses: number[]; state: number[][]; launches: number[] }> {
  const run = makeTraining();
  const losses: number[] = [];
  const counts: number[] = [];
  const eager = recorded ? WARM : STEPS;
  for (let i = 0; i < eager; i++) {
    launches();
    const loss = run.step();
    losses.push(loss.item());
    loss.dispose();
    counts.push(launches());
  }
  if (recorded) {
    const graph = cuda.graph(() => run.step());
    counts.push(launches());
    for (let i = WARM; i < STEPS; i++) {
      graph.replay();
      losses.push((await graph.outputs.data())[0]!);
      counts.push(launches());
    }
    graph.outputs.dispose();
    graph.dispose();
  }
  const state = run.state();
  run.dispose();
  return { losses, state, launches: counts };
}

async function inputs(): Promise<{ values: number[][]; escaped: number[]; dead: string; kept: number[] }> {
  const x = tensor([1, 2, 3], CUDA);
  const total = zeros([3], CUDA);
  const held = [kept()];
  const graph = cuda.graph(() => {
    const y = x.mul(2);
    total.copy_(total.add(y));
    return { y, twice: [y.add(y)] };
  });
  held.push(kept());
  const values: number[][] = [];
  for (const first of [1, 10, 100]) {
    const next = tensor([first, first + 1, first + 2], CUDA);
    x.copy_(next);
    next.dispose();
    graph.replay();
    // What comes afterwards must not meet the graph's memory.
    const other = zeros([3], CUDA);
    const [y, twice] = await Promise.all([graph.outputs.y.data(), graph.outputs.twice[0]!.data()]);
    values.push(Array.from(y), Array.from(twice), Array.from(other.dataSync()));
    other.dispose();
  }
  values.push(Array.from(total.dataSync()));
  const { y, twice } = graph.outputs;
  graph.dispose();
  graph.dispose();
  held.push(kept());
  const escaped = Array.from(y.dataSync());
  let dead = '';
  try {
    graph.replay();
  } catch (error) {
    dead = (error as { code: string }).code;
  }
  for (const t of [x, total, y, ...twice]) t.dispose();
  return { values, escaped, dead, kept: held };
}

function refusals(): Record<string, ReturnType<typeof refusal>> {
  const x = tensor([1, 2], CUDA);
  const parameter = randn([2], { ...CUDA, requiresGrad: true });
  const fresh = new optim.Adam([parameter], { capturable: true });
  const plain = new optim.Adam([parameter]);
  const update = (optimizer: optim.Adam) => () => {
    parameter.mul(2).sum().backward();
    optimizer.step();
  };
  const result = {
    read: refusal(() => x.add(1).dataSync()),
    item: refusal(() => x.sum().item()),
    upload: refusal(() => x.add(tensor([1, 2], CUDA))),
    random: refusal(() => x.add(randn([2], CUDA))),
    wait: refusal(() => cuda.synchronize()),
    nested: refusal(() => cuda.graph(() => x.add(1))),
    async: refusal(async () => x.add(1)),
    thrown: refusal(() => {
      x.add(1).mul(2);
      throw Object.assign(new Error('of the user'), { code: 'MINE' });
    }),
    cpu: refusal(() => 1, { device: 'cpu' }),
    elsewhere: refusal(() => zeros([2], { device: 'cpu' })),
    noFunction: refusal(null as unknown as () => void),
  };
  const before = live();
  const steps = [fresh, plain].map((optimizer) => {
    const { code, message } = refusal(update(optimizer));
    parameter.grad = null;
    return { code, message, left: live() - before };
  });
  for (const t of [x, parameter]) t.dispose();
  for (const optimizer of [fresh, plain]) optimizer.dispose();
  return { ...result, newState: steps[0]!, hostCount: steps[1]! };
}

const before = live();
const eager = await training(false);
const replayed = await training(true);
const report = { eager, replayed, inputs: await inputs(), refusals: refusals(), left: 0 };
report.left = live() - before;
console.log(JSON.stringify(report));
