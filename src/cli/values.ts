/** Values of options that several commands take. */

import { InvalidArgumentError } from 'commander';

export function parsePattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

/** A parser of whole numbers from 1 to `most`. */
export function upTo(most: number): (text: string) => number {
  return (text) => {
    const count = Number(text);
    if (/^\d+$/.test(text) && count >= 1 && count <= most) return count;
    throw new InvalidArgumentError(`It must be a whole number from 1 to ${most}, got "${text}".`);
  };
}
