/** Runs the verbs of device 1 against the driver library of FRACSTRIDE_LIBCUDA and prints what came of it as JSON. */

import { native } from '../../src/native.js';

const addon = native();
const info = addon.cudaInfo();

function refusal(call: () => unknown): string {
  try {
    return `returned ${call()}`;
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return `${code} ${message}`;
  }
}

function run(): Record<string, unknown> {
  const handle = addon.alloc(1, 8);
  addon.copyIn(1, handle, 0, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  const image = new TextEncoder().encode('fill_bytes');
  const kernel = addon.load(1, 'fill_bytes', 'pi', image);
  addon.args.set([handle, 0, 4, 0xab]);
  addon.grid.set([2, 1, 1, 2, 1, 1, 100 * 1024]);
  addon.launch(1, kernel);
  addon.sync(1);
  const bytes = new Uint8Array(8);
  addon.copyOut(1, handle, 0, bytes);
  const { live } = addon.memory(1);
  addon.free(1, handle);
  addon.emptyCache(1);
  return {
    bytes: [...bytes].join(),
    live,
    image: refusal(() => addon.load(1, 'fill_bytes', 'pi', new TextEncoder().encode('nonsense'))),
    absent: refusal(() => addon.load(1, 'other', 'pi', image)),
    builtIn: refusal(() => addon.load(1, 'fill_bytes', 'pi', null)),
    memory: refusal(() => addon.alloc(1, 2 ** 31)),
  };
}

console.log(JSON.stringify({ info, ...(info.available ? run() : {}), second: refusal(() => addon.alloc(2, 8)) }));
