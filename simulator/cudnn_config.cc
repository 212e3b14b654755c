#include "cudnn_config.h"

#include "cudnn_api.h"
#include "words.h"

namespace simulator::cudnn {

namespace {

bool known_entry(const std::string& name) {
#define SIM_SAME(entry, since, parameters) \
  if (name == #entry) return true;
  SIM_CUDNN_ENTRIES(SIM_SAME)
#undef SIM_SAME
  return false;
}

// "ENTRY:STATUS" or "ENTRY:STATUS@N"
bool injected(const std::string& text, Injected& made) {
  const size_t colon = text.find(':'), at = text.find('@');
  if (colon == std::string::npos) return false;
  made.entry = text.substr(0, colon);
  uint64_t status = 0;
  const size_t end = at == std::string::npos ? text.size() : at;
  if (end < colon || !known_entry(made.entry)) return false;
  if (!number(text.substr(colon + 1, end - colon - 1), 99999, status) || status == 0) return false;
  made.status = int(status);
  return at == std::string::npos || (number(text.substr(at + 1), uint64_t(1) << 40, made.left) && made.left != 0);
}

bool statuses(const std::string& text, std::vector<Injected>& value) {
  value.clear();
  if (text == "none") return true;
  std::string each;
  for (const char c : text + ",") {
    if (c != ',') {
      each += c;
      continue;
    }
    Injected made;
    if (!injected(each, made)) return false;
    value.push_back(made);
    each.clear();
  }
  return true;
}

// What a key takes; empty when the value was taken.
std::string set(Config& config, const std::string& key, const std::string& text) {
  uint64_t n = 0;
  if (key == "version") {
    // 8.9.7 is 8907, 9.10.2 is 91002.
    if (!number(text, 99999, n) || n < 7000) return "a version of cuDNN, as 91002 for 9.10.2 or 8907 for 8.9.7";
    config.version = int(n);
  } else if (key == "without") {
    names(text, config.without);
  } else if (key == "status") {
    if (!statuses(text, config.statuses)) return "none, or ENTRY:STATUS or ENTRY:STATUS@N with commas between";
  } else if (key == "workspace") {
    if (text == "0") {
      config.workspace = 0;
    } else if (!bytes(text, config.workspace)) {
      return "0, or bytes from 64K up, as 2G";
    }
  } else if (key == "seed") {
    if (!number(text, ~uint64_t(0), config.seed)) return "a number";
  } else if (key == "verbose") {
    if (!number(text, 2, n)) return "0, 1 or 2";
    config.verbose = int(n);
  } else {
    return "known";
  }
  return "";
}

}  // namespace

std::string configure(Config& config, const std::string& text) {
  Config next = config;
  for (const std::string& word : words(text)) {
    const size_t equals = word.find('=');
    const std::string refusal = "simulator: " + word + " must be ";
    if (equals == std::string::npos) return refusal + "KEY=VALUE";
    const std::string rule = set(next, word.substr(0, equals), word.substr(equals + 1));
    if (!rule.empty()) return refusal + rule;
  }
  config = next;
  return "";
}

}  // namespace simulator::cudnn
