/**
 * The examples of R torch's reference page for nn_conv_transpose2d, line by line, printing the same sizes.
 */

import { nn, randn, scope } from 'fracstride';

scope(() => {
  // With square kernels and equal stride
  let m = new nn.ConvTranspose2d(16, 33, 3, { stride: 2 });
  console.log(String(m));

  // non-square kernels and unequal stride and with padding
  m = new nn.ConvTranspose2d(16, 33, [3, 5], { stride: [2, 1], padding: [4, 2] });
  console.log(String(m));
  let input = randn([20, 16, 50, 100]);
  let output = m.forward(input);
  console.log(input.size(), '→', output.size());

  // exact output size can be also specified as an argument
  input = randn([1, 16, 12, 12]);
  const downsample = new nn.Conv2d(16, 16, 3, { stride: 2, padding: 1 });
  const upsample = new nn.ConvTranspose2d(16, 16, 3, { stride: 2, padding: 1 });
  const h = downsample.forward(input);
  console.log(h.size());
  output = upsample.forward(h, { outputSize: input.size() });
  console.log(output.size());
});
