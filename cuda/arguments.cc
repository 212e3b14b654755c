// Unpacks and checks the arguments of a launch; see arguments.h.

#include "arguments.h"

#include <cmath>
#include <cstring>

#include "error.h"

namespace fracstride {

namespace {

constexpr double kSafe = 9007199254740991.0;

[[noreturn]] void refuse_kinds(const std::string& kinds) {
  throw Error("ERR_ARGUMENT", "load: kinds must be at most " + show(double(kMostParameters)) +
                                  " letters of p i l f d, or P and L followed by a capacity, got \"" + kinds + '"');
}

size_t table_bytes(const Parameter& parameter) {
  return parameter.kind == 'P' || parameter.kind == 'L' ? parameter.capacity * size_t(8) : 0;
}

// One launch: walks over the slots of its arguments.
class Reader {
 public:
  Reader(const Kernel& kernel, Place& place, uint64_t owner, const double* slots, size_t count)
      : kernel_(kernel), place_(place), owner_(owner), next_(slots), end_(slots + count) {}

  // The slots of argument i.
  const double* take(size_t i, size_t width) {
    if (size_t(end_ - next_) < width) refuse(i, "in the staging area", "an area that ends before");
    const double* slot = next_;
    next_ += width;
    return slot;
  }

  void* pointer(size_t i, const double* slot) {
    return slot[0] == 0 ? nullptr : place_.pool.at(owner_, slot[0], slot[1], slot[2], "launch", int(i));
  }

  int64_t whole(size_t i, double value, double low, double high) const {
    if (!(value >= low && value <= high) || value != std::floor(value)) {
      refuse(i, "an integer from " + show(low) + " to " + show(high), show(value));
    }
    return int64_t(value);
  }

  // The entries that are not given are zero.
  void table(size_t i, const Parameter& parameter, uint8_t* table) {
    const size_t count = size_t(whole(i, *take(i, 1), 0, parameter.capacity));
    for (size_t k = 0; k < count; ++k) {
      if (parameter.kind == 'P') {
        void* const value = pointer(i, take(i, 3));
        std::memcpy(table + 8 * k, &value, sizeof value);
      } else {
        const int64_t value = whole(i, *take(i, 1), -kSafe, kSafe);
        std::memcpy(table + 8 * k, &value, sizeof value);
      }
    }
    std::memset(table + 8 * count, 0, 8 * (parameter.capacity - count));
  }

  [[noreturn]] void refuse(size_t i, const std::string& rule, const std::string& got) const {
    throw Error("ERR_ARGUMENT",
                "launch: argument " + show(double(i)) + " of " + kernel_.name + " must be " + rule + ", got " + got);
  }

 private:
  const Kernel& kernel_;
  Place& place_;
  const uint64_t owner_;
  const double* next_;
  const double* const end_;
};

}  // namespace

std::vector<Parameter> read_kinds(const std::string& kinds) {
  std::vector<Parameter> parameters;
  size_t bytes = 0;
  for (size_t at = 0; at < kinds.size();) {
    Parameter parameter{kinds[at++], 1};
    const bool table = parameter.kind == 'P' || parameter.kind == 'L';
    if (!table && std::strchr("pilfd", parameter.kind) == nullptr) refuse_kinds(kinds);
    if (table) {
      parameter.capacity = 0;
      for (; at < kinds.size() && kinds[at] >= '0' && kinds[at] <= '9' && parameter.capacity <= kMostTableBytes; ++at)
        parameter.capacity = 10 * parameter.capacity + uint32_t(kinds[at] - '0');
      if (parameter.capacity == 0) refuse_kinds(kinds);
      bytes += table_bytes(parameter);
    }
    parameters.push_back(parameter);
    if (bytes > kMostTableBytes || parameters.size() > kMostParameters) refuse_kinds(kinds);
  }
  return parameters;
}

void read_arguments(const Kernel& kernel, const std::vector<Parameter>& parameters, Place& place, uint64_t owner,
                    const double* slots, size_t count, Arguments& out) {
  Reader reader(kernel, place, owner, slots, count);
  uint8_t* table = out.tables;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    Arguments::Value& value = out.values[i];
    out.params[i] = &value;
    out.bytes[i] = 0;
    switch (parameter.kind) {
      case 'p': {
        const double* const slot = reader.take(i, 3);
        value.pointer = reader.pointer(i, slot);
        if (value.pointer != nullptr) out.bytes[i] = uint64_t(slot[2]);
        break;
      }
      case 'i':
        value.i = int32_t(reader.whole(i, *reader.take(i, 1), -2147483648.0, 2147483647.0));
        break;
      case 'l':
        value.l = reader.whole(i, *reader.take(i, 1), -kSafe, kSafe);
        break;
      case 'f':
        value.f = float(*reader.take(i, 1));
        break;
      case 'd':
        value.d = *reader.take(i, 1);
        break;
      default:
        reader.table(i, parameter, table);
        out.params[i] = table;
        table += table_bytes(parameter);
    }
  }
  const int small = kernel.too_small(out.params, out.bytes);
  if (small >= 0) {
    reader.refuse(size_t(small), "aligned and as large as the sizes ask for",
                  show(double(out.bytes[small])) + " bytes");
  }
}

}  // namespace fracstride
