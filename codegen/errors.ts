/**
 * The one error class of the package. Every message is one sentence,
 * `<where>: <what> must be <rule>, got <value>`, and every error carries a code of the list below.
 */

export const ERROR_CODES = [
  'ERR_ARGUMENT',
  'ERR_SHAPE',
  'ERR_DTYPE',
  'ERR_DEVICE_MISMATCH',
  'ERR_DEVICE_UNAVAILABLE',
  'ERR_BINDING',
  'ERR_OUT_OF_MEMORY',
  'ERR_CUDA',
  'ERR_CUDNN',
  'ERR_KERNEL_COMPILE',
  'ERR_KERNEL_NOT_PREBUILT',
  'ERR_NONDETERMINISTIC',
  'ERR_DISPOSED',
  'ERR_CACHE',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export class FracstrideError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'FracstrideError';
    this.code = code;
  }
}

/** Prints any value in at most about 80 characters, for the end of an error sentence; never throws. */
export function show(value: unknown): string {
  const text = attempt(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** Proxies and getters of a caller may throw when they are looked at. */
function attempt(value: unknown): string {
  try {
    return describe(value, 0);
  } catch {
    return 'something that cannot be looked at';
  }
}

function describe(value: unknown, depth: number): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? value.slice(0, 80) : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'symbol') return 'a symbol';
  if (value === null || typeof value !== 'object') return String(value);
  if (Array.isArray(value)) return depth < 3 ? describeArray(value, depth) : '[…]';
  if (ArrayBuffer.isView(value)) return `a ${value.constructor?.name ?? 'typed array'} of ${value.byteLength} bytes`;
  return `an instance of ${Object.getPrototypeOf(value)?.constructor?.name ?? 'Object'}`;
}

function describeArray(value: readonly unknown[], depth: number): string {
  const first = Array.from({ length: Math.min(value.length, 8) }, (_, i) => describe(value[i], depth + 1));
  return `[${first.join(', ')}${value.length > 8 ? ', …' : ''}]`;
}
