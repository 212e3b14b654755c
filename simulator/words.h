// Words of a configuration: "KEY=VALUE KEY=VALUE …".
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace simulator {

inline std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> found;
  std::string word;
  for (const char c : text + " ") {
    if (c != ' ' && c != '\t' && c != '\n') {
      word += c;
    } else if (!word.empty()) {
      found.push_back(word);
      word.clear();
    }
  }
  return found;
}

// Digits only; false when there is anything else or too much of it.
inline bool number(const std::string& text, uint64_t most, uint64_t& value) {
  if (text.empty() || text.size() > 15) return false;
  value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + uint64_t(c - '0');
  }
  return value <= most;
}

inline bool bytes(const std::string& text, uint64_t& value) {
  const std::string units = "KMG";
  const size_t unit = text.empty() ? std::string::npos : units.find(text.back());
  const int shift = unit == std::string::npos ? 0 : 10 * (int(unit) + 1);
  const std::string digits = shift == 0 ? text : text.substr(0, text.size() - 1);
  if (!number(digits, (uint64_t(1) << 40) >> shift, value)) return false;
  value <<= shift;
  return value >= (uint64_t(1) << 16);
}

inline void names(const std::string& text, std::set<std::string>& value) {
  std::string name;
  for (const char c : text + ",") {
    if (c != ',') {
      name += c;
    } else if (!name.empty()) {
      value.insert(name);
      name.clear();
    }
  }
}

}  // namespace simulator
