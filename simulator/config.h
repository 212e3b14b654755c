// What is simulated, as text: "arch=90 devices=1 memory=4G order=mixed:7 driver=13000 …" (README.md lists the words).
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "machine.h"

namespace simulator::driver {

struct Config {
  int arch = 90;
  int devices = 1;
  uint64_t memory = uint64_t(4) << 30;
  Order order;
  int driver = 13000;
  int verbose = 0;
  bool sync = false;     // every call waits for what it asked for
  bool count = false;    // sectors and wavefronts too
  uint64_t steps = 0;    // instructions a warp may execute; 0: the machine's own limit
  unsigned threads = 0;  // of the host that run blocks; 0: as many as it has, at most 4
  std::set<std::string> without;
  double slow_copy_ms = 0;
  double slow_launch_ms = 0;
};

// The first word that is wrong as a sentence, and nothing is changed; empty when all was taken.
std::string configure(Config& config, const std::string& text);

// A call that fails once: the n-th from now on.
struct Countdown {
  uint64_t left = 0;  // 0: never
  bool due() { return left != 0 && --left == 0; }
};

struct Faults {
  Countdown oom;           // device memory, all kinds
  Countdown host_oom;      // pinned memory
  Countdown launch;        // fails when it runs: 719, which stays
  Countdown launch_error;  // cuLaunchKernel itself returns 701
  Countdown copy;          // fails when it runs: 719, which stays
  Countdown load;          // a module: 2
  int lost = 0;            // what every device says from now on
};

// As configure: "oom@3", "lost", "clear" …
std::string inject(Faults& faults, Config& config, const std::string& text);

// The newest PTX that a driver of a CUDA version takes, as 90 for 9.0.
unsigned newest_ptx(int driver);

}  // namespace simulator::driver
