// Builds the addon of this machine with images for the architectures that a release names, and copies it to where a
// published package looks for it: prebuilds/<platform>-<arch>/.
// usage: npm run prebuilds [-- --targets sm_75,…,ptx]

import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from './build.mjs';
import { root } from './inputs.mjs';

/** Machine code where most devices are, PTX for all others and for newer ones. */
const RELEASED = 'sm_75,sm_80,sm_86,sm_89,sm_90,sm_100,sm_120,ptx';

const { values } = parseArgs({ options: { targets: { type: 'string', default: RELEASED } } });
if (await build(values)) {
  const place = `prebuilds/${process.platform}-${process.arch}`;
  mkdirSync(join(root, place), { recursive: true });
  copyFileSync(join(root, 'build/Release/fracstride.node'), join(root, place, 'fracstride.node'));
  console.log(`${place}/fracstride.node with images for ${values.targets}`);
} else {
  process.exitCode = 1;
}
