/** A text without what it does not use: by what is reached from a kernel, with the comments of what stays. */

import { expect } from 'chai';
import { withoutUnused } from '../../codegen/unused.js';

const KERNEL = `extern "C" __global__ void kernel(float* to) {
  *to = used(1);
}
`;

const device = 'static __device__ __forceinline__';

describe('withoutUnused', () => {
  it('leaves a text as it is that uses all it defines', () => {
    const text = `// Twice.
#define FACTOR 2
typedef float real;
template <int N>
${device} real twice(real x) {
  if (x > 0) {
    x *= FACTOR;
  }
  return x;
}

// Of a kernel's element.
constexpr int ONE = 1, OTHER = 2;
${device} real used(real x) { return twice<ONE>(x); }

${KERNEL}`;
    expect(withoutUnused(text)).equal(text);
  });

  it('leaves out what is reached from nothing but itself and others left out', () => {
    const dead = `${device} int once(int x) { return x > 0 ? again(x) : 0; }
${device} int again(int x) {
  return once(x - 1);
}
typedef double wide;
struct __align__(16) Four {
  wide at[2];
};
static __constant__ const int TABLE[] = {1, 2};
constexpr int LENGTH = 2;
#define UNUSED __device__
`;
    const alive = `${device} float used(float x) { return x; }\n\n${KERNEL}`;
    expect(withoutUnused(`${dead}${alive}`)).equal(alive);
  });

  it('keeps all of a list of constants, and every function of a name', () => {
    const text = `constexpr int A = 1, B = 2;
${device} int used(int x) { return x; }
${device} int used(int x, int y) { return x + A; }

${KERNEL}`;
    expect(withoutUnused(text)).equal(text);
  });

  it('keeps a comment with any of the functions that it tells of, and no other', () => {
    const text = (...lines: string[]) => `${lines.join('\n')}\n\n${KERNEL}`;
    const told = '// Sums\n// of values.';
    const other = '// Of lengths.';
    const used = `${device} float used(float x) { return x; }`;
    const unused = `${device} float length(float x) { return x; }`;
    expect(withoutUnused(text(told, unused, used, other, unused))).equal(text(told, used));
    expect(withoutUnused(text(other, unused, told, used))).equal(text(told, used));
    expect(withoutUnused(text('// A file.', '', other, unused, '', used))).equal(text('// A file.', '', used));
  });

  it('does not take what a comment says for a use', () => {
    const text = `${device} int sum(int x) { return x; }\n\n${device} float used(float x) { return x; } // not sum(x)\n\n${KERNEL}`;
    expect(withoutUnused(text)).not.contain('int sum');
  });
});
