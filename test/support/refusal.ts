/** What a call is refused with. */

import { type ErrorCode, FracstrideError } from 'fracstride';

/** Code and sentence of the FracstrideError that `fn` throws; null when it throws nothing. Other errors pass. */
export function refusal(fn: () => unknown): [code: ErrorCode | null, sentence: string] {
  try {
    fn();
  } catch (error) {
    if (error instanceof FracstrideError) return [error.code, error.message];
    throw error;
  }
  return [null, 'nothing was thrown'];
}
