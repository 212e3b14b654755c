// Lowers the version of PTX; see ptx_version.h.

#include "ptx_version.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>

namespace fracstride {

namespace {

const char* const kDirective = ".version";

// Where the directive stands, outside of comments and at the beginning of its line.
size_t find_directive(const std::string& text) {
  size_t at = 0;
  while (at < text.size()) {
    if (std::isspace(static_cast<unsigned char>(text[at]))) {
      ++at;
    } else if (text.compare(at, 2, "//") == 0) {
      at = std::min(text.find('\n', at), text.size());
    } else if (text.compare(at, 2, "/*") == 0) {
      const size_t end = text.find("*/", at);
      at = end == std::string::npos ? text.size() : end + 2;
    } else {
      return text.compare(at, std::strlen(kDirective), kDirective) == 0 ? at : std::string::npos;
    }
  }
  return std::string::npos;
}

// PTX versions as major · 10 + minor. Each CUDA release since 11.0 has one of its own, with three exceptions.
int ptx_of_driver(int driver_version) {
  const int major = driver_version / 1000, minor = driver_version % 1000 / 10;
  if (major == 12 && minor >= 6) return 80 + minor - 1;  // 12.5 and 12.6 both have 8.5
  return (major - 4) * 10 + minor;
}

void remove_lines(std::string& text, const char* mark) {
  for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at)) {
    const size_t before = text.rfind('\n', at), behind = text.find('\n', at);
    const size_t begin = before == std::string::npos ? 0 : before + 1;
    text.erase(begin, (behind == std::string::npos ? text.size() : behind + 1) - begin);
    at = begin;
  }
}

}  // namespace

bool is_ptx(const void* data, size_t size) {
  const char* bytes = static_cast<const char*>(data);
  return find_directive(std::string(bytes, strnlen(bytes, size))) != std::string::npos;
}

std::string ptx_for_driver(std::string text, int driver_version) {
  const size_t at = find_directive(text);
  if (at == std::string::npos || driver_version < 11000) return text;
  char* end = nullptr;
  const char* number = text.c_str() + at + std::strlen(kDirective);
  const long major = std::strtol(number, &end, 10);
  if (end == number || *end != '.') return text;
  const long minor = std::strtol(end + 1, &end, 10);
  const int known = ptx_of_driver(driver_version);
  if (major * 10 + minor <= known) return text;
  text.replace(at, size_t(end - text.c_str()) - at,
               std::string(kDirective) + ' ' + std::to_string(known / 10) + '.' + std::to_string(known % 10));
  if (known < 83) remove_lines(text, ".pragma \"used_bytes_mask");
  return text;
}

}  // namespace fracstride
