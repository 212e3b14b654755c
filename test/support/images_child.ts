/**
 * Loads kernels by name onto the CUDA device of FRACSTRIDE_LIBCUDA and prints what came of each as JSON; checks that what
 * the cache then holds of it is whole. Waits for a line on stdin first where it is told to.
 */

import { once } from 'node:events';
import { nameOf, specOfName, textOf } from '../../codegen/kernel.js';
import { openStore } from '../../codegen/store.js';
import { loadKernel } from '../../src/images.js';

const DEVICE = { name: 'cuda:0', index: 1 } as const;
const words = process.argv.slice(2);
if (words[0] === '--wait') {
  process.stdout.write('ready\n');
  await once(process.stdin, 'data');
  process.stdin.destroy();
  words.shift();
}
console.log(JSON.stringify(words.map(outcome)));

function outcome(name: string) {
  try {
    const loaded = loadKernel(DEVICE, specOfName(name));
    return { name: loaded.name, loaded: loaded.handle > 0, images: kept(name) };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return { code, message };
  }
}

/** The formats that the cache holds of a kernel, each as its fake compiler writes it. */
function kept(name: string): string[] {
  const spec = specOfName(name);
  const store = openStore();
  const source = textOf(spec);
  return (['cubin', 'ptx'] as const).filter((format) => {
    const found = store.matching({ name: nameOf(spec), source: () => source, format })[0];
    if (found === undefined) return false;
    if (Buffer.from(store.read(found, 'image')).toString() !== `fake ${format}\n${source}`) throw new Error('torn');
    return true;
  });
}
