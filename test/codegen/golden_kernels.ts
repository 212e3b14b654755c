/**
 * Rendered kernels that are kept as files, so that a change of a template or of its numbers is seen as a change of text.
 *
 * After a change that was meant: `npm run build && node dist/test/codegen/golden_kernels.js --write`, then read the diff.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { specOfName, textOf } from '../../codegen/kernel.js';

export const GOLDEN_KERNELS: readonly string[] = [
  'ct2d_fwd_f32_nchw_k4s2p1_bias_relu__phase_t4x8_b32x4__ptx',
  'ct2d_dgrad_f16_nhwc_k3s2p1__phase_t4x4_b16x8__ptx',
  'ct2d_wgrad_f32_nchw_k4s2p1__phase_t4x2_b32x4__ptx',
  'ct2d_fwd_f32_nchw_k4s2p1_bias_relu__igemm_m128n128k16_t8x8__sm90',
  'ct2d_dgrad_f32_nhwc_k3s2p1__igemm_m64n64k16_t8x4__ptx',
  'ct2d_dgrad_f32_nhwc_k3s2p1__splitk_m32n64k16_t8x4__sm90',
  'ct2d_fwd_f32_nchw_k4s2p1_bias_tanh__head_o3t4_b128x1__ptx',
  'ct2d_dgrad_f16_nhwc_k4s2p1__head_o1t2_b16x8__ptx',
  'ct2d_fwd_bf16_nhwc_k4s2p1_bias_relu__mma_m128n128k32_w64x64_s3_c16__sm90',
  'ct2d_fwd_bf16_nhwc_k4s2p1_bias_tanh__mmamerged_m128n16k64_w32x16_s3_c16__sm80',
  'ct2d_dgrad_f32_nchw_k4s2p1__folded_m128n64k16_t8x8__sm90',
  'ct2d_dgrad_bf16_nhwc_k4s2p1__mmafolded_m64n64k64_w32x32_s3_r2__sm80',
  'ct2d_fwd_f32_nchw_k4s2p1_bias__merged_m64n64k16_t8x4__ptx',
  'ct2d_dgrad_f16_nchw_k3s2p1__mma_m64n64k64_w32x32_s3_r2__sm75',
  'ct2d_fwd_f16_nhwc_k4s2p1g64__depthwise_t2_b8x16__ptx',
  'ct2d_wgrad_bf16_nhwc_k3s2p1g64__depthwise_t2v4_b8x16__ptx',
  'ct2d_wgrad_f32_nchw_k3s1p1g8__pairwise_t8o2_b128x1__ptx',
  'ct2d_fwd_bf16_nhwc__gather__ptx',
  'ct2d_wgrad_f32_nhwc_k4s2p1__igemm_m64n64k16_t8x4__sm90',
  'ct2d_wgrad_f32_nchw_k4s2p1__mma_m64n64k16_w32x32_c4_c4__sm80',
  'ct2d_wgrad_bf16_nhwc_k4s2p1__mma_m128n128k32_w64x64_c16_c16__sm90',
  'ct2d_wgrad_bf16_nhwc_k3s1p1g4__mmadiagonal_m32n128k64_w32x32_c16_c16_d8__sm90',
  'leaky_relu_backward_f32__pointwise__ptx',
  'sigmoid_f64__pointwise__ptx',
  'copy_f16__pointwise__ptx',
  'cast_f64_bf16__cast__ptx',
  'arange_i32__fill__ptx',
  'uniform_f32__random__ptx',
  'normal_f64__random__ptx',
];

const FOLDER = fileURLToPath(new URL('../../../test/goldens/kernels/', import.meta.url));
const fileOf = (name: string) => join(FOLDER, `${name}.cu`);

/** The kept text of a kernel. */
export function goldenText(name: string): string {
  return readFileSync(fileOf(name), 'utf8');
}

function writeGoldens(): void {
  for (const name of GOLDEN_KERNELS) {
    mkdirSync(dirname(fileOf(name)), { recursive: true });
    writeFileSync(fileOf(name), textOf(specOfName(name)));
  }
}

if (argv[1] === fileURLToPath(import.meta.url) && argv[2] === '--write') writeGoldens();
