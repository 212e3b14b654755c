/** How kernels of this package multiply float32 on CUDA devices: a setting of the back end that the choice of kernels asks for. */

import type { Float32Products } from '../codegen/variant.js';
import { changeChoice } from './device.js';

let products: Float32Products = 'exact';

export function float32Products(): Float32Products {
  return products;
}

export function setFloat32Products(value: Float32Products): void {
  if (value !== products) changeChoice();
  products = value;
}
