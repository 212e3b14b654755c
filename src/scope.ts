/** `scope` and `noGrad`: what holds for tensors made while a function runs, in its async context only. */

import { enter, mode, reach, Scope } from './context.js';
import { FracstrideError, show } from './errors.js';
import { Tensor } from './tensor.js';

/**
 * Runs a function, sync or async, and disposes every tensor made meanwhile (in its async context) but those reachable
 * from what it returns, which belong to the enclosing scope then. Gradients belong to their tensors; what `keep` was
 * called on, as parameters and optimiser state are, stays. Scopes nest.
 *
 * @throws FracstrideError ERR_ARGUMENT when `fn` is no function; whatever `fn` throws, after disposing
 */
export function scope<R>(fn: () => R): R {
  checkFunction('scope', fn);
  const inside = new Scope(false);
  const outer = mode().scope;
  const close = (result: unknown): void => {
    const reached = reach(result);
    for (const value of reached) if (Tensor.isTensor(value)) Tensor.release(value, inside, outer);
    inside.close((value) => Tensor.discard(value, reached, outer));
  };
  let result: R;
  try {
    result = enter({ scope: inside }, fn);
  } catch (error) {
    close(null);
    throw error;
  }
  if (!(result instanceof Promise)) {
    close(result);
    return result;
  }
  return closeAfter(result, close) as R;
}

async function closeAfter<R>(pending: Promise<R>, close: (result: unknown) => void): Promise<R> {
  let result: R | null = null;
  try {
    result = await pending;
    return result;
  } finally {
    close(result);
  }
}

/**
 * Runs a function, sync or async, without recording operations: their results require no gradient.
 *
 * @throws FracstrideError ERR_ARGUMENT when `fn` is no function
 */
export function noGrad<R>(fn: () => R): R {
  checkFunction('noGrad', fn);
  return enter({ recording: false }, fn);
}

function checkFunction(where: string, fn: unknown): void {
  if (typeof fn !== 'function')
    throw new FracstrideError('ERR_ARGUMENT', `${where}: fn must be a function, got ${show(fn)}`);
}
