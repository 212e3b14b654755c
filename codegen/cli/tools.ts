/** What commands need that codegen does not have itself: it is handed in by whoever has it. */

import type { Command } from 'commander';
import { FracstrideError } from '../errors.js';
import { type LibraryUse, NO_LIBRARY } from '../spec.js';
import { type Compiler, nvcc } from '../toolchain.js';
import type { Session } from './session.js';

export interface Tools {
  /** Compilers by name, the one that is taken where none is named first; each throws when it is not there. */
  readonly compilers: Readonly<Record<string, () => Compiler>>;
  /** URL of the module that tells what a process asked for, see cli/record.ts; null where there is none. */
  readonly recorder: string | null;
  /** What the library of the catalogue can do on this machine. */
  readonly library: () => LibraryUse;
  /** Commands of whoever hands this in; each adds itself to the program. */
  readonly groups: readonly ((program: Command, session: Session) => void)[];
}

export const OWN_TOOLS: Tools = {
  compilers: { nvcc: () => nvcc() },
  recorder: null,
  library: () => NO_LIBRARY,
  groups: [],
};

/**
 * The compiler of that name, else the first that is there.
 *
 * @throws FracstrideError ERR_KERNEL_COMPILE with the reason of each
 */
export function compilerOf({ compilers }: Tools, name: string | undefined): Compiler {
  const wanted = name === undefined ? Object.values(compilers) : [compilers[name]!];
  const reasons: string[] = [];
  for (const find of wanted) {
    try {
      return find();
    } catch (error) {
      if (!(error instanceof FracstrideError)) throw error;
      reasons.push(error.message);
    }
  }
  throw new FracstrideError('ERR_KERNEL_COMPILE', reasons.join('; '));
}
