/** Guard words around every buffer, and poison in fresh ones: what no comparison of results can see. */

import { native } from '../../src/native.js';

/** Runs `fn` with poisoned buffers between guard zones; throws when any zone was written to. */
export function guarded<R>(fn: () => R): R {
  native().debugMemory(true);
  try {
    const result = fn();
    const damaged = native().checkGuards();
    if (damaged > 0) throw new Error(`${damaged} guard zones were overwritten`);
    return result;
  } finally {
    native().debugMemory(false);
  }
}
