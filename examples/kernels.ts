/** Which kernel ran for which layer. */

import { lastKernel, type nn, noGrad, scope, type Tensor } from 'fracstride';

/**
 * Sends a tensor through the layers of a network in which each follows the one before.
 *
 * @returns rows of [layer, name of the kernel that ran last in it]
 */
export function kernelsOf(network: nn.Module, input: Tensor): [string, string][] {
  const layers = network.namedModules().filter(([, module]) => module.children().length === 0);
  network.eval();
  const rows = noGrad(() =>
    scope(() => {
      let value = input;
      return layers.map(([path, layer]): [string, string] => {
        value = (layer as nn.Layer).forward(value);
        return [`${path}  ${layer}`, lastKernel()];
      });
    }),
  );
  network.train();
  return rows;
}
