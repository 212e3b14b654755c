/**
 * What the first use of a kernel costs, by where its image comes from: compiled by nvcc or by NVRTC, in the kernel cache,
 * built into the addon. Against a driver that does nothing, so what a driver adds to load an image is not in it. Each
 * source is a process of its own; the first kernel of a process also pays for what is only set up once.
 *
 *     node dist/bench/jit.js [--store]
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { specOfName } from '../codegen/kernel.js';
import { findNvcc } from '../codegen/toolchain.js';
import { loadKernel } from '../src/images.js';
import { native } from '../src/native.js';
import { areWords, commandLine, STORE } from './command_line.js';
import { report } from './row.js';

/** By target: an element-wise kernel, a reduction, a specialised and a general convolution; the first one is extra. */
const KERNELS: Readonly<Record<string, readonly string[]>> = {
  // Not built into the addon of a clone.
  sm90: ['copy_f64', 'add_f64', 'sum_f64', 'ct2d_fwd_f64_nchw_k3s1p1', 'ct2d_fwd_f32_nhwc_k4s2p1_bias'],
  // The default preset, which is.
  ptx: ['copy_f32', 'add_f32', 'sum_f32', 'ct2d_fwd_f32_nchw_k4s2p1', 'ct2d_fwd_f32_nchw'],
};
const HOW: Readonly<Record<string, string>> = {
  sum_f64: 'reduce',
  sum_f32: 'reduce',
  ct2d_fwd_f64_nchw_k3s1p1: 'phase_t4x1_b128x1',
  ct2d_fwd_f32_nhwc_k4s2p1_bias: 'phase_t4x4_b16x8',
  ct2d_fwd_f32_nchw_k4s2p1: 'phase_t1x4_b16x8',
  ct2d_fwd_f32_nchw: 'gather',
};
const NULL_DRIVER = fileURLToPath(new URL('../../build/simulator/libcuda_null.so', import.meta.url));

const flags = commandLine('bench:jit', {
  zone: { about: 'only one, in this process', value: '<target>', check: areWords(Object.keys(KERNELS)) },
  store: STORE,
});
if (flags.zone !== undefined) console.log(JSON.stringify(timesOf(flags.zone)));
else main();

/** Milliseconds for each kernel, the first of the process before the others. */
function timesOf(zone: string): Record<string, number> {
  native().cudaInfo();
  const times = KERNELS[zone]!.map((kernel, i) => {
    const started = performance.now();
    loadKernel({ name: 'cuda:0', index: 1 }, specOfName(`${kernel}__${HOW[kernel] ?? 'pointwise'}__${zone}`));
    return [i === 0 ? 'first_in_process' : kernel, Number((performance.now() - started).toFixed(1))];
  });
  return Object.fromEntries(times) as Record<string, number>;
}

function main(): void {
  const cache = mkdtempSync(join(tmpdir(), 'fracstride-bench-'));
  const without = { FRACSTRIDE_LIBNVRTC: join(cache, 'absent') };
  const nvcc = findNvcc();
  const path = (process.env.PATH ?? '').split(delimiter).filter((folder) => nvcc === null || folder !== dirname(nvcc));
  try {
    if (nvcc !== null) tell('nvcc', 'sm90', { ...without, FRACSTRIDE_CACHE_DIR: join(cache, 'nvcc') });
    if (native().nvrtcInfo().available) {
      const only = { PATH: path.join(delimiter), CUDA_HOME: '', CUDA_PATH: '' };
      tell('nvrtc', 'sm90', { ...only, FRACSTRIDE_CACHE_DIR: join(cache, 'nvrtc') });
    }
    const filled = join(cache, nvcc === null ? 'nvrtc' : 'nvcc');
    tell('cache', 'sm90', { FRACSTRIDE_CACHE_DIR: filled, FRACSTRIDE_NO_JIT: '1' });
    // Portable kernels of the default preset are part of a clone's build.
    tell('addon', 'ptx', { FRACSTRIDE_CACHE_DIR: join(cache, 'empty'), FRACSTRIDE_NO_JIT: '1' });
  } finally {
    rmSync(cache, { recursive: true, force: true });
  }
}

function tell(source: string, zone: string, more: Record<string, string>): void {
  const env = { ...process.env, FRACSTRIDE_LIBCUDA: NULL_DRIVER, FRACSTRIDE_DEBUG: '', ...more };
  const words = [fileURLToPath(import.meta.url), '--zone', zone];
  const text = execFileSync(process.execPath, words, { env, encoding: 'utf8' });
  report('jit', { source, kernels_ms: JSON.parse(text) as Record<string, number> });
}
