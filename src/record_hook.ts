/**
 * Preloaded into every Node process of a run by `fracstride record`: adds a line for each problem and operation that
 * is asked for to a file of this thread. The folder for it is part of the address that this module is loaded by.
 */

import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { itemOf } from '../codegen/presets.js';
import { observeKernels } from './kernels.js';

const folder = new URL(import.meta.url).searchParams.get('folder');
if (folder !== null) {
  const file = join(folder, `${process.pid}-${threadId}`);
  appendFileSync(file, '');
  // At once: a process may end in any way.
  observeKernels((asked) => {
    const item = itemOf(asked);
    if (item !== null) appendFileSync(file, `${item}\n`);
  });
}
