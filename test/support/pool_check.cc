// Writes outside of a buffer on purpose, which nothing that JavaScript can reach does, and looks whether the guards
// tell; and lets two graphs share blocks.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cuda/pool.h"

namespace {

class HostDevice : public fracstride::Device {
 public:
  void* alloc(size_t bytes) override {
    if (blocks == most) return nullptr;
    ++blocks;
    return std::malloc(bytes);
  }
  void free(void* memory, size_t) noexcept override {
    --blocks;
    std::free(memory);
  }
  uint64_t available() override { return 0; }
  void copy_in(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void copy_out(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void copy_out_async(void*, const void*, size_t, fracstride::Ended, void*) override {}
  void set_bytes(void* to, uint8_t value, size_t bytes) override { std::memset(to, value, bytes); }
  std::vector<std::string> kernel_names() override { return {}; }
  std::unique_ptr<fracstride::Kernel> load(const std::string&, const std::string&, fracstride::Image) override {
    return nullptr;
  }
  void launch(const fracstride::Kernel&, const fracstride::LaunchShape&, void**) override {}
  void sync() override {}
  void begin_capture() override {}
  bool capturing() const noexcept override { return false; }
  std::unique_ptr<fracstride::Graph> end_capture() override { return nullptr; }
  void abort_capture() noexcept override {}
  void replay(fracstride::Graph&) override {}
  const char* label() const override { return "host"; }

  int blocks = 0;
  int most = 4;
};

}  // namespace

// Blocks of buffers of owner 1 that two graphs use, while owner 2 allocates.
void share_blocks() {
  HostDevice device;
  device.most = 100;
  fracstride::Pool pool(device, 3);
  const auto address = [&](uint64_t owner, uint64_t handle) {
    return pool.at(owner, double(handle), 0, 1, "check", 0);
  };
  const auto kept = [&] { std::printf(" %d", int(pool.counts().graphs)); };
  const uint64_t input = pool.allocate(1, 100);
  const uint64_t first = pool.begin_capture(1);
  void* const place = address(1, input);
  pool.end_capture(1);
  const uint64_t second = pool.begin_capture(1);
  address(1, input);
  const uint64_t inside = pool.allocate(1, 100);
  void* const scratch = address(1, inside);
  const uint64_t other = pool.allocate(2, 100);  // of another owner, so no graph's
  pool.release(1, input);
  pool.release(1, inside);
  pool.release(2, other);
  kept();
  std::printf(" %d", int(address(1, pool.allocate(1, 100)) == scratch));
  pool.end_capture(1);
  pool.free_arena(first);
  kept();
  pool.free_arena(second);
  kept();
  std::printf(" %d", int(address(2, pool.allocate(2, 100)) == place));
  pool.begin_capture(1);
  pool.allocate(1, 5000);
  pool.release_all(1);  // an environment that ends while it captures
  pool.release_all(2);
  kept();
  pool.empty_cache();
  std::printf(" %d %d\n", int(pool.counts().live), device.blocks);
}

int main() {
  HostDevice device;
  {
    fracstride::Pool pool(device, 3);
    const auto bytes_of = [&](uint64_t handle, double size) {
      return static_cast<unsigned char*>(pool.at(1, double(handle), 0, size, "check", 0));
    };
    pool.set_debug(true);
    const uint64_t a = pool.allocate(1, 100);
    const uint64_t b = pool.allocate(1, 0);
    std::printf("%d", int(pool.damaged_guards()));
    bytes_of(a, 100)[99] = 1;
    std::printf(" %d", int(pool.damaged_guards()));
    bytes_of(a, 100)[100] ^= 1;
    std::printf(" %d", int(pool.damaged_guards()));
    bytes_of(a, 100)[-64] ^= 1;
    bytes_of(b, 0)[-1] ^= 1;
    std::printf(" %d", int(pool.damaged_guards()));
    pool.release(1, a);
    std::printf(" %d", int(pool.damaged_guards()));
    // Blocks of other sizes in the cache are given back when the device has no more.
    pool.release(1, b);
    for (int size : {1000, 2000, 3000, 4000}) pool.allocate(2, size);
    std::printf(" %d", int(pool.counts().live));
    pool.release_all(2);
    std::printf(" %d\n", int(pool.counts().live));
  }
  share_blocks();
  return device.blocks;
}
