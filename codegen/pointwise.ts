/**
 * The element-wise operations: one table for every device. An expression is C in the operands x0, x1, x2, the scalars
 * s0, s1 and the accumulator type T; the functions it calls (fs_exp, …) are defined in templates/lib for each language.
 *
 * Comparisons are written so that a NaN operand comes out as NaN wherever PyTorch lets it through.
 */

export interface PointwiseOperation {
  readonly inputs: 1 | 2 | 3;
  /** Names of s0, s1, … */
  readonly scalars: readonly string[];
  readonly expr: string;
}

const row = (inputs: 1 | 2 | 3, expr: string, ...scalars: string[]): PointwiseOperation => ({ inputs, scalars, expr });

export const POINTWISE = {
  copy: row(1, 'x0'),
  neg: row(1, '-x0'),
  abs: row(1, 'fs_abs(x0)'),
  exp: row(1, 'fs_exp(x0)'),
  log: row(1, 'fs_log(x0)'),
  sqrt: row(1, 'fs_sqrt(x0)'),
  reciprocal: row(1, 'T(1) / x0'),
  square: row(1, 'x0 * x0'),
  sign: row(1, 'fs_sign(x0)'),
  relu: row(1, 'x0 < T(0) ? T(0) : x0'),
  tanh: row(1, 'fs_tanh(x0)'),
  sigmoid: row(1, 'fs_sigmoid(x0)'),

  div_scalar: row(1, 'x0 / s0', 'divisor'),
  /** What a centred number is multiplied with: x0 is a variance. */
  inverse_deviation: row(1, 'T(1) / fs_sqrt(x0 + s0)', 'eps'),
  leaky_relu: row(1, 'x0 > T(0) ? x0 : x0 * s0', 'slope'),
  pow_scalar: row(1, 'fs_pow(x0, s0)', 'exponent'),
  clamp: row(1, 'fs_clamp(x0, s0, s1)', 'low', 'high'),

  add: row(2, 'x0 + x1'),
  sub: row(2, 'x0 - x1'),
  mul: row(2, 'x0 * x1'),
  div: row(2, 'x0 / x1'),
  maximum: row(2, 'fs_max(x0, x1)'),
  minimum: row(2, 'fs_min(x0, x1)'),
  gt: row(2, 'x0 > x1 ? T(1) : T(0)'),
  eq: row(2, 'x0 == x1 ? T(1) : T(0)'),
  sq_diff: row(2, '(x0 - x1) * (x0 - x1)'),
  abs_diff: row(2, 'fs_abs(x0 - x1)'),

  /** Gradients: x0 is the gradient of the output, x1 the forward's output. */
  relu_backward: row(2, 'x1 <= T(0) ? T(0) : x0'),
  leaky_relu_backward: row(2, 'x1 > T(0) ? x0 : x0 * s0', 'slope'),
  tanh_backward: row(2, 'x0 * ((T(1) - x1) * (T(1) + x1))'),
  sigmoid_backward: row(2, 'x0 * (x1 * (T(1) - x1))'),

  /** Binary cross entropy of a logit x0 and a target x1: max(x, 0) − x·t + log(1 + exp(−|x|)). */
  bce_logits: row(2, 'fs_max(x0, T(0)) - x0 * x1 + fs_log1p(fs_exp(-fs_abs(x0)))'),
  /** Gradients of the distances of x1 and x2 with respect to x1, where they are summed and divided; x0 is the sum's. */
  sq_diff_backward: row(3, '(x0 / s0) * ((x1 - x2) * T(2))', 'divisor'),
  abs_diff_backward: row(3, '(x0 / s0) * fs_sign(x1 - x2)', 'divisor'),
  bce_logits_backward: row(3, '(x0 / s0) * (fs_sigmoid(x1) - x2)', 'divisor'),
  where: row(3, 'x0 != T(0) ? x1 : x2'),
} as const satisfies Readonly<Record<string, PointwiseOperation>>;

export type PointwiseName = keyof typeof POINTWISE;

/** Dimensions of an element-wise kernel; the caller merges neighbouring dimensions that can be, and pads with 1. */
export const POINTWISE_DIMS = 6;

/** One dimension of an element-wise launch: its size, and its stride in each operand, the output's first. */
export interface PointwiseDim {
  readonly size: number;
  readonly strides: readonly number[];
}

/** The numbers that an element-wise kernel takes behind its pointers, for at most `POINTWISE_DIMS` dimensions. */
export function stridedScalars(scalars: readonly number[], dims: readonly PointwiseDim[], operands: number): number[] {
  const numbers = [...scalars, dims.length];
  for (let d = 0; d < POINTWISE_DIMS; d++) numbers.push(dims[d]?.size ?? 1);
  for (let k = 0; k < operands; k++) {
    for (let d = 0; d < POINTWISE_DIMS; d++) numbers.push(dims[d]?.strides[k] ?? 0);
  }
  return numbers;
}
