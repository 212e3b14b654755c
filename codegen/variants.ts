/**
 * The catalogue: which variants compute a contraction, the tunables each is offered with, when it is legal, what it is
 * thought to cost. Every decision about kernels is made from these rows; a new variant is one template and one row.
 */

import type { Contraction } from './problem.js';
import type { Target } from './target.js';
import type { Variant } from './variant.js';
import { CPU_VARIANTS } from './variants_cpu.js';
import { CUDA_VARIANTS } from './variants_cuda.js';
import { CUDA_DEPTHWISE_VARIANT } from './variants_cuda_depthwise.js';
import { PAIR_WGRAD_VARIANTS } from './variants_cuda_depthwise_wgrad.js';
import { DIAGONAL_VARIANTS } from './variants_cuda_diagonal.js';
import { DIAGONAL_WGRAD_VARIANT } from './variants_cuda_diagonal_wgrad.js';
import { FOLDED_VARIANTS } from './variants_cuda_folded.js';
import { HEAD_VARIANT } from './variants_cuda_head.js';
import { IGEMM_VARIANTS } from './variants_cuda_igemm.js';
import { JOINED_VARIANTS } from './variants_cuda_joined.js';
import { MERGED_VARIANTS } from './variants_cuda_merged.js';
import { MMA_VARIANTS } from './variants_cuda_mma.js';
import { MMA_WGRAD_VARIANT } from './variants_cuda_mma_wgrad.js';
import { SPLIT_VARIANTS } from './variants_cuda_split.js';
import { IGEMM_WGRAD_VARIANT } from './variants_cuda_wgrad.js';
import { CUDNN_VARIANTS } from './variants_cudnn.js';
import { DEPTHWISE_VARIANT } from './variants_depthwise.js';
import { DIRECT_VARIANT } from './variants_direct.js';

import { GEMM_VARIANT } from './variants_gemm.js';
import { CPU_HEAD_VARIANT } from './variants_head.js';
import { POINT_VARIANT } from './variants_point.js';
import { SCATTER_VARIANT } from './variants_scatter.js';
import { SLIDE_VARIANT } from './variants_slide.js';
import { TAPWISE_VARIANT } from './variants_tapwise.js';
import { WINOGRAD_VARIANTS } from './variants_winograd.js';

export {
  type Float32Products,
  type LaunchGeometry,
  type LibraryUse,
  NO_LIBRARY,
  type Packing,
  type Parting,
  type Place,
  type Tunables,
  type Variant,
  type WinogradMode,
} from './variant.js';

export const VARIANTS: readonly Variant[] = [
  ...CPU_VARIANTS,
  DEPTHWISE_VARIANT,
  DIRECT_VARIANT,
  GEMM_VARIANT,
  CPU_HEAD_VARIANT,
  POINT_VARIANT,
  SCATTER_VARIANT,
  SLIDE_VARIANT,
  TAPWISE_VARIANT,
  ...WINOGRAD_VARIANTS,
  ...CUDA_VARIANTS,
  ...IGEMM_VARIANTS,
  HEAD_VARIANT,
  ...MMA_VARIANTS,
  ...SPLIT_VARIANTS,
  ...DIAGONAL_VARIANTS,
  ...MERGED_VARIANTS,
  ...FOLDED_VARIANTS,
  CUDA_DEPTHWISE_VARIANT,
  ...PAIR_WGRAD_VARIANTS,
  IGEMM_WGRAD_VARIANT,
  MMA_WGRAD_VARIANT,
  DIAGONAL_WGRAD_VARIANT,
  ...JOINED_VARIANTS,
  ...CUDNN_VARIANTS,
];

/** The rows that could serve a contraction on a target. */
export function variantsFor(form: Contraction, target: Target): Variant[] {
  const device = target.kind === 'cpu' ? 'cpu' : 'cuda';
  return VARIANTS.filter((row) => row.device === device && row.forms.includes(form));
}
