/** Results that are kept: choosing a kernel asks the same of a few shapes and tiles for each of its candidates. */

const MOST = 4096;

/**
 * `make`, whose results are kept by `keyOf` its arguments; they are shared, so nobody may change them. The key has to say all that
 * `make` looks at.
 */
export function kept<A extends readonly unknown[], R extends NonNullable<unknown>>(
  keyOf: (...args: A) => string,
  make: (...args: A) => R,
): (...args: A) => R {
  const results = new Map<string, R>();
  return (...args) => {
    const key = keyOf(...args);
    const known = results.get(key);
    if (known !== undefined) return known;
    const made = make(...args);
    // Programs meet few shapes; one that meets ever new ones starts again.
    if (results.size >= MOST) results.clear();
    results.set(key, made);
    return made;
  };
}
