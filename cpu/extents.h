// How much of each buffer a kernel touches, as a function of its scalar arguments (codegen/extents.ts has the
// notation): a launch whose buffers are too small for its sizes is refused before the kernel runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fracstride {

class Extents {
 public:
  Extents() = default;
  // `kinds` are the kernel's, `text` comes from its row.
  Extents(const std::string& kinds, const char* text);

  // The first pointer argument that is null, misaligned or too small for the sizes, or -1. `bytes[i]` are the bytes
  // behind argument i.
  int first_too_small(void* const* params, const uint64_t* bytes) const;

 private:
  struct Rule {
    int argument = 0;
    uint32_t element = 1;
    bool optional = false;
    bool strided = false;
    bool written = false;
    int ndim = 0, strides = 0;
    std::vector<int> factors;
    int divisor = -1;
  };

  double needed(const Rule& rule, void* const* params) const;
  double scalar(void* const* params, int argument) const;

  std::string kinds_;
  std::vector<Rule> rules_;
};

}  // namespace fracstride
