// Prints what the control groups below each of the given roots allow, one number a line; `none` without a limit.
#include <cstdio>

#include "cpu/limits.h"

int main(int count, char** roots) {
  for (int i = 1; i < count; ++i) {
    const double cpus = fracstride::cgroup_cpus(roots[i]);
    cpus > 1e6 ? std::puts("none") : std::printf("%g\n", cpus);
  }
}
