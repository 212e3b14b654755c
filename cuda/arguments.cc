// Unpacks and checks the arguments of a launch; see arguments.h.

#include "arguments.h"

#include <cmath>

#include "error.h"

namespace fracstride {

namespace {

constexpr double kSafe = 9007199254740991.0;

[[noreturn]] void refuse(const Kernel& kernel, size_t i, const std::string& rule, const std::string& got) {
  throw Error("ERR_ARGUMENT",
              "launch: argument " + show(double(i)) + " of " + kernel.name + " must be " + rule + ", got " + got);
}

int64_t whole(const Kernel& kernel, size_t i, double value, double low, double high) {
  if (!(value >= low && value <= high) || value != std::floor(value)) {
    refuse(kernel, i, "an integer from " + show(low) + " to " + show(high), show(value));
  }
  return int64_t(value);
}

}  // namespace

void read_arguments(const Kernel& kernel, Place& place, uint64_t owner, const double* slots, size_t count,
                    Arguments& out) {
  size_t next = 0;
  for (size_t i = 0; i < kernel.kinds.size(); ++i) {
    const char kind = kernel.kinds[i];
    const size_t width = kind == 'p' ? 3 : 1;
    if (next + width > count)
      refuse(kernel, i, "in the staging area", "an area of " + show(double(count)) + " numbers");
    const double* slot = slots + next;
    next += width;
    Arguments::Value& value = out.values[i];
    out.params[i] = &value;
    out.bytes[i] = 0;
    if (kind == 'p') {
      value.pointer = nullptr;
      if (slot[0] == 0) continue;
      value.pointer = place.pool.at(owner, slot[0], slot[1], slot[2], "launch", int(i));
      out.bytes[i] = uint64_t(slot[2]);
    } else if (kind == 'i') {
      value.i = int32_t(whole(kernel, i, *slot, -2147483648.0, 2147483647.0));
    } else if (kind == 'l') {
      value.l = whole(kernel, i, *slot, -kSafe, kSafe);
    } else if (kind == 'f') {
      value.f = float(*slot);
    } else {
      value.d = *slot;
    }
  }
  const int small = kernel.too_small(out.params, out.bytes);
  if (small >= 0) {
    refuse(kernel, size_t(small), "aligned and as large as the sizes ask for",
           show(double(out.bytes[small])) + " bytes");
  }
}

}  // namespace fracstride
