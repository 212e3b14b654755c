/**
 * How much of each buffer a kernel touches, as a function of its scalar arguments: written beside the argument lists, read
 * by the addon, which refuses a launch whose buffers are too small.
 *
 * In a kernel's row every pointer has one word: `?` where it may be null, the bytes of an element, then `*i` for each
 * argument i that its element count is a product of, `/i` for one that divides it; or `~n~s` for a strided tensor, with
 * the number of dimensions and the shape from argument n on and the strides from argument s on (`=n=s` for one that is
 * written: it must have room for every element, or elements would overlap).
 */

import type { Arg } from './passes.js';

export interface Extent {
  /** Bytes of one element. */
  readonly bytes: number;
  /** Names of scalar arguments; `/name` divides. `strided` alone is an element-wise operand. */
  readonly factors: readonly string[];
}

/** The words of a kernel's pointers, in launch order. */
export function extentsText(args: readonly Arg[], extents: Readonly<Record<string, Extent>>): string {
  const index = (name: string) => {
    const found = args.findIndex((arg) => arg.name === name);
    if (found < 0) throw new RangeError(`extents: ${name} must be an argument of the kernel`);
    return found;
  };
  const factor = (name: string) => (name.startsWith('/') ? `/${index(name.slice(1))}` : `*${index(name)}`);
  const words = args
    .filter((arg) => arg.kind === 'p')
    .map((arg) => {
      const extent = extents[arg.name];
      if (extent === undefined) throw new RangeError(`extents: ${arg.name} must have one`);
      const strided = extent.factors[0] === 'strided';
      const sign = arg.role === 'out' ? '=' : '~';
      const layout = () => `${sign}${index('ndim')}${sign}${index(`${arg.name}_stride0`)}`;
      const rule = strided ? layout() : extent.factors.map(factor).join('');
      return `${arg.optional === true ? '?' : ''}${extent.bytes}${rule}`;
    });
  return words.join(' ');
}

/** The operands of a contraction by name, in the terms of codegen/passes.ts. */
export function contractionExtents(
  form: 'expand' | 'contract' | 'wgrad' | 'bgrad',
  bytes: number,
): Record<string, Extent> {
  const of = (...factors: string[]): Extent => ({ bytes, factors });
  if (form === 'bgrad') return { grad: of('n', 'c', 'hw'), bias: of('c') };
  return {
    small: of('n', 'cs', 'hs', 'ws'),
    large: of('n', 'cl', 'hl', 'wl'),
    weight: of('cs', 'cl', 'r', 's', '/groups'),
    bias: of(form === 'expand' ? 'cl' : 'cs'),
    packed: { bytes: 1, factors: ['packed_bytes'] },
  };
}
