/** oneDNN through a small program (onednn.cc) that is compiled the first time. */

import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { runSync } from '../../codegen/processes.js';
import { Child } from './child.js';
import { BUILD, ONEDNN } from './places.js';

/** @throws where there is no compiler, or no library to compile against */
export function oneDnn(threads: number): Child {
  const program = join(BUILD, 'onednn');
  if (!existsSync(program) || statSync(program).mtimeMs < statSync(ONEDNN).mtimeMs) {
    mkdirSync(BUILD, { recursive: true });
    runSync('g++', ['-O2', '-std=c++17', ONEDNN, '-o', program, '-ldnnl'], BUILD);
  }
  return new Child(program, [], { OMP_NUM_THREADS: `${threads}` });
}
