// A small frame for checks of the machine: cases that print "ok <name>" or "not ok <name>: <why>" a line.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../simulator/machine.h"

namespace check {

using namespace simulator;

struct Case {
  std::string name;
  std::function<void()> run;
};
std::vector<Case>& cases();

struct Add {
  Add(const char* name, std::function<void()> run) { cases().push_back({name, std::move(run)}); }
};

[[noreturn]] inline void failed(const std::string& why) {
  throw std::runtime_error(why);
}
// The folder of PTX images, and what a case throws whose image is not there.
std::string& folder();
struct LeftOut {};

std::string hex(uint64_t bits);

template <class T>
void same(const std::string& what, T got, T expected) {
  if (!(got == expected))
    failed(what + " must be " + hex(static_cast<uint64_t>(expected)) + ", got " + hex(static_cast<uint64_t>(got)));
}
void contains(const std::string& text, const std::string& part);

inline uint32_t bits(float x) {
  return std::bit_cast<uint32_t>(x);
}
inline uint64_t bits(double x) {
  return std::bit_cast<uint64_t>(x);
}

// A memory, and a module in it.
struct Rig {
  Memory memory{uint64_t{1} << 28};
  std::unique_ptr<Module> module;

  explicit Rig(const std::string& ptx);
  uint64_t array(const void* data, size_t bytes);
  template <class T>
  uint64_t array(const std::vector<T>& values) {
    return array(values.data(), values.size() * sizeof(T));
  }
  template <class T>
  std::vector<T> read(uint64_t address, size_t count) {
    std::vector<T> values(count);
    const uint8_t* at = memory.host(address, count * sizeof(T));
    if (at == nullptr) failed("nothing lies there");
    std::memcpy(values.data(), at, count * sizeof(T));
    return values;
  }
};

// Parameters of 8 bytes each.
Outcome start(Rig& rig, const std::string& kernel, Launch launch, const std::vector<uint64_t>& parameters);
// The same, which must work.
Counters must_run(Rig& rig, const std::string& kernel, Launch launch, const std::vector<uint64_t>& parameters);

// A module around the body of a kernel k(in, out): %rd0 is in + 32 * thread, %rd1 is out + 32 * thread; registers
// %r<40> %rs<40> %rd<40> %f<40> %fd<40> %p<20>; %r0 is the thread.
std::string around(const std::string& body);

// Runs the body for as many threads as there are inputs (4 words of 64 bits each) and returns 4 words of each.
using Words = std::vector<uint64_t>;
std::vector<Words> evaluate(const std::string& body, const std::vector<Words>& inputs);

// The instruction "op d, a, b, c;" on the given sources: `types` has a letter for d, a, b, c: r 32 bits, d 64 bits,
// h 16 bits, f f32, e f64, p predicate (result only).
uint64_t one(const std::string& op, const std::string& types, const std::vector<uint64_t>& sources,
             const std::string& rest = "");

}  // namespace check
