/**
 * What is built ahead of time, as data. An item is a problem as text, or a kernel name with or without its last zone
 * (the target). `default` is small enough for every clone's build; `full` covers the layers of well-known networks.
 */

import { type KernelSpec, nameOf, operationSpecs, specOfName } from './kernel.js';
import { LAYOUTS, makeProblem, type Problem } from './problem.js';
import { formatProblem, parseProblem } from './problem_text.js';
import { choose } from './spec.js';
import { type CudaArchitecture, DTYPE_TABLE, DTYPES, type Target, targetName } from './target.js';

/** A layer of a known network; dtype, layout and pass are filled in. */
export const LAYERS: Readonly<Record<string, string>> = {
  dcgan_first: 'convT2d n=16 c=100 k=512 h=1 w=1 r=4 stride=1 padding=0',
  dcgan: 'convT2d n=16 c=256 k=128 h=8 w=8 r=4 stride=2 padding=1',
  dcgan_last: 'convT2d n=16 c=64 k=3 h=32 w=32 r=4 stride=2 padding=1',
  pix2pix: 'convT2d n=1 c=1024 k=512 h=8 w=8 r=4 stride=2 padding=1',
  unet: 'convT2d n=1 c=256 k=128 h=128 w=128 r=2 stride=2 padding=0',
  cyclegan: 'convT2d n=1 c=256 k=128 h=64 w=64 r=3 stride=2 padding=1 outputPadding=1',
  stylegan2: 'convT2d n=1 c=2048 k=2048 h=32 w=32 r=3 stride=2 padding=0 groups=4',
  fsrcnn: 'convT2d n=16 c=56 k=1 h=64 w=64 r=9 stride=3 padding=4 outputPadding=2',
  fcn8s: 'convT2d n=1 c=21 k=21 h=64 w=64 r=16 stride=8 padding=4',
  pose: 'convT2d n=8 c=2048 k=256 h=8 w=6 r=4 stride=2 padding=1',
  second: 'convT2d n=1 c=256 k=128 h=62 w=54 r=4 stride=4 padding=0',
  dilated: 'convT2d n=1 c=64 k=64 h=32 w=32 r=3 stride=1 padding=2 dilation=2',
  stride3: 'convT2d n=1 c=64 k=64 h=32 w=32 r=5 stride=3 padding=1',
  pairs: 'convT2d n=20 c=16 k=33 h=50 w=100 r=3x5 stride=2x1 padding=4x2',
  depthwise: 'convT2d n=1 c=256 k=256 h=64 w=64 r=4 stride=2 padding=1 groups=256',
  encoder: 'conv2d n=16 c=64 k=128 h=32 w=32 r=4 stride=2 padding=1',
  same: 'conv2d n=1 c=64 k=64 h=64 w=64 r=3 stride=1 padding=1',
};

const SHORTS = DTYPES.map((dtype) => DTYPE_TABLE[dtype].short);

/** The kernels that take every argument at run time: with them no problem is without a kernel. */
const GENERAL = ['fwd', 'dgrad', 'wgrad', 'bgrad'].flatMap((pass) =>
  SHORTS.flatMap((dtype) => LAYOUTS.map((layout) => `ct2d_${pass}_${dtype}_${layout}__gather`)),
);

/** The passes of a layer, the forward one with and without a bias. */
const REQUESTS = ['pass=fwd', 'pass=fwd bias=true', 'pass=dgrad', 'pass=wgrad'];

const layerItems = (layer: string, settings: readonly string[]) =>
  settings.flatMap((setting) => REQUESTS.map((request) => `${layer} ${setting} ${request}`));

const ALL_SETTINGS = DTYPES.flatMap((dtype) => LAYOUTS.map((layout) => `dtype=${dtype} layout=${layout}`));

/** Every operation but convolutions, without its target. */
const operationItems = (isWanted: (type: string) => boolean) =>
  operationSpecs({ kind: 'ptx' })
    .filter(({ operation, type }) => isWanted(type) || operation.startsWith('cast_'))
    .map((spec) => nameOf(spec).replace(/__ptx$/, ''));

/** Sets of kernels that `fracstride build <name>` knows. */
export const PRESETS: Readonly<Record<string, readonly string[]>> = {
  default: [
    ...GENERAL,
    ...layerItems(LAYERS.dcgan!, ['dtype=float32']),
    ...operationItems((type) => type === 'f32' || type === 'i32'),
  ],
  full: [
    ...GENERAL,
    ...operationItems(() => true),
    ...Object.values(LAYERS).flatMap((layer) => layerItems(layer, ALL_SETTINGS)),
  ],
};

/** What `build` makes where no target is named, and what becomes part of the addon. */
export const DEFAULT_TARGETS: readonly Target[] = [{ kind: 'ptx' }];

/** The architectures whose registers and spills are checked. */
export const CHECKED_ARCHITECTURES: readonly CudaArchitecture[] = [75, 80, 86, 89, 90, 100, 120];

/** Kernels that fill the registers they are given: whoever checks a preset checks them, too. */
const FULL_KERNELS = [
  'ct2d_fwd_bf16_nhwc_k4s2p1_bias_relu__mma_m128n128k32_w64x64_s3_c16',
  'ct2d_fwd_bf16_nhwc_k4s2p1_bias_relu__mma_m128n128k64_w64x32_s3_c16',
  'ct2d_fwd_f16_nchw_k4s2p1_bias_relu__mma_m128n128k32_w64x64_s3_r2',
  'ct2d_fwd_f32_nhwc_k4s2p1_bias_relu__mma_m128n128k16_w64x64_s3_c16',
  'ct2d_wgrad_bf16_nhwc_k4s2p1__mma_m128n128k32_w64x64_c16_c16',
  'ct2d_wgrad_f16_nhwc_k4s2p1__mma_m128n128k32_w64x64_r2_r2',
  'ct2d_wgrad_bf16_nchw_k4s2p1__mma_m128n128k32_w64x64_c4_r2',
  'ct2d_wgrad_f32_nchw_k4s2p1__mma_m128n128k16_w64x64_c4_c4',
  'ct2d_wgrad_bf16_nhwc_k3s1p1g4__mmadiagonal_m64n128k32_w32x64_c16_c16_d4',
  'ct2d_wgrad_f32_nchw_k9s3p4g4__pairwise_t2o1_b128x1',
  'ct2d_wgrad_f32_nchw_k3s2p1g4__pairwise_t2o8_b128x1',
  'ct2d_fwd_bf16_nhwc_k4s2p1_bias_relu__mmasplitk_m128n128k64_w64x32_s3_c16',
  'ct2d_fwd_f32_nchw_k4s2p1_bias_relu__splitk_m128n128k16_t8x8',
  'ct2d_fwd_f32_nchw_k4s2p1_bias_relu__joined_m128n128k16_t8x8',
  'ct2d_fwd_bf16_nhwc_k4s2p1_bias_relu__mmajoined_m128n128k64_w64x32_s3_c16',
  'ct2d_wgrad_bf16_nhwc_k4s2p1__mmajoined_m256n128k32_w64x64_c16_c16',
  'ct2d_fwd_bf16_nhwc_k4s2p1_bias_tanh__mmamerged_m128n16k64_w32x16_s3_c16',
  'ct2d_fwd_bf16_nchw_k4s2p1_bias_relu__mmamerged_m128n128k32_w64x64_s3_r2',
  'ct2d_fwd_bf16_nhwc_k2s2p0_bias_relu__mmamerged_m256n128k32_w64x64_s4_c16',
  'ct2d_fwd_f32_nhwc_k4s2p1_bias_relu__merged_m128n128k16_t8x8',
  'ct2d_dgrad_bf16_nhwc_k4s2p1__mmafolded_m64n64k64_w32x32_s3_r2',
  'ct2d_dgrad_f32_nchw_k4s2p1__folded_m128n128k16_t8x8',
  'ct2d_fwd_f32_nchw_k4s2p1_bias_relu__igemm_m128n128k16_t8x8',
];

/** Those of them that there are for some targets. */
export function fullKernels(targets: readonly Target[]): string[] {
  const names = targets.flatMap((target) => FULL_KERNELS.map((kernel) => `${kernel}__${targetName(target)}`));
  return names.filter(exists);
}

function exists(name: string): boolean {
  try {
    specOfName(name);
    return true;
  } catch {
    return false;
  }
}

/**
 * The specs of a list of items for each target, each once. A kernel name with all its zones has its target already.
 *
 * @throws FracstrideError ERR_ARGUMENT for an item that is neither a problem nor a kernel name.
 */
export function specsFor(items: readonly string[], targets: readonly Target[]): KernelSpec[] {
  const specs = items.flatMap((item) => targets.map((target) => specFor(item, target)));
  return [...new Map(specs.map((spec) => [nameOf(spec), spec])).values()];
}

/** Whether an item is written as a kernel name, be there such a kernel or not. */
export function isKernelName(item: string): boolean {
  return /^\w+__/.test(item) || item.startsWith('ct2d_');
}

/** The item that stands for what a run asked for, whichever device it ran on; null for what only a CPU has. */
export function itemOf(asked: Problem | { readonly operation: string; readonly type: string }): string | null {
  if (!('operation' in asked)) return formatProblem(makeProblem(asked));
  const spec = operationSpecs({ kind: 'ptx' }).find((s) => s.operation === asked.operation && s.type === asked.type);
  return spec === undefined ? null : nameOf(spec).replace(/__ptx$/, '');
}

/** The spec of one item; `target` counts where the item has none of its own. */
export function specFor(item: string, target: Target): KernelSpec {
  if (!isKernelName(item)) return choose(parseProblem(item), target);
  return specOfName(item.split('__').length === 2 ? `${item}__${targetName(target)}` : item);
}
