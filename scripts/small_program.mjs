// A small program for tools that watch every access (scripts/compute_sanitizer.mjs): transposed convolutions forward and
// backward in each float type and both layouts, batch normalisation, an optimiser's steps and a recorded step, on the
// device that is the default. It fails when it did not run on a CUDA device, or when a result is no number.

import { cuda, nn, optim, randn, scope } from 'fracstride';

const DTYPES = ['float32', 'float64', 'float16', 'bfloat16'];
const device = 'cuda';

for (const dtype of DTYPES) for (const layout of ['nchw', 'nhwc']) train(dtype, layout);
record();
cuda.synchronize();
console.log('done');

function train(dtype, layout) {
  const model = new nn.Sequential(
    new nn.ConvTranspose2d(8, 16, 4, { stride: 2, padding: 1, device, dtype }),
    new nn.BatchNorm2d(16, { device, dtype }),
    new nn.ReLU(),
    new nn.ConvTranspose2d(16, 6, 3, { stride: 3, padding: 1, outputPadding: 1, groups: 2, device, dtype }),
    new nn.Conv2d(6, 3, 3, { padding: 1, device, dtype }),
    new nn.Tanh(),
  );
  const optimizer = new optim.Adam(model.parameters(), { lr: 1e-3 });
  for (let step = 0; step < 2; step++) {
    const loss = scope(() => {
      const x = randn([2, 8, 5, 7], { device, dtype }).to({ layout });
      const y = model.forward(x);
      const error = y.square().mean();
      optimizer.zeroGrad();
      error.backward();
      optimizer.step();
      return error.item();
    });
    if (!Number.isFinite(loss)) throw new Error(`the loss in ${dtype}, ${layout} must be finite, got ${loss}`);
  }
  optimizer.dispose();
  model.dispose();
}

function record() {
  const layer = new nn.ConvTranspose2d(4, 4, 4, { stride: 2, padding: 1, device });
  const x = randn([1, 4, 6, 6], { device });
  layer.forward(x).dispose();
  const graph = cuda.graph(() => layer.forward(x).sum());
  for (let i = 0; i < 3; i++) graph.replay();
  if (!Number.isFinite(graph.outputs.item())) throw new Error('what a graph leaves must be a number');
  graph.outputs.dispose();
  graph.dispose();
  x.dispose();
  layer.dispose();
}
