/**
 * The golden cases' adapter over the package's public names: functional operators, gradients by autograd, second
 * gradients through `createGraph`, modules with `outputSize`. Data goes in and out in row-major NCHW order.
 */

import { type Dtype, grad, lastKernel, nn, scope, type Tensor, tensor } from 'fracstride';
import type { PlainTensor } from './cases.js';
import type { Adapter, AdapterCall, BackwardCall, ModuleCall, Result } from './golden_check.js';

export interface Placement {
  readonly device: string;
  /** How four-dimensional inputs and upstream gradients lie in memory. */
  readonly layout: 'nchw' | 'nhwc';
  /** Told the name of the kernel that each forward of an operator ran. */
  readonly ran?: (kernel: string) => void;
}

export const dtypes: readonly Dtype[] = ['float32', 'float64', 'float16', 'bfloat16'];

export function publicAdapter(place: Placement): Adapter {
  const forward = (a: AdapterCall): Result => scope(() => read(apply(a, inputsOf(a, place), place)));
  const backward: Adapter['conv2dBackward'] = (a) =>
    scope(() => {
      const [gx, gw, gb] = gradients(a, inputsOf(a, place), place).first;
      return { gradInput: read(gx!), gradWeight: read(gw!), gradBias: gb ? read(gb) : null };
    });
  const second: Adapter['conv2dDoubleBackward'] = (a) =>
    scope(() => {
      const inputs = inputsOf(a, place);
      const { gy, first } = gradients(a, inputs, place, true);
      const directions = [a.vx, a.vw, ...(a.vb ? [a.vb] : [])].map((t) => load(t, place));
      const [ggy, ggx, ggw] = grad(first, [gy, inputs.x, inputs.weight], { gradOutputs: directions });
      return { ggy: read(ggy!), ggx: read(ggx!), ggw: read(ggw!) };
    });
  return {
    convTranspose2d: forward,
    conv2d: forward,
    convTranspose2dBackward: backward,
    conv2dBackward: backward,
    convTranspose2dDoubleBackward: second,
    conv2dDoubleBackward: second,
    module: (m) => scope(() => runModule(m, place)),
  };
}

interface Inputs {
  readonly x: Tensor;
  readonly weight: Tensor;
  readonly bias: Tensor | null;
}

function inputsOf(a: AdapterCall, place: Placement): Inputs {
  const leaf = (t: PlainTensor) => load(t, place, true);
  return { x: leaf(a.x), weight: leaf(a.weight), bias: a.bias && leaf(a.bias) };
}

function load(t: PlainTensor, place: Placement, requiresGrad = false): Tensor {
  return tensor(t.data, { shape: [...t.shape], dtype: t.dtype, device: place.device, requiresGrad });
}

/** The same values in the layout under test; only four-dimensional tensors have one. */
function laid(t: Tensor, place: Placement): Tensor {
  return t.shape.length === 4 && place.layout === 'nhwc' ? t.to({ layout: 'nhwc' }) : t;
}

function apply(a: AdapterCall, inputs: Inputs, place: Placement): Tensor {
  const y = operate(a, laid(inputs.x, place), inputs);
  place.ran?.(lastKernel());
  return y;
}

function operate(a: AdapterCall, x: Tensor, { weight, bias }: Inputs): Tensor {
  const { op, stride, padding, outputPadding, dilation, groups } = a;
  const shared = { stride, padding, dilation, groups };
  if (op === 'conv2d') return nn.functional.conv2d(x, weight, bias, shared as never);
  const options = { ...shared, ...(outputPadding === undefined ? {} : { outputPadding }) };
  return nn.functional.convTranspose2d(x, weight, bias, options as never);
}

function gradients(a: BackwardCall, inputs: Inputs, place: Placement, createGraph = false) {
  const y = apply(a, inputs, place);
  const gy = load(a.gradOutput, place, createGraph);
  const leaves = [inputs.x, inputs.weight, ...(inputs.bias ? [inputs.bias] : [])];
  const first = grad([y], leaves, { gradOutputs: [laid(gy, place)], createGraph });
  return { gy, first: first as Tensor[] };
}

function runModule(m: ModuleCall, place: Placement): Result {
  const { inChannels, outChannels, kernelSize, ...options } = m.ctor as Record<string, never>;
  const Layer = m.op === 'conv2d' ? nn.Conv2d : nn.ConvTranspose2d;
  const settings = { ...(options as object), dtype: m.dtype, device: place.device };
  const layer = new Layer(inChannels as never, outChannels as never, kernelSize as never, settings as never);
  const state = { ...(m.weight && { weight: load(m.weight, place) }), ...(m.bias && { bias: load(m.bias, place) }) };
  if (m.weight) layer.loadStateDict(state);
  const x = laid(load(m.x, place), place);
  const forward = { ...(m.outputSize ? { outputSize: m.outputSize } : {}) };
  const result = read((layer as nn.ConvTranspose2d).forward(x, forward as never));
  for (const parameter of layer.parameters()) parameter.dispose();
  return result;
}

function read(t: Tensor): Result {
  return { shape: t.shape, data: t.dataSync() };
}

const nchw = publicAdapter({ device: 'cpu', layout: 'nchw' });
export const { convTranspose2d, conv2d, convTranspose2dBackward, conv2dBackward, module } = nchw;
export const { convTranspose2dDoubleBackward, conv2dDoubleBackward } = nchw;
