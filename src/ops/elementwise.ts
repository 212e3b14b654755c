/**
 * Element-wise operations. Two operands are broadcast to their common shape, have one dtype and one device; a number in
 * the place of a tensor takes the other's. A gradient is summed over what was repeated (`sumTo`).
 *
 * Beside each forward stands its derivative, written with operations that have derivatives themselves.
 */

import type { PointwiseName } from '../../codegen/pointwise.js';
import { checkFloat, checkNumber, checkSameDevice, checkSameDtype, checkTensor, fail, options } from '../checks.js';
import { FracstrideError } from '../errors.js';
import { fillWith } from '../fill.js';
import { compute, fillOrDispose } from '../pointwise.js';
import { broadcastShapes } from '../shape.js';
import { allocateTensor, record, Tensor, tidy } from '../tensor.js';
import { sumTo } from './sum.js';

export type Operand = Tensor | number;

/** a + b */
export function add(a: Operand, b: Operand): Tensor {
  return binary('add', a, b, (g) => [g, g]);
}

/** a − b */
export function sub(a: Operand, b: Operand): Tensor {
  return binary('sub', a, b, (g, _, [, needed]) => [g, needed ? neg(g) : null]);
}

/** a · b */
export function mul(a: Operand, b: Operand): Tensor {
  return binary(
    'mul',
    a,
    b,
    (g, [x, y], needed) => [needed[0] ? mul(g, y) : null, needed[1] ? mul(g, x) : null],
    'save',
  );
}

/** a / b */
export function div(a: Operand, b: Operand): Tensor {
  return binary(
    'div',
    a,
    b,
    (g, [x, y], needed) => [needed[0] ? div(g, y) : null, needed[1] ? neg(div(mul(g, x), square(y))) : null],
    'save',
  );
}

/** x divided by a number that is not 0, in one kernel. */
export function divideBy(x: Tensor, divisor: number): Tensor {
  return unary('div_scalar', x, (g) => divideBy(g, divisor), undefined, [divisor]);
}

/** The larger of a and b; NaN where either is. Where they are equal each gets half of the gradient. */
export function maximum(a: Operand, b: Operand): Tensor {
  return binary('maximum', a, b, (g, [x, y]) => [mul(g, share(x, y)), mul(g, share(y, x))], 'save');
}

/** The smaller of a and b; NaN where either is. Where they are equal each gets half of the gradient. */
export function minimum(a: Operand, b: Operand): Tensor {
  return binary('minimum', a, b, (g, [x, y]) => [mul(g, share(y, x)), mul(g, share(x, y))], 'save');
}

/** 1 where a > b, else 0. Has no gradient. */
export function gt(a: Operand, b: Operand): Tensor {
  return binary('gt', a, b, null);
}

/** 1 where a = b, else 0. Has no gradient. */
export function eq(a: Operand, b: Operand): Tensor {
  return binary('eq', a, b, null);
}

/** −x */
export function neg(x: Tensor): Tensor {
  return unary('neg', x, (g) => neg(g));
}

/** |x|; its derivative at 0 is 0. */
export function abs(x: Tensor): Tensor {
  return unary('abs', x, (g, v) => mul(g, sign(v)), 'x');
}

/** −1, 0 or 1. Its derivative is 0 everywhere. */
export function sign(x: Tensor): Tensor {
  return unary('sign', x, null);
}

/** eˣ */
export function exp(x: Tensor): Tensor {
  return unary('exp', x, (g, y) => mul(g, y), 'y');
}

/** The natural logarithm. */
export function log(x: Tensor): Tensor {
  return unary('log', x, (g, v) => div(g, v), 'x');
}

/** √x */
export function sqrt(x: Tensor): Tensor {
  return unary('sqrt', x, (g, y) => div(g, mul(y, 2)), 'y');
}

/** x² */
export function square(x: Tensor): Tensor {
  return unary('square', x, (g, v) => mul(g, mul(v, 2)), 'x');
}

/** 1 / x */
export function reciprocal(x: Tensor): Tensor {
  return unary('reciprocal', x, (g, y) => neg(mul(g, square(y))), 'y');
}

/** x to the power of a number. */
export function pow(x: Tensor, exponent: number): Tensor {
  const e = checkNumber('pow', 'exponent', exponent);
  return unary('pow_scalar', x, (g, v) => (e === 0 ? mul(g, 0) : mul(g, mul(pow(v, e - 1), e))), 'x', [e]);
}

/** max(x, 0), written so that NaN stays NaN. */
export function relu(x: Tensor): Tensor {
  return unary('relu', x, (g, y) => gated('relu_backward', g, y, []), 'y');
}

/** x where x > 0, else slope · x. Default slope 0.01. */
export function leakyRelu(x: Tensor, negativeSlope = 0.01): Tensor {
  const slope = checkNumber('leakyRelu', 'negativeSlope', negativeSlope);
  return unary('leaky_relu', x, (g, v) => gated('leaky_relu_backward', g, v, [slope]), 'x', [slope]);
}

/** The hyperbolic tangent; y' = 1 − y². */
export function tanh(x: Tensor): Tensor {
  return unary('tanh', x, tanhBackward, 'y');
}

/** 1 / (1 + e⁻ˣ); y' = y (1 − y). */
export function sigmoid(x: Tensor): Tensor {
  return unary('sigmoid', x, sigmoidBackward, 'y');
}

/** x limited to [min, max]; either bound may be left out. The gradient passes where x lies within them. */
export function clamp(x: Tensor, bounds: { min?: number; max?: number }): Tensor {
  const found = options('clamp', bounds, ['min', 'max']);
  const low = checkNumber('clamp', 'min', found.min ?? Number.NEGATIVE_INFINITY);
  const high = checkNumber('clamp', 'max', found.max ?? Number.POSITIVE_INFINITY);
  return unary('clamp', x, (g, v) => tidy(() => mul(g, eq(v, clamp(v, { min: low, max: high })))), 'x', [low, high]);
}

/** condition ≠ 0 ? a : b. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  checkTensor('where', 'condition', condition);
  return tidy(() => {
    const [c, x, y] = operands('where', [condition, a, b]);
    const [xs, ys] = [x!.shape, y!.shape];
    return record(compute('where', [c!, x!, y!]), {
      name: 'where',
      inputs: [x!, y!],
      saved: [c!],
      backward: (g, [saved], needed) => [
        needed[0] ? sumTo(where(saved!, g, 0), xs) : null,
        needed[1] ? sumTo(where(saved!, 0, g), ys) : null,
      ],
    });
  });
}

/** The gradient of an activation from its output y, for operations with a fused one. */
export const ACTIVATION_GRADIENTS = {
  relu: (g: Tensor, y: Tensor): Tensor => gated('relu_backward', g, y, []),
  leaky_relu: (g: Tensor, y: Tensor, slope: number): Tensor => gated('leaky_relu_backward', g, y, [slope]),
  tanh: (g: Tensor, y: Tensor): Tensor => tanhBackward(g, y),
  sigmoid: (g: Tensor, y: Tensor): Tensor => sigmoidBackward(g, y),
} as const;

/** g where the gate is open, else 0 or g · slope: linear in g, constant in the gate. */
function gated(
  name: 'relu_backward' | 'leaky_relu_backward',
  g: Tensor,
  gate: Tensor,
  scalars: readonly number[],
): Tensor {
  return record(compute(name, [g, gate], scalars), {
    name,
    inputs: [g],
    saved: [gate],
    backward: (gg, [saved]) => [gated(name, gg, saved!, scalars)],
  });
}

function tanhBackward(g: Tensor, y: Tensor): Tensor {
  return record(compute('tanh_backward', [g, y]), {
    name: 'tanh_backward',
    inputs: [g, y],
    saved: [g, y],
    backward: (gg, [g0, y0]) => [tanhBackward(gg, y0!), mul(mul(mul(gg, g0!), y0!), -2)],
  });
}

function sigmoidBackward(g: Tensor, y: Tensor): Tensor {
  return record(compute('sigmoid_backward', [g, y]), {
    name: 'sigmoid_backward',
    inputs: [g, y],
    saved: [g, y],
    backward: (gg, [g0, y0]) => [sigmoidBackward(gg, y0!), mul(mul(gg, g0!), sub(1, mul(y0!, 2)))],
  });
}

/** 1 where a > b, ½ where they are equal, else 0. */
function share(a: Tensor, b: Tensor): Tensor {
  return add(gt(a, b), mul(eq(a, b), 0.5));
}

function unary(
  name: PointwiseName,
  x: Tensor,
  derivative: ((g: Tensor, saved: Tensor) => Tensor) | null,
  saved?: 'x' | 'y',
  scalars: readonly number[] = [],
): Tensor {
  checkFloat(name, 'x', checkTensor(name, 'x', x));
  const y = compute(name, [x], scalars);
  if (derivative === null) return y;
  return record(y, {
    name,
    inputs: [x],
    saved: saved === undefined ? [] : [saved === 'x' ? x : y],
    backward: (g, [value]) => [derivative(g, value!)],
  });
}

type BinaryDerivative = (g: Tensor, saved: [Tensor, Tensor], needed: readonly boolean[]) => (Tensor | null)[];

function binary(
  name: PointwiseName,
  a: Operand,
  b: Operand,
  derivative: BinaryDerivative | null,
  saved?: 'save',
): Tensor {
  const run = (): Tensor => {
    const inputs = operands(name, [a, b]);
    const y = compute(name, inputs);
    if (derivative === null) return y;
    const shapes = inputs.map((input) => input.shape);
    return record(y, {
      name,
      inputs,
      saved: saved === undefined ? [] : inputs,
      backward: (g, values, needed) =>
        derivative(g, values as [Tensor, Tensor], needed).map((value, i) =>
          value === null || !needed[i] ? null : sumTo(value, shapes[i]!),
        ),
    });
  };
  // Only a number becomes a tensor that must go again.
  return typeof a === 'number' || typeof b === 'number' ? tidy(run) : run();
}

/** Numbers as tensors like the others; all of one float dtype, on one device, of shapes that broadcast. */
function operands(name: string, values: readonly Operand[]): Tensor[] {
  const model = values.find((value) => typeof value !== 'number');
  if (model === undefined)
    throw new FracstrideError('ERR_ARGUMENT', `${name}: an operand must be a tensor, got numbers only`);
  checkFloat(name, 'an operand', checkTensor(name, 'an operand', model));
  const tensors = values.map((value) => (typeof value === 'number' ? value : checkTensor(name, 'an operand', value)));
  const given = tensors.filter((value) => typeof value !== 'number');
  checkSameDevice(name, given);
  checkSameDtype(name, given);
  given.reduce<readonly number[]>((shape, value) => {
    const common = broadcastShapes(shape, value.shape);
    return (
      common ??
      fail(
        'ERR_SHAPE',
        name,
        'shapes',
        'such that they broadcast',
        given.map((tensor) => tensor.shape),
      )
    );
  }, []);
  return tensors.map((value) => (typeof value === 'number' ? constant(value, model) : value));
}

function constant(value: number, model: Tensor): Tensor {
  const { dtype, storage } = Tensor.window(model);
  const out = allocateTensor({ shape: [], dtype, device: storage.device });
  fillOrDispose(out, () => fillWith('fill', out, [value]));
  return out;
}
