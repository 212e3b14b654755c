/**
 * Distances between a prediction x and a target t, element by element or added up over all elements, each in one kernel;
 * the gradient of x is one more, whatever was added up.
 *
 *   sq_diff     (x − t)²                                   gradient  2 (x − t)
 *   abs_diff    |x − t|                                              sign(x − t), 0 where they are equal
 *   bce_logits  max(x, 0) − x·t + log(1 + e^−|x|)                    σ(x) − t        (torch.nn.BCEWithLogitsLoss)
 */

import type { DISTANCES } from '../../codegen/operations.js';
import { checkFloat, checkSameDevice, checkSameDtype, checkTensor, fail } from '../checks.js';
import { mode } from '../context.js';
import { shortName } from '../dtype.js';
import { fillWith } from '../fill.js';
import { runOperation } from '../kernels.js';
import { compute, fillOrDispose, pointer } from '../pointwise.js';
import { allocateTensor, record, Tensor, tidy } from '../tensor.js';
import { divideBy, mul, neg, sigmoid, sign, sub } from './elementwise.js';
import { sumTo } from './sum.js';
import { contiguous } from './views.js';

export type Distance = (typeof DISTANCES)[number];

/** The distance of each element; shapes are broadcast. */
export function distance(name: Distance, x: Tensor, target: Tensor): Tensor {
  return recorded(name, compute(name, [x, target]), [x, target], { of: name, divisor: 1 });
}

/** The sum of all elements' distances, divided: summed in float64, rounded once. */
export function totalDistance(name: Distance, x: Tensor, target: Tensor, divisor: number): Tensor {
  return tidy(() => {
    const a = contiguous(x, x.layout);
    const b = contiguous(target, x.layout);
    return recorded(`${name}_sum`, reduceDistance(name, a, b, divisor), [a, b], { of: name, divisor });
  });
}

/**
 * Refuses a prediction and a target that do not belong together: a loss over shapes that merely broadcast is nearly
 * always a mistake.
 *
 * @throws FracstrideError ERR_SHAPE, ERR_DTYPE, ERR_DEVICE_MISMATCH, ERR_ARGUMENT
 */
export function checkTarget(where: string, x: Tensor, target: Tensor): void {
  checkFloat(where, 'input', checkTensor(where, 'input', x));
  checkTensor(where, 'target', target);
  checkSameDevice(where, [x, target]);
  checkSameDtype(where, [x, target]);
  if (String(x.shape) !== String(target.shape)) {
    fail('ERR_SHAPE', where, 'target', `of the same size as the input, [${x.shape.join(', ')}]`, target.shape);
  }
}

function reduceDistance(name: Distance, x: Tensor, target: Tensor, divisor: number): Tensor {
  const { dtype, storage } = Tensor.window(x);
  const out = allocateTensor({ shape: [], dtype, device: storage.device });
  fillOrDispose(out, () => {
    if (x.numel() === 0) return fillWith('fill', out, [0 / divisor]);
    const pointers = [out, x, target].map((value) => pointer(Tensor.window(value)));
    runOperation(storage.device, { name: `${name}_sum`, type: shortName(dtype) }, pointers, [x.numel(), divisor]);
  });
  return out;
}

function recorded(
  name: string,
  out: Tensor,
  inputs: readonly [Tensor, Tensor],
  { of, divisor }: { of: Distance; divisor: number },
): Tensor {
  return record(out, {
    name,
    inputs,
    saved: inputs,
    backward: (g, [x, target], needed) => {
      const wantsTarget = needed[1] === true;
      if (!mode().recording && !wantsTarget) {
        return [sumTo(compute(`${of}_backward`, [g, x!, target!], [divisor]), x!.shape), null];
      }
      const each = divideBy(g, divisor);
      const gx = mul(each, derivative(of, x!, target!));
      const gt = wantsTarget ? neg(of === 'bce_logits' ? mul(each, x!) : gx) : null;
      return [sumTo(gx, x!.shape), gt && sumTo(gt, target!.shape)];
    },
  });
}

/** By operations that have derivatives themselves. */
function derivative(of: Distance, x: Tensor, target: Tensor): Tensor {
  if (of === 'bce_logits') return sub(sigmoid(x), target);
  return of === 'abs_diff' ? sign(sub(x, target)) : mul(sub(x, target), 2);
}
