// The CPU device; see device_cpu.h. What orders its work is the stream (stream.h): verbs that need not wait put their
// work into it and return.

#include "device_cpu.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "../cuda/error.h"
#include "extents.h"
#include "kernel.h"
#include "memory_left.h"
#include "stream.h"
#include "team.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fracstride {

namespace {

constexpr size_t kAlignment = 64;
// Blocks from here on are aligned to huge pages and ask for them.
constexpr size_t kHugePage = 2 << 20;
constexpr size_t kHugeBlock = 2 * kHugePage;
// The system is asked what is left once this much has been taken, or at once for a block of this size.
constexpr uint64_t kUnchecked = 16ull << 20;
// Left to the rest of the process.
constexpr uint64_t kReserve = 128ull << 20;

// True when this machine and its operating system run code of an instruction set.
bool runs(const char* isa) {
#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
  if (std::strcmp(isa, "avx512") == 0) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
  }
  if (std::strcmp(isa, "avx2") == 0) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return std::strcmp(isa, "baseline") == 0;
}

std::string runnable_isas() {
  std::string list;
  for (const std::string& isa : cpu_info().isas) list += (list.empty() ? "" : ", ") + isa;
  return list;
}

struct CpuKernel : Kernel {
  const CpuKernelRow* row = nullptr;
  Extents extents;
  int too_small(void* const* params, const uint64_t* bytes) const override {
    return extents.first_too_small(params, bytes);
  }
};

// Bytes of all blocks that the system has given.
std::atomic<uint64_t> taken{0};

void give_back(void* memory, size_t bytes) {
  taken -= bytes;
#if defined(_WIN32)
  _aligned_free(memory);
#else
  std::free(memory);
#endif
}

class CpuDevice : public Device {
 public:
  void* alloc(size_t bytes) override {
    if (!may_take(bytes)) {
      cpu_stream().wait_quietly();  // what was released goes back to the system when the stream gets there
      if (bytes > available()) return nullptr;
    }
    const size_t alignment = bytes >= kHugeBlock ? kHugePage : kAlignment;
#if defined(_WIN32)
    void* memory = _aligned_malloc(bytes, alignment);
#else
    void* memory = nullptr;
    if (posix_memalign(&memory, alignment, bytes) != 0) return nullptr;
#endif
#if defined(__linux__)
    if (memory != nullptr && bytes >= kHugeBlock) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    if (memory != nullptr) taken += bytes;
    return memory;
  }

  void free(void* memory, size_t bytes) noexcept override {
    cpu_stream().release(memory, bytes, give_back);
  }

  // Pages that were handed out and not yet touched are spoken for, though the system still counts them as free.
  uint64_t available() override {
    const uint64_t resident = memory_resident();
    const uint64_t all = taken;
    const uint64_t untouched = resident != 0 && all > resident ? all - resident : 0;
    const uint64_t left = memory_left();
    return left > untouched + kReserve ? left - untouched - kReserve : 0;
  }

  void copy_in(void* target, const void* source, size_t bytes) override {
    cpu_stream().copy_in(target, source, bytes);
  }
  void copy_out(void* target, const void* source, size_t bytes) override {
    cpu_stream().wait();
    std::memcpy(target, source, bytes);
  }
  void copy_out_async(void* target, const void* source, size_t bytes, Ended ended, void* context) override {
    cpu_stream().copy_out(target, source, bytes, ended, context);
  }
  bool abandon(void* context) noexcept override {
    cpu_stream().abandon(context);
    return true;
  }
  void set_bytes(void* target, uint8_t value, size_t bytes) override {
    cpu_stream().set_bytes(target, value, bytes);
  }

  std::vector<std::string> kernel_names() override {
    std::vector<std::string> names;
    for (size_t t = 0; t < CPU_KERNEL_TABLE_COUNT; ++t) {
      const CpuKernelTable& table = *CPU_KERNEL_TABLES[t];
      if (!runs(table.isa)) continue;
      for (size_t i = 0; i < table.count; ++i) names.push_back(table.rows[i].name);
    }
    return names;
  }

  std::unique_ptr<Kernel> load(const std::string& name, const std::string& kinds, Image image) override {
    if (image.data != nullptr) {
      throw Error("ERR_ARGUMENT", "load: image must be null for the cpu, got " + show(double(image.size)) + " bytes");
    }
    for (size_t t = 0; t < CPU_KERNEL_TABLE_COUNT; ++t) {
      const CpuKernelTable& table = *CPU_KERNEL_TABLES[t];
      for (size_t i = 0; i < table.count; ++i) {
        if (name == table.rows[i].name) return make_kernel(table, table.rows[i], kinds);
      }
    }
    throw Error("ERR_KERNEL_NOT_PREBUILT", "load: kernel must be one that the addon was built with, got " + name);
  }

  void launch(const Kernel& kernel, const LaunchShape&, void** params) override {
    const CpuKernelRow& row = *static_cast<const CpuKernel&>(kernel).row;
    cpu_stream().launch(row.entry, row.name, kernel.kinds, params);
  }

  void sync() override {
    cpu_stream().wait();
  }

  void begin_capture() override {
    refuse_capture();
  }
  bool capturing() const noexcept override {
    return false;
  }
  std::unique_ptr<Graph> end_capture() override {
    refuse_capture();
  }
  void abort_capture() noexcept override {}
  void replay(Graph&) override {
    refuse_capture();
  }

  const char* label() const override {
    return "cpu";
  }

 private:
  // False when the memory that is left does not hold the block; small blocks are let through a few at a time.
  bool may_take(size_t bytes) {
    const uint64_t unchecked = unchecked_ += bytes;
    if (bytes < kUnchecked && unchecked < kUnchecked) return true;
    unchecked_ = 0;
    return bytes <= available();
  }

  static std::unique_ptr<Kernel> make_kernel(const CpuKernelTable& table, const CpuKernelRow& row,
                                             const std::string& kinds) {
    if (!runs(table.isa)) {
      throw Error("ERR_DEVICE_UNAVAILABLE", std::string("load: instruction set of ") + row.name +
                                                " must be one this machine runs (" + runnable_isas() + "), got " +
                                                table.isa);
    }
    if (kinds != row.kinds) {
      throw Error("ERR_ARGUMENT",
                  std::string("load: kinds of ") + row.name + " must be \"" + row.kinds + "\", got \"" + kinds + "\"");
    }
    auto kernel = std::make_unique<CpuKernel>();
    kernel->name = row.name;
    kernel->kinds = row.kinds;
    kernel->row = &row;
    kernel->extents = Extents(kernel->kinds, row.extents);
    return kernel;
  }

  [[noreturn]] static void refuse_capture() {
    throw Error("ERR_ARGUMENT", "graph: device must be a CUDA device, got cpu");
  }

  std::atomic<uint64_t> unchecked_{0};
};

}  // namespace

CpuInfo cpu_info() {
  CpuInfo info;
  for (size_t t = 0; t < CPU_KERNEL_TABLE_COUNT; ++t) {
    const char* isa = CPU_KERNEL_TABLES[t]->isa;
    const bool listed = !info.isas.empty() && info.isas.back() == isa;
    if (!listed && runs(isa)) info.isas.push_back(isa);
  }
  info.threads = team_threads();
  return info;
}

void set_cpu_threads(int count) {
  cpu_stream().wait_quietly();
  set_team_threads(count);
}

std::unique_ptr<Device> make_cpu_device() {
  return std::make_unique<CpuDevice>();
}

}  // namespace fracstride
