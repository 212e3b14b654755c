// The machine that executes PTX: device memory, modules, launches and what they counted. The driver beside it
// (driver.cc) gives it the shape of libcuda; nothing here knows of streams, contexts or handles.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

namespace simulator {

// CUresult values with which a launch can end.
enum Result : int {
  kOk = 0,
  kInvalidImage = 200,
  kInvalidPtx = 218,
  kUnsupportedPtxVersion = 222,
  kIllegalAddress = 700,
  kLaunchOutOfResources = 701,
  kLaunchTimeout = 702,
  kAssert = 710,
  kHardwareStackError = 714,
  kIllegalInstruction = 715,
  kMisalignedAddress = 716,
  kInvalidAddressSpace = 717,
  kLaunchFailed = 719,
};

struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;  // one past the last byte
  bool holds(uint64_t address, uint64_t bytes) const { return address >= begin && address + bytes <= end; }
};

// One device's memory. Addresses mean nothing to the host; between two allocations lie bytes that belong to none; an
// address that was freed is not given out again before the address space is used up. Safe to use from several threads.
class Memory {
 public:
  explicit Memory(uint64_t capacity);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // An address aligned to 512 bytes, filled with 0xCD; 0 when less than `bytes` is left (or bytes is 0).
  uint64_t allocate(uint64_t bytes);
  // False when no living allocation begins at `address`.
  bool free(uint64_t address);
  // Where [address, address + bytes) lies on the host; null unless it lies inside one living allocation.
  uint8_t* host(uint64_t address, uint64_t bytes) const;
  // The living allocation that `address` lies in; an empty range if none.
  Range find(uint64_t address) const;
  // "5 bytes after an allocation of 1024 bytes at 0x…" and the like, for messages.
  std::string describe(uint64_t address) const;

  uint64_t capacity() const { return capacity_; }
  uint64_t used() const;
  // Adding this to a device address gives the host's, without any check.
  intptr_t delta() const { return delta_; }

 private:
  uint64_t gap(uint64_t from, uint64_t bytes) const;
  mutable std::shared_mutex mutex_;
  uint64_t capacity_, used_ = 0;
  uint8_t* arena_ = nullptr;
  uint64_t reserved_ = 0, base_ = 0, next_ = 0;
  intptr_t delta_ = 0;
  std::map<uint64_t, uint64_t> living_;  // begin -> bytes
  std::map<uint64_t, uint64_t> freed_;   // for messages only
};

struct Parameter {
  uint32_t offset = 0, bytes = 0, alignment = 0;
};

struct Code;  // micro-operations (code.h)

// A kernel of a module.
struct Function {
  std::string name;
  std::vector<Parameter> parameters;
  uint32_t parameter_bytes = 0;  // size of the block of parameters that a launch hands over
  uint32_t static_shared_bytes = 0;
  uint32_t local_bytes = 0;                // a thread
  uint32_t max_threads = 1024;             // what .maxntid or .reqntid allow a block
  uint32_t required_block[3] = {0, 0, 0};  // .reqntid, else zeros
  uint32_t registers = 0;       // 32-bit registers a thread, an estimate from the text (no allocation happens)
  uint32_t constant_bytes = 0;  // of the module's .const variables
  std::shared_ptr<const Code> code;
};

// A module lives in the memory that it was parsed for (its variables are allocated there), and must not outlive it.
class Module {
 public:
  // Null when the text is not PTX that this machine takes: then `error` is one sentence with the line and what it was,
  // and `result` kInvalidPtx or kUnsupportedPtxVersion. Text ends at a zero byte or at `size`.
  static std::unique_ptr<Module> parse(const char* text, size_t size, Memory& memory, std::string& error, int& result);
  ~Module();

  const Function* function(const std::string& name) const;  // null when there is none
  const std::vector<std::unique_ptr<Function>>& functions() const { return functions_; }
  // Address and size of a .global or .const variable; an empty range when there is none.
  Range global(const std::string& name) const;
  unsigned version() const { return version_; }             // 90 for .version 9.0
  unsigned target() const { return target_; }               // 90 for .target sm_90 (also sm_90a)
  bool architecture_specific() const { return specific_; }  // sm_90a and the like: no other architecture takes it

 private:
  friend struct ModuleBuilder;
  explicit Module(Memory& memory) : memory_(memory) {}
  Memory& memory_;
  std::vector<std::unique_ptr<Function>> functions_;
  std::map<std::string, Range> globals_;
  unsigned version_ = 0, target_ = 0;
  bool specific_ = false;
};

// Which warp of a block, and which block of a grid, goes first. A program that is right does not care.
struct Order {
  enum Kind { kForward, kReverse, kMixed } kind = kForward;
  uint64_t seed = 0;  // of kMixed
};

// Executed instructions by kind: `warp` counts an instruction once a warp, `thread` once an active thread.
enum Kind : uint8_t {
  kMove,
  kInteger,
  kFloat,   // fp32
  kDouble,  // fp64
  kHalf,    // f16, bf16, packed or not
  kConvert,
  kMma,
  kLoadGlobal,
  kStoreGlobal,
  kLoadShared,
  kStoreShared,
  kLocal,     // loads and stores
  kConstant,  // loads from .const and .param
  kBranch,    // bra, call, ret, exit
  kBarrier,
  kShuffle,  // shfl, vote, match, redux
  kAtomic,
  kCopyAsync,
  kLdmatrix,
  kOther,
  kKinds
};
const char* kind_name(Kind kind);

struct Counters {
  uint64_t thread[kKinds] = {};
  uint64_t warp[kKinds] = {};
  uint64_t multiply_adds = 0;  // floating point, of threads: fma counts 1, a packed one 2, an mma its M*N*K a warp
  // Requests are instructions of a warp with at least one thread that accesses; 32-byte sectors and shared-memory
  // wavefronts are what they cost (the fewest wavefronts are 1 for 4 bytes a thread, 2 for 8, 4 for 16;
  // the fewest sectors those that hold the bytes which are asked for, side by side from a sector's beginning).
  uint64_t global_load_requests = 0, global_load_sectors = 0, global_load_least = 0;
  uint64_t global_store_requests = 0, global_store_sectors = 0, global_store_least = 0;
  uint64_t shared_load_requests = 0, shared_load_wavefronts = 0, shared_load_least = 0;
  uint64_t shared_store_requests = 0, shared_store_wavefronts = 0, shared_store_least = 0;
  uint64_t blocks = 0, threads = 0;

  void add(const Counters& other);
  uint64_t thread_total() const;
  uint64_t warp_total() const;
};

struct Launch {
  uint32_t grid[3] = {1, 1, 1};
  uint32_t block[3] = {1, 1, 1};
  uint32_t dynamic_shared_bytes = 0;
  const void* parameters = nullptr;  // function.parameter_bytes bytes
  Order order;
  uint64_t step_limit = uint64_t(1) << 27;  // instructions that one warp may execute
  // Also count sectors and wavefronts (instructions are counted anyway); costs some speed.
  bool count_memory = false;
  // Independent blocks run on this many host threads. What a block computes does not depend on it; kernels with
  // atomics on floating point use one.
  unsigned host_threads = 1;
  // When it turns true, the launch ends soon with kLaunchFailed.
  const std::atomic<bool>* cancel = nullptr;
};

struct Outcome {
  int result = kOk;
  std::string sentence;  // names kernel, block, thread, line and text of the instruction
  Counters counters;
};

// Does not return before the grid has run. Limits of a device (grid, threads and shared memory a block) are the
// driver's to check; a block takes up to 1024 threads.
Outcome launch(const Function& function, const Launch& launch, Memory& memory);

}  // namespace simulator
