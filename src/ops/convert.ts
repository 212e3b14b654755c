/** Other element types, devices and memory layouts of the same values. The gradient goes the way back. */

import { LAYOUTS } from '../../codegen/problem.js';
import { checkTensor, checkWord, fail, options } from '../checks.js';
import { copyIn, copyOut, type Device, resolveDevice, synchronize } from '../device.js';
import { checkDtype, type Dtype, elementBytes, hostBytes, shortName } from '../dtype.js';
import { runOperation } from '../kernels.js';
import type { ToOptions } from '../method_types.js';
import { fillOrDispose, pointer } from '../pointwise.js';
import { elementCount, isPacked } from '../shape.js';
import { alias, allocateTensor, record, Tensor, tidy } from '../tensor.js';
import { contiguous } from './views.js';

/**
 * x on another device, of another element type, in another memory layout; a new handle to the same memory where nothing
 * changes. A float that int32 cannot hold becomes its nearest end, NaN becomes 0.
 *
 * @throws FracstrideError ERR_ARGUMENT, ERR_DTYPE, ERR_SHAPE, ERR_DEVICE_UNAVAILABLE
 */
export function to(x: Tensor, target: ToOptions): Tensor {
  checkTensor('to', 'x', x);
  const found = options('to', target, ['device', 'dtype', 'layout']);
  const dtype = found.dtype === undefined ? x.dtype : checkDtype('to', found.dtype);
  const device = found.device === undefined ? Tensor.window(x).storage.device : resolveDevice('to', found.device);
  const layout = found.layout === undefined ? null : checkWord('to', 'layout', found.layout, LAYOUTS);
  if (layout === 'nhwc' && x.ndim !== 4)
    fail('ERR_SHAPE', 'to', "x for layout 'nhwc'", '4-dimensional (N, C, H, W)', x.shape);
  return tidy(() => {
    const moved = toDevice(cast(x, dtype), device);
    return layout === null ? moved : contiguous(moved, layout);
  });
}

/** Of another element type; memory order stays. */
export function cast(x: Tensor, dtype: Dtype): Tensor {
  const from = x.dtype;
  if (from === dtype) return alias(x);
  return tidy(() => {
    const { shape, strides } = Tensor.window(x);
    const dense = isPacked(shape, strides) ? x : contiguous(x);
    const window = Tensor.window(dense);
    const device = window.storage.device;
    const out = allocateTensor({ shape, dtype, device, strides: window.strides });
    const kernel = { name: `cast_${shortName(from)}`, type: shortName(dtype) };
    const count = elementCount(shape);
    if (count > 0) runOperation(device, kernel, [pointer(Tensor.window(out)), pointer(window)], [count]);
    return record(out, { name: 'cast', inputs: [x], backward: (g) => [cast(g, from)] });
  });
}

/** On another device, through the host. */
export function toDevice(x: Tensor, device: Device): Tensor {
  const home = Tensor.window(x).storage.device;
  if (home === device) return alias(x);
  return tidy(() => {
    const { shape, strides } = Tensor.window(x);
    const dense = isPacked(shape, strides) ? x : contiguous(x);
    const window = Tensor.window(dense);
    const out = allocateTensor({ shape, dtype: window.dtype, device, strides: window.strides });
    const bytes = hostBytes(elementCount(shape) * elementBytes(window.dtype));
    synchronize(home);
    copyOut(home, window.storage.handle, pointer(window).byteOffset, bytes);
    fillOrDispose(out, () => copyIn(device, Tensor.window(out).storage.handle, bytes));
    return record(out, { name: 'toDevice', inputs: [x], backward: (g) => [toDevice(g, home)] });
  });
}
