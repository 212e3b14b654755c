#include "config.h"

#include <cmath>
#include <cstdlib>
#include <vector>

#include "words.h"

namespace simulator::driver {

namespace {

bool milliseconds(const std::string& text, double& value) {
  char* end = nullptr;
  value = std::strtod(text.c_str(), &end);
  const std::string unit = end;
  if (unit == "us") value /= 1000;
  if (unit == "s") value *= 1000;
  return end != text.c_str() && (unit == "" || unit == "ms" || unit == "us" || unit == "s") && value >= 0 &&
         value <= 60000;
}

bool order(const std::string& text, Order& value) {
  const size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  value = Order();
  if (kind == "mixed") {
    value.kind = Order::kMixed;
    return colon == std::string::npos || number(text.substr(colon + 1), ~uint64_t(0), value.seed);
  }
  value.kind = kind == "reverse" ? Order::kReverse : Order::kForward;
  return colon == std::string::npos && (kind == "forward" || kind == "reverse");
}

bool flag(const std::string& text, bool& value) {
  value = text == "1";
  return text == "0" || text == "1";
}

// What a key takes; empty when the value was taken.
std::string set(Config& config, const std::string& key, const std::string& text) {
  uint64_t n = 0;
  if (key == "arch") {
    const std::set<uint64_t> known = {75, 80, 86, 87, 89, 90, 100, 103, 120};
    if (!number(text, 999, n) || known.count(n) == 0) return "one of 75, 80, 86, 87, 89, 90, 100, 103, 120";
    config.arch = int(n);
  } else if (key == "devices") {
    if (!number(text, 64, n)) return "a number of devices up to 64";
    config.devices = int(n);
  } else if (key == "memory") {
    if (!bytes(text, config.memory)) return "bytes from 64K up, as 4G";
  } else if (key == "order") {
    if (!order(text, config.order)) return "forward, reverse or mixed:SEED";
  } else if (key == "driver") {
    if (!number(text, 99990, n) || n < 9000) return "a CUDA version, as 13000 for 13.0";
    config.driver = int(n);
  } else if (key == "verbose") {
    if (!number(text, 2, n)) return "0, 1 or 2";
    config.verbose = int(n);
  } else if (key == "sync") {
    if (!flag(text, config.sync)) return "0 or 1";
  } else if (key == "count") {
    if (!flag(text, config.count)) return "0 or 1";
  } else if (key == "steps") {
    if (!number(text, ~uint64_t(0), config.steps)) return "a number of instructions";
  } else if (key == "threads") {
    if (!number(text, 64, n)) return "a number of threads up to 64";
    config.threads = unsigned(n);
  } else if (key == "without") {
    names(text, config.without);
  } else if (key == "slow_copy") {
    if (!milliseconds(text, config.slow_copy_ms)) return "a time up to 60s, as 50ms";
  } else if (key == "slow_launch") {
    if (!milliseconds(text, config.slow_launch_ms)) return "a time up to 60s, as 50ms";
  } else {
    return "known";
  }
  return "";
}

std::string refusal(const std::string& word, const std::string& rule) {
  return "simulator: " + word + " must be " + rule;
}

}  // namespace

std::string configure(Config& config, const std::string& text) {
  Config next = config;
  for (const std::string& word : words(text)) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) return refusal(word, "KEY=VALUE");
    const std::string rule = set(next, word.substr(0, equals), word.substr(equals + 1));
    if (!rule.empty()) return refusal(word, rule);
  }
  config = next;
  return "";
}

std::string inject(Faults& faults, Config& config, const std::string& text) {
  Faults next = faults;
  Config changed = config;
  for (const std::string& word : words(text)) {
    if (word == "clear") {
      next = Faults();
      changed.slow_copy_ms = changed.slow_launch_ms = 0;
      continue;
    }
    if (word.rfind("lost", 0) == 0) {
      uint64_t code = 46;
      if (word != "lost" && (word[4] != '=' || !number(word.substr(5), 9999, code) || code == 0)) {
        return refusal(word, "lost or lost=RESULT");
      }
      next.lost = int(code);
      continue;
    }
    const size_t at = word.find('@');
    if (at == std::string::npos) {
      const std::string wrong = configure(changed, word);
      if (!wrong.empty()) return wrong;
      continue;
    }
    const std::string name = word.substr(0, at);
    Countdown* countdown = name == "oom"            ? &next.oom
                           : name == "host_oom"     ? &next.host_oom
                           : name == "launch"       ? &next.launch
                           : name == "launch_error" ? &next.launch_error
                           : name == "copy"         ? &next.copy
                           : name == "load"         ? &next.load
                                                    : nullptr;
    if (countdown == nullptr || !number(word.substr(at + 1), uint64_t(1) << 40, countdown->left) ||
        countdown->left == 0) {
      return refusal(word, "oom, host_oom, launch, launch_error, copy or load, @ and which call from now on fails");
    }
  }
  faults = next;
  config = changed;
  return "";
}

unsigned newest_ptx(int driver) {
  const int major = driver / 1000, minor = driver % 1000 / 10;
  if (major >= 13) return unsigned(90 + 10 * (major - 13) + minor);
  if (major == 12) {
    const unsigned minors[] = {80, 81, 82, 83, 84, 85, 85, 86, 87, 88};
    return minors[minor > 9 ? 9 : minor];
  }
  if (major == 11) return unsigned(70 + (minor > 8 ? 8 : minor));
  return major == 10 ? unsigned(minor == 2 ? 65 : 63 + minor) : 60;
}

}  // namespace simulator::driver
