// Micro-operations and the state that they work on. A warp's registers are one block of memory; an operand is an
// offset into it, where 32 lanes lie one after another: cells of 4 bytes (types of up to 32 bits), cells of 8 bytes, or
// for a predicate one word with a bit a lane. Literals and special registers lie there too.
#pragma once

#include <string>
#include <vector>

#include "machine.h"

namespace simulator {

constexpr uint32_t kAll = 0xffffffffu;
constexpr uint32_t kNone = 0xffffffffu;

// Generic addresses of the spaces that are not global.
constexpr uint64_t kSharedWindow = 0x0000700000000000u;
constexpr uint64_t kLocalWindow = 0x0000710000000000u;
constexpr uint64_t kParameterWindow = 0x0000720000000000u;
constexpr uint64_t kWindowBytes = 0x100000000u;

struct Warp;
struct Block;
struct Op;
using Run = void (*)(Warp& warp, const Op& op);

struct Op {
  Run run = nullptr;
  uint32_t d = 0, a = 0, b = 0, c = 0;  // operands
  uint32_t guard = kNone;               // operand, a predicate
  bool guard_negated = false;
  bool hidden = false;  // made beside another operation of the same instruction; not counted
  Kind kind = kOther;
  uint8_t small = 0;  // a parameter of the operation, as are the next
  uint16_t multiply_adds = 0;
  uint32_t more = 0;  // index into Code::more, or a parameter
  int64_t value = 0;
  uint32_t target = 0;       // of a branch
  uint32_t instruction = 0;  // index into Code::instructions
};

enum class Special : uint8_t {
  kTidX,
  kTidY,
  kTidZ,
  kNtidX,
  kNtidY,
  kNtidZ,
  kCtaidX,
  kCtaidY,
  kCtaidZ,
  kNctaidX,
  kNctaidY,
  kNctaidZ,
  kLane,
  kWarp,
  kWarps,
  kMaskEq,
  kMaskLe,
  kMaskLt,
  kMaskGe,
  kMaskGt,
  kDynamicShared,
  kTotalShared,
  kZero,
  kOne,
  kGridId,
  kSm,
  kSms,
};

struct Code {
  struct Line {
    int line;
    std::string text;
  };
  struct Literal {
    uint32_t at;
    bool wide;
    uint64_t value;
  };
  struct SpecialCell {
    uint32_t at;
    bool wide;
    Special which;
  };
  std::string name;
  std::vector<Op> ops;
  std::vector<uint32_t> more;
  std::vector<Line> instructions;
  std::vector<Literal> literals;
  std::vector<SpecialCell> specials;
  uint32_t register_bytes = 0;
  uint32_t shared_bytes = 0;  // static; the dynamic memory follows, aligned to 16
  uint32_t dynamic_alignment = 16;
  uint32_t local_bytes = 0;
  uint32_t parameter_bytes = 0;
  bool one_host_thread = false;  // the order of blocks shows in the results
};

// Lanes of a warp at the same place. Those that wait at a barrier stay in the list.
struct Fragment {
  enum State : uint8_t {
    kReady,
    kAligning,  // at a barrier that all lanes of the warp have to reach together
    kArrived,
  } state = kReady;
  uint32_t pc = 0;
  uint32_t mask = 0;
  uint32_t barrier = 0;
  uint32_t expected = 0;  // threads of the barrier
  uint32_t vote = 0;      // bar.red: lanes whose predicate holds
  const Op* op = nullptr;
};

struct AsyncCopy {
  uint32_t lane;
  uint32_t group;  // as the thread counts them
  uint32_t shared;
  uint8_t bytes, source_bytes;
  const uint8_t* source;
};

struct Warp {
  uint8_t* registers = nullptr;
  uint32_t mask = 0;    // lanes that execute the current operation
  uint32_t active = 0;  // lanes of the current fragment
  uint32_t next = 0;    // pc of the operation after this one
  bool event = false;   // the list of fragments changed, or the warp failed

  uint32_t index = 0;
  uint32_t present = 0;
  uint32_t exited = 0;
  std::vector<Fragment> fragments;  // all but the current one
  std::vector<AsyncCopy> copies;
  uint32_t groups[32] = {};  // committed by each lane
  uint64_t steps = 0;
  uint8_t* local = nullptr;  // local_bytes a lane
  Block* block = nullptr;
  const Code* code = nullptr;
};

struct OpCount {
  uint64_t warp = 0, thread = 0;
};

// One block at a time, with what is kept from block to block on one host thread.
struct Block {
  const Code* code = nullptr;
  const Launch* launch = nullptr;
  Memory* memory = nullptr;
  uint32_t id[3] = {};
  uint64_t linear = 0;
  uint32_t threads = 0;
  std::vector<Warp> warps;
  std::vector<uint8_t> shared;
  uint32_t shared_bytes = 0;
  intptr_t delta = 0;
  std::vector<Range> found;  // by operation: the allocation that it accessed last
  std::vector<OpCount> counts;
  Counters counters;          // memory only
  uint32_t arrived[16] = {};  // bar.arrive: threads that did not wait
  int result = kOk;
  std::string sentence;
};

// The warp fails at this operation; `lane` -1 if no one thread is to blame.
void fail(Warp& warp, const Op& op, int result, int lane, const std::string& what);

// Runs the block's warps until all threads have exited or one failed (block.result).
void run_block(Block& block);

}  // namespace simulator
