/** The CUDA device below JavaScript, as the addon's own build compiled it, for programs of C++ to link. */

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const OBJECTS = 'build/Release/obj.target/fracstride';

/** All of cuda/ that needs neither Node nor another device. */
export const DEVICE_OBJECTS = readdirSync(join(ROOT, 'cuda'))
  .filter((name) => name.endsWith('.cc') && !['arguments.cc', 'registry.cc', 'nvrtc.cc'].includes(name))
  .map((name) => compiled(`cuda/${name}`));

/** The object of a source of the addon, from the root of the package; the source itself where a build kept no objects. */
export function compiled(source: string): string {
  const object = join(OBJECTS, source.replace(/\.cc$/, '.o'));
  return existsSync(join(ROOT, object)) ? object : source;
}
