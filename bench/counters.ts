/**
 * What the kernels of well-known layers do, counted by the simulator: executed thread instructions a multiply-add, 32-byte
 * sectors a request of global memory (4 is a fully coalesced float32 request; a broadcast takes 1) and shared-memory
 * wavefronts over the fewest possible (1 is without bank conflicts). Counts, no times. Sizes are cut down, channels are not.
 *
 *   FRACSTRIDE_LIBCUDA=build/simulator/libcuda.so.1 node dist/bench/counters.js [--store]
 */

import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { cuda, grad, nn, rand, scope } from 'fracstride';
import { report } from './row.js';

interface Layer {
  readonly x: readonly [n: number, c: number, h: number, w: number];
  readonly weight: readonly [c: number, k: number, r: number, s: number];
  readonly options: { stride: number; padding: number; outputPadding?: number; groups?: number };
}

const LAYERS: Readonly<Record<string, Layer>> = {
  'dcgan 512→256 4×4': { x: [1, 512, 4, 4], weight: [512, 256, 4, 4], options: { stride: 2, padding: 1 } },
  'dcgan 128→64 16×16': { x: [1, 128, 16, 16], weight: [128, 64, 4, 4], options: { stride: 2, padding: 1 } },
  'dcgan 64→3 32×32': { x: [2, 64, 32, 32], weight: [64, 3, 4, 4], options: { stride: 2, padding: 1 } },
  'dcgan first 100→512 1×1': { x: [16, 100, 1, 1], weight: [100, 512, 4, 4], options: { stride: 1, padding: 0 } },
  'unet 128→64 k2 s2': { x: [1, 128, 32, 32], weight: [128, 64, 2, 2], options: { stride: 2, padding: 0 } },
  'cyclegan 256→128 k3 s2': {
    x: [1, 256, 8, 8],
    weight: [256, 128, 3, 3],
    options: { stride: 2, padding: 1, outputPadding: 1 },
  },
  'fcn8s 21→21 k16 s8': { x: [1, 21, 16, 16], weight: [21, 21, 16, 16], options: { stride: 8, padding: 4 } },
  'depthwise 64 k4 s2': { x: [1, 64, 32, 32], weight: [64, 1, 4, 4], options: { stride: 2, padding: 1, groups: 64 } },
};

interface Counters {
  readonly launches: number;
  readonly threadInstructions: Readonly<Record<string, number>>;
  readonly multiplyAdds: number;
  readonly globalLoads: { readonly requests: number; readonly sectors: number };
  readonly globalStores: { readonly requests: number; readonly sectors: number };
  readonly sharedLoads: { readonly wavefronts: number; readonly leastWavefronts: number };
}

interface Control {
  configure(words: string): void;
  counters(options: { reset: boolean }): Readonly<Record<string, Counters>>;
}

const driver = process.env.FRACSTRIDE_LIBCUDA;
if (driver === undefined) throw new Error('FRACSTRIDE_LIBCUDA must name the simulator; npm run simulator builds it');
const addon = createRequire(import.meta.url)(join(dirname(driver), 'control.node')) as { open(path: string): Control };
const simulator = addon.open(driver);
simulator.configure('count=1');

for (const [layer, { x, weight, options }] of Object.entries(LAYERS)) {
  for (const layout of ['nchw', 'nhwc'] as const) {
    scope(() => {
      const input = rand([...x], { device: 'cuda' })
        .to({ layout })
        .detach();
      const kernel = rand([...weight], { device: 'cuda' });
      for (const leaf of [input, kernel]) leaf.requiresGrad = true;
      const upstream = nn.functional.convTranspose2d(input, kernel, null, options).detach();
      cuda.synchronize();
      simulator.counters({ reset: true });
      grad([nn.functional.convTranspose2d(input, kernel, null, options)], [input, kernel], { gradOutputs: [upstream] });
    });
    cuda.synchronize();
    for (const [kernel, counted] of Object.entries(simulator.counters({ reset: true }))) {
      if (!kernel.startsWith('ct2d_')) continue;
      report('kernel_counters', { layer, layout, kernel, ...figures(counted) });
    }
  }
}

function figures(c: Counters): Record<string, number> {
  const executed = Object.values(c.threadInstructions).reduce((sum, count) => sum + count, 0);
  const ratio = (a: number, b: number) => (b === 0 ? 0 : Number((a / b).toFixed(3)));
  return {
    multiply_adds: c.multiplyAdds,
    instructions_a_multiply_add: ratio(executed, c.multiplyAdds),
    load_sectors_a_request: ratio(c.globalLoads.sectors, c.globalLoads.requests),
    store_sectors_a_request: ratio(c.globalStores.sectors, c.globalStores.requests),
    shared_wavefronts_over_least: ratio(c.sharedLoads.wavefronts, c.sharedLoads.leastWavefronts),
  };
}
