/** Where the peers are. */

import { fileURLToPath } from 'node:url';

/** A python3 that has torch: Debian's python3-torch is there for /usr/bin/python3 alone. */
export function python(): string {
  return process.env.FRACSTRIDE_BENCH_PYTHON ?? '/usr/bin/python3';
}

const source = (name: string): string => fileURLToPath(new URL(`../../../bench/peers/${name}`, import.meta.url));

export const PYTORCH = source('pytorch.py');
export const PACKAGE = source('package.json');
export const ONEDNN = source('onednn.cc');
export const BUILD = fileURLToPath(new URL('../../../build/bench/', import.meta.url));
