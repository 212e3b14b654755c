// Copies the addon of this machine to where a published package looks for it: prebuilds/<platform>-<arch>/.

import { copyFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const folder = join(root, 'prebuilds', `${process.platform}-${process.arch}`);
mkdirSync(folder, { recursive: true });
copyFileSync(join(root, 'build/Release/fracstride.node'), join(folder, 'fracstride.node'));
console.log(`prebuilds/${process.platform}-${process.arch}/fracstride.node`);
