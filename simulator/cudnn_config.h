// What the stand-in for libcudnn is told, as text: "version=91002 without=… status=… workspace=…" (README.md).
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace simulator::cudnn {

// A status that calls of an entry return instead of doing anything.
struct Injected {
  std::string entry;
  int status = 0;
  uint64_t left = 0;  // the call from now on that it befalls; 0: every one
};

struct Config {
  int version = 91002;
  int verbose = 0;
  std::set<std::string> without;
  std::vector<Injected> statuses;
  uint64_t workspace = 0;  // least that an algorithm asks for that asks for any
  uint64_t seed = 0;       // of the orders of non-deterministic sums; 0: another one each process

  bool old() const { return version < 9000; }
};

// The first word that is wrong as a sentence, and nothing is changed; empty when all was taken.
std::string configure(Config& config, const std::string& text);

}  // namespace simulator::cudnn
