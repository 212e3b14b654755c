// The one exception of the addon: a code of codegen/errors.ts and one sentence,
// `<where>: <what> must be <rule>, got <value>`. napi/addon.cc turns it into a JavaScript Error with the property
// `code`.
#pragma once

#include <cstdio>
#include <exception>
#include <string>

namespace fracstride {

class Error : public std::exception {
 public:
  Error(const char* code, std::string sentence) : code_(code), sentence_(std::move(sentence)) {}
  const char* what() const noexcept override { return sentence_.c_str(); }
  const char* code() const noexcept { return code_; }

 private:
  const char* code_;
  std::string sentence_;
};

// A number as JavaScript prints it, short enough for a sentence.
inline std::string show(double value) {
  char text[32];
  if (value != value) return "NaN";
  if (value == static_cast<double>(static_cast<long long>(value < 1e15 && value > -1e15 ? value : 0.5))) {
    std::snprintf(text, sizeof text, "%lld", static_cast<long long>(value));
  } else {
    std::snprintf(text, sizeof text, value > 1e308 || value < -1e308 ? "%g" : "%.17g", value);
  }
  return text;
}

// A byte count with its unit: `1536 bytes`, `23.4 GiB`.
inline std::string show_bytes(double bytes) {
  static const char* const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  char text[48];
  if (bytes < 10240) {
    std::snprintf(text, sizeof text, "%.0f bytes", bytes);
    return text;
  }
  int unit = -1;
  while (bytes >= 1024 && unit < 5) {
    bytes /= 1024;
    ++unit;
  }
  std::snprintf(text, sizeof text, "%.1f %s", bytes, units[unit]);
  return text;
}

}  // namespace fracstride
