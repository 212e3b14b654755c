// JSON as the control addon gets it.
#pragma once

#include <cstdint>
#include <string>

namespace simulator {

inline std::string quoted(const std::string& text) {
  std::string json(1, '"');
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    if (c == '\n') {
      json += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      json += ' ';
    } else {
      json += c;
    }
  }
  json += '"';
  return json;
}

// {"name":value,…} of what is added.
class Object {
 public:
  Object& add(const std::string& name, const std::string& json) {
    if (text_.size() > 1) text_ += ',';
    text_.append(quoted(name)).append(1, ':').append(json);
    return *this;
  }
  Object& add(const std::string& name, uint64_t value) { return add(name, std::to_string(value)); }
  std::string json() const { return text_ + "}"; }

 private:
  std::string text_ = "{";
};

}  // namespace simulator
