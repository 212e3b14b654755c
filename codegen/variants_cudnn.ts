/**
 * The row of cuDNN. A transposed convolution is its backward-data, a convolution its forward; one algorithm of several is
 * settled on when the library is asked about a problem, and then stands in the name (`__cudnn_algo1__`).
 *
 * Costs are microseconds, as of all rows of CUDA, but of a cruder model, since what cuDNN runs is not known beforehand: a
 * matrix product in tiles at a share of the peak, and what lies around it: a launch and a pass over the output for a bias
 * and for an activation, the weight turned to [Cs, R, S, Cl/G] for NHWC.
 */

import { type Gpu, gpuOf } from './gpu.js';
import { bytes, operandElements } from './passes.js';
import type { Contraction, Geometry, Problem } from './problem.js';
import { DTYPE_TABLE, type Target } from './target.js';
import { sidesOf } from './tiles.js';
import { ONE_LAUNCH, type Place, type Tunables, type Variant } from './variant.js';

/** Algorithms of each form: cudnnConvolutionBwdDataAlgo_t, …FwdAlgo_t, …BwdFilterAlgo_t count from 0. */
const ALGORITHMS: Readonly<Record<Contraction, number>> = { expand: 6, contract: 8, wgrad: 7, bgrad: 0 };

/** A tile of its matrix products, one of which a multiprocessor works on. */
const TILE = { rows: 128, columns: 64 } as const;
/** The part of the peak that its kernels reach, and that those reach which step over zeros. */
const REACHED = 0.6;
const REACHED_STRIDED = 0.4;
const MOST_ELEMENTS = 2 ** 31;

export const CUDNN_VARIANTS: readonly Variant[] = [
  {
    name: 'cudnn',
    device: 'cuda',
    forms: ['expand', 'contract', 'wgrad', 'bgrad'],
    template: null,
    kind: 'library',
    tunables: () => [{}],
    settled: (form) => Array.from({ length: ALGORITHMS[form] }, (_, i): Tunables => ({ algorithm: `algo${i}` })),
    legal: (problem, form, _, place) => place.library.reason ?? refusal(problem, form, place),
    cost,
    launch: () => ONE_LAUNCH,
  },
];

function refusal({ geometry: g, dtype, layout }: Problem, form: Contraction, place: Place): string | null {
  const { small, large, weight } = operandElements(form, g);
  if (Math.max(small!, large!, weight!) >= MOST_ELEMENTS) return 'it takes tensors of fewer than 2^31 elements';
  if (Math.min(small!, large!, weight!) === 0) return 'it takes no empty tensors';
  if (dtype === 'bfloat16' && !isAmpere(place.target)) return 'it takes bfloat16 from compute capability 8.0 on';
  if (form === 'bgrad') return null;
  if (dtype === 'float64' && layout === 'nhwc') return 'it takes float64 in NCHW only';
  if (convolved(g, 0) !== g.hs || convolved(g, 1) !== g.ws) {
    return 'it takes the same padding on both sides, and an output padding smaller than the stride';
  }
  const dilated = g.dilation[0] > 1 || g.dilation[1] > 1;
  const reason = 'it is left out of dilated problems where algorithms must be deterministic';
  return place.library.deterministic && dilated ? reason : null;
}

/** The size that a convolution of the large side has, padded alike on both sides. */
function convolved(g: Geometry, d: 0 | 1): number {
  const [size, kernel] = d === 0 ? [g.hl, g.r] : [g.wl, g.s];
  return Math.floor((size + 2 * g.padding[d] - g.dilation[d] * (kernel - 1) - 1) / g.stride[d]) + 1;
}

function cost(problem: Problem, form: Contraction, _: Tunables, place: Place): number {
  const gpu = gpuOf(place.target);
  const e = operandElements(form, problem.geometry);
  const size = DTYPE_TABLE[problem.dtype].bytes;
  if (form === 'bgrad') return 1e6 * (2 * gpu.launch + bytes(problem) / gpu.dramBytes);
  const output = size * (form === 'expand' ? e.large! : e.small!);
  const type = arithmetic(problem, place);
  const turned = problem.layout === 'nhwc' ? 2 * size * e.weight! : 0;
  // Tensor cores want channels last: NCHW is turned on the way in and out, by cuDNN itself.
  const inner = problem.layout === 'nchw' && type in gpu.mma ? 2 * size * (e.small! + e.large!) : 0;
  const passes = Number(problem.bias) + Number(problem.activation !== 'none');
  const launches = 1 + passes + Number(turned > 0) + Number(inner > 0);
  const traffic = size * (e.small! + e.large! + e.weight!);
  const around = (turned + inner + 2 * passes * output) / gpu.dramBytes;
  const products = product(problem.geometry, form, gpu) / peak(type, gpu);
  return 1e6 * (launches * gpu.launch + Math.max(products, traffic / gpu.dramBytes) + around);
}

/** Multiply-adds that tiles of the matrix product issue, idle multiprocessors and the unreached peak included. */
function product(g: Geometry, form: Contraction, gpu: Gpu): number {
  const [cs, cl] = [g.cs / g.groups, g.cl / g.groups];
  const { output } = sidesOf(form, g);
  const positions = g.n * output.height * output.width;
  const taps = g.r * g.s;
  const skipped = form === 'expand' ? g.stride[0] * g.stride[1] : 1;
  const [rows, columns, depth] =
    form === 'wgrad'
      ? [cl * taps, cs, g.n * g.hs * g.ws]
      : form === 'expand'
        ? [positions, cl, Math.max(1, (cs * taps) / skipped)]
        : [positions, cs, cl * taps];
  const tiles = g.groups * Math.ceil(rows / TILE.rows) * Math.ceil(columns / TILE.columns);
  const issued = tiles * TILE.rows * TILE.columns * depth;
  // Sums over positions are long enough to be split over idle multiprocessors.
  const busy = form === 'wgrad' ? 1 : Math.min(1, tiles / gpu.multiprocessors);
  return issued / busy / (skipped > 1 ? REACHED_STRIDED : REACHED);
}

type Arithmetic = 'f16' | 'bf16' | 'tf32' | 'float32' | 'float64';

function arithmetic({ dtype }: Problem, { target, library }: Place): Arithmetic {
  if (dtype === 'float16') return 'f16';
  if (dtype === 'bfloat16') return 'bf16';
  return dtype === 'float32' && library.allowTf32 && isAmpere(target) ? 'tf32' : dtype;
}

/** Multiply-adds a second. */
function peak(type: Arithmetic, { peaks, fma, multiprocessors, clock }: Gpu): number {
  if (type === 'float64') return fma.float64 * multiprocessors * clock;
  return (type === 'f16' || type === 'bf16' ? peaks.float16 : peaks[type]) / 2;
}

/** Whether tensor cores take TF32 and bfloat16; a target without a number is newer than all that have one. */
function isAmpere(target: Target): boolean {
  return target.kind !== 'cuda' || target.arch >= 80;
}
