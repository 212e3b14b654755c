/** Parameters and buffers on another device, or of another float dtype. */

import { fail, options } from '../checks.js';
import { checkDtype, type Dtype, isFloat } from '../dtype.js';
import type { ToOptions } from '../method_types.js';
import { to as convert } from '../ops/convert.js';
import { keep, type Tensor, unrecorded } from '../tensor.js';
import { isParameter, parameter } from './parameter.js';

export interface Placement {
  readonly device?: string;
  /** A float type; integer buffers keep theirs. */
  readonly dtype?: Dtype;
}

/**
 * For every tensor what takes its place: itself where nothing changes. All of them are made before any is returned, so
 * a failure leaves the module as it was.
 */
export function moveTensors(tensors: readonly Tensor[], placement: Placement): Map<Tensor, Tensor> {
  const found = options('to', placement, ['device', 'dtype']);
  const dtype = found.dtype === undefined ? undefined : checkDtype('to', found.dtype);
  if (dtype !== undefined && !isFloat(dtype)) fail('ERR_DTYPE', 'to', 'dtype', 'a float type', dtype);
  const target = { ...(found.device !== undefined && { device: found.device as string }) };
  const moved = new Map<Tensor, Tensor>();
  try {
    for (const value of tensors) {
      const place = isFloat(value.dtype) && dtype !== undefined ? { ...target, dtype } : target;
      if (!moved.has(value)) moved.set(value, moveTensor(value, place));
    }
  } catch (error) {
    for (const [before, after] of moved) if (after !== before) after.dispose();
    throw error;
  }
  return moved;
}

function moveTensor(value: Tensor, place: ToOptions): Tensor {
  const result = unrecorded(() => convert(value, place));
  if (result.dtype === value.dtype && result.device === value.device) {
    result.dispose();
    return value;
  }
  keep(result);
  if (!isParameter(value)) return result;
  const wasTrained = value.requiresGrad;
  parameter(result).requiresGrad = wasTrained;
  if (value.grad !== null) result.grad = unrecorded(() => convert(value.grad!, place));
  return result;
}
