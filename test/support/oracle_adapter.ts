/** The oracle as an adapter of the golden cases: what every entry must agree with before anything else is judged by it. */

import { type ConvCall, type IntOrPair, pair, type Reference, reference } from '../../src/verify/reference.js';
import { roundAll } from '../../src/verify/rounding.js';
import type { Adapter, AdapterCall, ModuleCall, Result } from './golden_check.js';

/** Inputs and results are rounded to the call's element type; sums are float64. */
export function oracleAdapter(): Adapter {
  const forward = (a: AdapterCall): Result => {
    const { r, x, weight, bias, shaped } = prepare(a);
    return shaped(r.shape, r.fwd(x, weight, bias));
  };
  const backward: Adapter['conv2dBackward'] = (a) => {
    const { r, x, weight, shaped } = prepare(a);
    const gy = roundAll(a.dtype, a.gradOutput.data);
    return {
      gradInput: shaped(a.x.shape, r.dgrad(gy, weight)),
      gradWeight: shaped(a.weight.shape, r.wgrad(x, gy)),
      gradBias: a.bias && shaped(a.bias.shape, r.bgrad(gy)),
    };
  };
  const second: Adapter['conv2dDoubleBackward'] = (a) => {
    const { r, x, weight, shaped } = prepare(a);
    const [gy, vx, vw, vb] = [a.gradOutput, a.vx, a.vw, a.vb].map((t) => t && roundAll(a.dtype, t.data));
    const along = r.fwd(x, vw!, vb ?? undefined);
    return {
      ggy: shaped(
        r.shape,
        r.fwd(vx!, weight).map((v, i) => v + along[i]!),
      ),
      ggx: shaped(a.x.shape, r.dgrad(gy!, vw!)),
      ggw: shaped(a.weight.shape, r.wgrad(vx!, gy!)),
    };
  };
  return {
    convTranspose2d: forward,
    conv2d: forward,
    convTranspose2dBackward: backward,
    conv2dBackward: backward,
    convTranspose2dDoubleBackward: second,
    conv2dDoubleBackward: second,
    module: (m) => forward(moduleArguments(m)),
  };
}

/** The functional call that a module's forward is: `outputSize` replaces the output padding . */
function moduleArguments(m: ModuleCall): AdapterCall {
  const c = m.ctor as Record<'stride' | 'padding' | 'dilation' | 'outputPadding', IntOrPair> & { groups: number };
  const plain = { ...c, ...m, weight: m.weight!, outputPadding: 0 };
  if (!m.outputSize) return { ...plain, outputPadding: c.outputPadding };
  const smallest = reference(callOf(plain)).shape.slice(-2);
  const [h, w] = m.outputSize.slice(-2);
  return { ...plain, outputPadding: pair([h! - smallest[0]!, w! - smallest[1]!]) };
}

function prepare(a: AdapterCall) {
  const r: Reference = reference(callOf(a));
  return {
    r,
    x: roundAll(a.dtype, a.x.data),
    weight: roundAll(a.dtype, a.weight.data),
    bias: a.bias ? roundAll(a.dtype, a.bias.data) : undefined,
    shaped: (shape: readonly number[], data: Float64Array): Result => ({ shape, data: roundAll(a.dtype, data) }),
  };
}

export function callOf(a: AdapterCall): ConvCall {
  return {
    op: a.op === 'conv2d' ? 'conv2d' : 'convT2d',
    x: a.x.shape,
    weight: a.weight.shape,
    stride: a.stride,
    padding: a.padding,
    outputPadding: a.outputPadding ?? 0,
    dilation: a.dilation,
    groups: a.groups,
  };
}
