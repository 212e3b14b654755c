// A second adapter for the golden cases, written from the list of public names alone, the way another project would:
// plain JavaScript, require(), gradients by backward() and .grad, read-back by await. It shares nothing with the tests'
// own adapter, so that a name which only works by accident there is noticed here.
import { createRequire } from 'node:module';

const fracstride = createRequire(import.meta.url)('fracstride');
const { tensor, nn, grad } = fracstride;

export const dtypes = ['float32', 'float64', 'float16', 'bfloat16'];

const put = (t, requiresGrad) => t && tensor(t.data, { shape: t.shape, dtype: t.dtype, device: 'cpu', requiresGrad });
const out = async (t) => ({ shape: Array.from(t.shape), data: await t.data() });

function forward(a, x, weight, bias) {
  const options = { stride: a.stride, padding: a.padding, groups: a.groups, dilation: a.dilation };
  if (a.op === 'conv2d') return nn.functional.conv2d(x, weight, bias, options);
  return nn.functional.convTranspose2d(x, weight, bias, { ...options, outputPadding: a.outputPadding });
}

async function run(a) {
  const tensors = [put(a.x), put(a.weight), put(a.bias)];
  try {
    const y = forward(a, ...tensors);
    tensors.push(y);
    return await out(y);
  } finally {
    for (const t of tensors) t?.dispose();
  }
}

async function backward(a) {
  const x = put(a.x, true);
  const weight = put(a.weight, true);
  const bias = put(a.bias, true);
  const y = forward(a, x, weight, bias);
  const gy = put(a.gradOutput);
  y.backward(gy);
  const result = {
    gradInput: await out(x.grad),
    gradWeight: await out(weight.grad),
    gradBias: bias && (await out(bias.grad)),
  };
  for (const t of [x, weight, bias, y, gy]) t?.dispose();
  return result;
}

function doubleBackward(a) {
  return fracstride.scope(async () => {
    const [x, weight, bias, gy] = [put(a.x, true), put(a.weight, true), put(a.bias, true), put(a.gradOutput, true)];
    const leaves = bias ? [x, weight, bias] : [x, weight];
    const first = grad([forward(a, x, weight, bias)], leaves, { gradOutputs: [gy], createGraph: true });
    const along = [put(a.vx), put(a.vw), ...(bias ? [put(a.vb)] : [])];
    const [ggy, ggx, ggw] = grad(first, [gy, x, weight], { gradOutputs: along });
    return { ggy: await out(ggy), ggx: await out(ggx), ggw: await out(ggw) };
  });
}

export const convTranspose2d = run;
export const conv2d = run;
export const convTranspose2dBackward = backward;
export const conv2dBackward = backward;
export const convTranspose2dDoubleBackward = doubleBackward;
export const conv2dDoubleBackward = doubleBackward;

export async function module(m) {
  const { inChannels, outChannels, kernelSize, ...options } = m.ctor;
  const Layer = m.op === 'conv2d' ? nn.Conv2d : nn.ConvTranspose2d;
  const layer = new Layer(inChannels, outChannels, kernelSize, { ...options, dtype: m.dtype, device: 'cpu' });
  if (m.weight) layer.loadStateDict(m.bias ? { weight: put(m.weight), bias: put(m.bias) } : { weight: put(m.weight) });
  const x = put(m.x);
  return out(m.outputSize ? layer.forward(x, { outputSize: m.outputSize }) : layer.forward(x));
}
