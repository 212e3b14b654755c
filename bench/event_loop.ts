/**
 * How long the event loop is kept from its timers while a model trains: percentiles of the delay of a timer that wants
 * to fire every millisecond, in steps that await the loss (`data`) and in steps that wait for it (`dataSync`).
 *
 * usage: node dist/bench/event_loop.js [--device cpu|cuda] [--steps N] [--batch N] [--store]
 * One row a device and way of reading. Devices: the CPU, and CUDA where it is available (FRACSTRIDE_LIBCUDA names its
 * driver library).
 */

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { cuda, manualSeed, nn, optim, rand, scope, type Tensor } from 'fracstride';
import { commandLine, isCount, STORE } from './command_line.js';
import { report } from './row.js';

const options = commandLine('bench:event-loop', {
  device: { about: 'cpu, cuda or cuda:N (default: the CPU and CUDA where it runs)', value: '<device>' },
  steps: { about: 'steps that are measured', value: '<count>', default: '40', check: isCount },
  batch: { about: 'images of a step', value: '<count>', default: '16', check: isCount },
  store: STORE,
});
const [steps, batch] = [Number(options.steps), Number(options.batch)];
const WARM = 3;

for (const device of options.device === undefined
  ? ['cpu', ...(cuda.isAvailable() ? ['cuda'] : [])]
  : [options.device]) {
  for (const read of ['data', 'dataSync'] as const) report('event_loop', await measure(device, read));
}

async function measure(device: string, read: 'data' | 'dataSync'): Promise<Record<string, unknown>> {
  manualSeed(1);
  const model = autoencoder(device);
  const pictures = rand([batch, 3, 64, 64], { device });
  const optimizer = new optim.Adam(model.parameters(), { lr: 1e-3 });
  const step = (): Promise<unknown> =>
    scope(async () => {
      const loss = new nn.MSELoss().forward(model.forward(pictures), pictures);
      optimizer.zeroGrad();
      loss.backward();
      optimizer.step();
      return read === 'data' ? loss.data() : loss.dataSync();
    });
  for (let i = 0; i < WARM; i++) await step();

  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const start = performance.now();
  for (let i = 0; i < steps; i++) {
    await step();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const passed = performance.now() - start;
  delay.disable();
  optimizer.dispose();
  for (const value of [pictures, ...Object.values(model.stateDict())] as Tensor[]) value.dispose();
  const ms = (nanoseconds: number) => Number((nanoseconds / 1e6).toFixed(2));
  return {
    device,
    read,
    steps,
    batch,
    step_ms: Number((passed / steps).toFixed(2)),
    delay_p50_ms: ms(delay.percentile(50)),
    delay_p99_ms: ms(delay.percentile(99)),
    delay_max_ms: ms(delay.max),
  };
}

function autoencoder(device: string): nn.Sequential {
  const half = { stride: 2, padding: 1, device };
  return new nn.Sequential(
    new nn.Conv2d(3, 32, 4, half),
    new nn.ReLU(),
    new nn.Conv2d(32, 64, 4, half),
    new nn.BatchNorm2d(64, { device }),
    new nn.ReLU(),
    new nn.Conv2d(64, 128, 4, half),
    new nn.ReLU(),
    new nn.ConvTranspose2d(128, 64, 4, half),
    new nn.BatchNorm2d(64, { device }),
    new nn.ReLU(),
    new nn.ConvTranspose2d(64, 32, 4, half),
    new nn.ReLU(),
    new nn.ConvTranspose2d(32, 3, 4, half),
    new nn.Sigmoid(),
  );
}
