// Sizes of buffers from scalar arguments; see extents.h. Sizes are multiplied as doubles, so that no product overflows.

#include "extents.h"

#include <cstdlib>
#include <cstring>
#include <limits>

namespace fracstride {

namespace {

constexpr int kDims = 6;
constexpr double kTooMuch = std::numeric_limits<double>::infinity();

template <class Value>
Value value_of(void* const* params, int argument) {
  Value value;
  std::memcpy(&value, params[argument], sizeof value);
  return value;
}

// Elements of a strided tensor from its first to its last; 0 when it has none. One that is written needs room for each.
double strided_elements(void* const* params, int ndim, int strides, bool written) {
  const int dims = value_of<int32_t>(params, ndim);
  double last = 0, count = 1;
  for (int d = 0; d < dims && d < kDims; ++d) {
    const double size = double(value_of<int64_t>(params, ndim + 1 + d));
    const double stride = double(value_of<int64_t>(params, strides + d));
    if (size < 0 || (size > 1 && stride < 0)) return kTooMuch;
    count *= size;
    last += size > 1 ? (size - 1) * stride : 0;
  }
  if (count == 0) return 0;
  return written && count > last + 1 ? count : last + 1;
}

}  // namespace

Extents::Extents(const std::string& kinds, const char* text) : kinds_(kinds) {
  int argument = -1;
  while (*text != '\0') {
    Rule rule;
    do ++argument;
    while (kinds_[argument] != 'p');
    rule.argument = argument;
    if (*text == '?') {
      rule.optional = true;
      ++text;
    }
    char* end = nullptr;
    rule.element = uint32_t(std::strtol(text, &end, 10));
    for (text = end; *text != '\0' && *text != ' '; text = end) {
      const char sign = *text;
      const int number = int(std::strtol(text + 1, &end, 10));
      if (sign == '*') rule.factors.push_back(number);
      if (sign == '/') rule.divisor = number;
      if (sign == '~' || sign == '=') {
        (rule.strided ? rule.strides : rule.ndim) = number;
        rule.strided = true;
        rule.written = sign == '=';
      }
    }
    if (*text == ' ') ++text;
    rules_.push_back(rule);
  }
}

int Extents::first_too_small(void* const* params, const uint64_t* bytes) const {
  for (const Rule& rule : rules_) {
    const void* const pointer = value_of<void*>(params, rule.argument);
    if (pointer == nullptr && rule.optional) continue;
    const bool aligned = reinterpret_cast<uintptr_t>(pointer) % rule.element == 0;
    // Written so that a size that is no number is refused.
    if (!(needed(rule, params) <= double(bytes[rule.argument])) || !aligned) return rule.argument;
  }
  return -1;
}

double Extents::needed(const Rule& rule, void* const* params) const {
  if (rule.strided) return strided_elements(params, rule.ndim, rule.strides, rule.written) * rule.element;
  double product = rule.element;
  bool negative = false;
  for (const int factor : rule.factors) {
    const double value = scalar(params, factor);
    negative = negative || value < 0;
    product *= value;
  }
  if (rule.divisor >= 0) product /= scalar(params, rule.divisor);
  return negative ? kTooMuch : product;
}

double Extents::scalar(void* const* params, int argument) const {
  return kinds_[argument] == 'i' ? double(value_of<int32_t>(params, argument))
                                 : double(value_of<int64_t>(params, argument));
}

}  // namespace fracstride
