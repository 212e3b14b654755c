/**
 * The two 16-bit floating-point formats, bit patterns to values and back (IEEE 754 binary16, and bfloat16 = the upper
 * half of a binary32). Rounding is to nearest, ties to even; NaN stays NaN; overflow becomes infinity.
 */

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** binary16 bits of the nearest value. */
export function halfBits(value: number): number {
  float[0] = value;
  const word = bits[0]!;
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  // 65520 is half-way between the largest finite half and what would follow it; the tie rounds to even, that is up.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) return sign | roundedShift(magnitude - 0x38000000, 13);
  if (magnitude < 0x33000000) return sign;
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  return sign | roundedShift(mantissa, 126 - (magnitude >>> 23));
}

/** Value of binary16 bits, exact. */
export function halfValue(pattern: number): number {
  const exponent = (pattern >>> 10) & 0x1f;
  const mantissa = pattern & 0x3ff;
  const sign = pattern & 0x8000 ? -1 : 1;
  if (exponent === 31) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (mantissa + 1024) * 2 ** (exponent - 25);
}

/** bfloat16 bits of the nearest value. */
export function bfloatBits(value: number): number {
  float[0] = value;
  const word = bits[0]!;
  if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | 0x40;
  return roundedShift(word, 16) & 0xffff;
}

/** Value of bfloat16 bits, exact. */
export function bfloatValue(pattern: number): number {
  bits[0] = pattern << 16;
  return float[0]!;
}

function roundedShift(word: number, shift: number): number {
  const kept = word >>> shift;
  const rest = word & (2 ** shift - 1);
  const tie = 2 ** (shift - 1);
  return rest > tie || (rest === tie && kept & 1) ? kept + 1 : kept;
}
