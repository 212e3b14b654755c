/**
 * The bilinear form of codegen/problem.ts as differentiable operations. Each contraction's gradients are the others, so
 * gradients of any order come by construction:
 *
 *   large  = expand(S, W)      dS = contract(g, W)    dW = wgrad(S, g)
 *   small  = contract(L, W)    dL = expand(g, W)      dW = wgrad(g, L)
 *   weight = wgrad(S, L)       dS = contract(L, g)    dL = expand(S, g)
 *
 * A bias is added to, and an activation applied to, the result of expand and contract within the kernel; the bias's
 * gradient is the sum over everything but the channel, whose gradient in turn repeats it.
 *
 * S and L are dense in one layout, weights row-major. Where nothing is summed the result is bias or zero.
 */

import type { Activation, Geometry, Layout, Pair, Problem } from '../../codegen/problem.js';
import type { FloatDtype } from '../dtype.js';
import { fillWith } from '../fill.js';
import { NULL, type Pointer, runProblem } from '../kernels.js';
import { fillOrDispose, pointer } from '../pointwise.js';
import { liesAs, stridesFor } from '../shape.js';
import { allocateTensor, record, shapeOf, Tensor, tidy } from '../tensor.js';
import { ACTIVATION_GRADIENTS } from './elementwise.js';
import { expand as repeat } from './sum.js';
import { contiguous, reshape } from './views.js';

/** The sizes of a form and how its operands lie. */
export interface Form {
  readonly geometry: Geometry;
  readonly layout: Layout;
}

/** What is done to each sum before it is stored. */
export interface Epilogue {
  readonly bias: Tensor | null;
  readonly activation: Activation;
  /** Negative slope of leaky_relu. */
  readonly slope: number;
}

const PLAIN: Epilogue = { bias: null, activation: 'none', slope: 0 };

/** W, S → L: the forward of a transposed convolution. */
export function expand(form: Form, small: Tensor, weight: Tensor, epilogue: Epilogue = PLAIN): Tensor {
  return product('expand', form, [small, weight], epilogue);
}

/** W, L → S: the forward of a convolution. */
export function contract(form: Form, large: Tensor, weight: Tensor, epilogue: Epilogue = PLAIN): Tensor {
  return product('contract', form, [large, weight], epilogue);
}

/** S, L → W: the gradient of either with respect to its weight. */
export function wgrad(form: Form, small: Tensor, large: Tensor): Tensor {
  return tidy(() => {
    const s = dense(small, form.layout);
    const l = dense(large, form.layout);
    const { cs, cl, r, s: width, groups } = form.geometry;
    const out = fresh(s, [cs, cl / groups, r, width], 'nchw');
    const problem = problemOf(form, s, { op: 'convT2d', pass: 'wgrad', bias: false, activation: 'none' });
    compute(out, problem, [s, l], 0);
    return record(out, {
      name: 'wgrad',
      inputs: [s, l],
      saved: [s, l],
      backward: (g, [s0, l0], needed) => [
        needed[0] ? contract(form, l0!, g) : null,
        needed[1] ? expand(form, s0!, g) : null,
      ],
    });
  });
}

/** The sum of an (N, C, H, W) tensor over all but its channels: the gradient of a bias. */
export function channelSum(x: Tensor): Tensor {
  return tidy(() => {
    const shape = shapeOf(x) as readonly [number, number, number, number];
    const { 0: n, 1: c, 2: h, 3: w } = shape;
    const form = { geometry: channels({ n, c, h, w }), layout: x.layout };
    const large = dense(x, form.layout);
    const out = fresh(large, [c], 'nchw');
    const problem = problemOf(form, large, { op: 'convT2d', pass: 'bgrad', bias: false, activation: 'none' });
    compute(out, problem, [large], 0);
    return record(out, {
      name: 'channelSum',
      inputs: [x],
      backward: (g) => [repeat(reshape(g, [1, c, 1, 1]), shape)],
    });
  });
}

function product(
  name: 'expand' | 'contract',
  form: Form,
  operands: readonly [Tensor, Tensor],
  epilogue: Epilogue,
): Tensor {
  return tidy(() => {
    const x = dense(operands[0], form.layout);
    const weight = dense(operands[1], 'nchw');
    const bias = epilogue.bias === null ? null : dense(epilogue.bias, 'nchw');
    const out = fresh(x, name === 'expand' ? largeShape(form.geometry) : smallShape(form.geometry), form.layout);
    const { activation, slope } = epilogue;
    const op = name === 'expand' ? 'convT2d' : 'conv2d';
    const problem = problemOf(form, x, { op, pass: 'fwd', bias: bias !== null, activation });
    compute(out, problem, [x, weight, bias], slope);
    const result = activation === 'none' ? [] : [out];
    return record(out, {
      name,
      inputs: bias === null ? [x, weight] : [x, weight, bias],
      saved: [x, weight, ...result],
      backward: (g, [x0, w0, y0], needed) => {
        const inner = activation === 'none' ? g : ACTIVATION_GRADIENTS[activation](g, y0!, slope);
        return [
          needed[0] ? (name === 'expand' ? contract : expand)(form, inner, w0!) : null,
          needed[1] ? (name === 'expand' ? wgrad(form, x0!, inner) : wgrad(form, inner, x0!)) : null,
          needed[2] ? channelSum(inner) : null,
        ];
      },
    });
  });
}

/** Runs the kernel; a form with an empty side has nothing to run, and every sum is empty. */
function compute(out: Tensor, problem: Problem, inputs: readonly (Tensor | null)[], slope: number): void {
  fillOrDispose(out, () => {
    if (out.numel() === 0) return;
    const pointers: Pointer[] = [];
    for (const input of inputs) {
      if (input !== null && input.numel() === 0) return fillWith('fill', out, [0]);
      pointers.push(input === null ? NULL : pointer(Tensor.window(input)));
    }
    const window = Tensor.window(out);
    pointers.push(pointer(window));
    runProblem(window.storage.device, problem, pointers, slope);
  });
}

/** x itself where it lies as the kernels read it, else a copy or a view that does. */
function dense(x: Tensor, layout: Layout): Tensor {
  const { shape, strides } = Tensor.window(x);
  return liesAs(shape, strides, layout) ? x : contiguous(x, layout);
}

function fresh(like: Tensor, shape: readonly number[], layout: Layout): Tensor {
  const { dtype, storage } = Tensor.window(like);
  return allocateTensor({ shape, dtype, device: storage.device, strides: stridesFor(shape, layout) });
}

function problemOf(form: Form, operand: Tensor, asked: Pick<Problem, 'op' | 'pass' | 'bias' | 'activation'>): Problem {
  const { op, pass, bias, activation } = asked;
  const dtype = operand.dtype as FloatDtype;
  return { op, pass, dtype, layout: form.layout, geometry: form.geometry, bias, activation };
}

function smallShape(g: Geometry): number[] {
  return [g.n, g.cs, g.hs, g.ws];
}

function largeShape(g: Geometry): number[] {
  return [g.n, g.cl, g.hl, g.wl];
}

const ONES: Pair = [1, 1];
const ZEROS: Pair = [0, 0];

/** The geometry of a sum over channels: only the large side counts. */
function channels(a: { n: number; c: number; h: number; w: number }): Geometry {
  const small = { cs: 1, hs: 1, ws: 1 };
  const large = { cl: a.c, hl: a.h, wl: a.w };
  return { n: a.n, ...small, ...large, r: 1, s: 1, groups: 1, stride: ONES, padding: ZEROS, dilation: ONES };
}
