/** Several tensors as one, and its gradient: each gets its own part back. */

import { checkArray, checkDim, checkSameDevice, checkSameDtype, checkTensor, fail } from '../checks.js';
import { fillOrDispose, pointwise } from '../pointwise.js';
import { allocateTensor, record, Tensor, tidy } from '../tensor.js';
import { narrow, sliced, unsqueeze } from './views.js';

/** Tensors one after the other along a dimension. */
export function cat(tensors: readonly Tensor[], dim = 0): Tensor {
  const inputs = checkList('cat', tensors);
  const { shape, dtype } = inputs[0]!;
  const at = checkDim('cat', dim, shape.length);
  const others = (sizes: readonly number[]): string => String(sizes.with(at, -1));
  if (!inputs.every((x) => x.ndim === shape.length && others(x.shape) === others(shape))) {
    fail(
      'ERR_SHAPE',
      'cat',
      'shapes',
      `equal but for dimension ${at}`,
      inputs.map((x) => x.shape),
    );
  }
  const sizes = inputs.map((x) => x.shape[at]!);
  const starts = sizes.map((_, i) => sizes.slice(0, i).reduce((a, b) => a + b, 0));
  const total = sizes.reduce((a, b) => a + b, 0);
  const out = allocateTensor({ shape: shape.with(at, total), dtype, device: Tensor.window(inputs[0]!).storage.device });
  const whole = Tensor.window(out);
  fillOrDispose(out, () => {
    inputs.forEach((x, i) => {
      pointwise('copy', sliced(whole, at, starts[i]!, sizes[i]!), [Tensor.window(x)]);
    });
  });
  return record(out, {
    name: 'cat',
    inputs,
    backward: (g, _, needed) => sizes.map((size, i) => (needed[i] ? narrow(g, at, starts[i]!, size) : null)),
  });
}

/** Tensors of one shape along a new dimension. */
export function stack(tensors: readonly Tensor[], dim = 0): Tensor {
  const inputs = checkList('stack', tensors);
  const at = checkDim('stack', dim, inputs[0]!.ndim + 1);
  return tidy(() =>
    cat(
      inputs.map((x) => unsqueeze(x, at)),
      at,
    ),
  );
}

function checkList(where: string, tensors: unknown): Tensor[] {
  const list = checkArray(where, 'tensors', tensors);
  if (list.length === 0) fail('ERR_ARGUMENT', where, 'tensors', 'an array of at least one tensor', list);
  const inputs = list.map((value, i) => checkTensor(where, `tensors[${i}]`, value));
  checkSameDevice(where, inputs);
  checkSameDtype(where, inputs);
  return inputs;
}
