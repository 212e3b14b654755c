// Where the headers of this Node are: whoever compiles an addon asks here.

import * as fs from 'node:fs';
import { dirname, join } from 'node:path';

/** Where npm says they are, else those installed beside Node: a build needs no network then. */
export function nodeHeaders() {
  if (process.env.npm_config_nodedir) return process.env.npm_config_nodedir;
  const prefix = join(dirname(fs.realpathSync(process.execPath)), '..');
  const version = join(prefix, 'include', 'node', 'node_version.h');
  if (!fs.existsSync(version)) return undefined;
  const text = fs.readFileSync(version, 'utf8');
  const part = (name) => new RegExp(`define NODE_${name}_VERSION (\\d+)`).exec(text)?.[1];
  return `v${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}` === process.version ? prefix : undefined;
}
