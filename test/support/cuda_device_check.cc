// The CUDA device against the stand-in of fake_libcuda.cc (FRACSTRIDE_LIBCUDA): one check a run, named by the argument.
// A check prints what it saw; addon_cpp.test.ts knows what that must be.
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "cuda/device_cuda.h"
#include "cuda/embedded_images.h"
#include "cuda/error.h"
#include "cuda/pool.h"
#include "cuda/ptx_version.h"
#include "test/support/told.h"

extern const EmbeddedImage fs_embedded_images[] = {{"fill_bytes", "ptx", (const unsigned char*)"fill_bytes", 10}};
extern const size_t fs_embedded_image_count = 1;

using namespace fracstride;

namespace {

void* library = nullptr;
void set(const char* name, long long value) {
  reinterpret_cast<void (*)(const char*, long long)>(dlsym(library, "fake_set"))(name, value);
}
long long get(const char* name) {
  return reinterpret_cast<long long (*)(const char*)>(dlsym(library, "fake_get"))(name);
}

// A reading that was asked for.
struct Waited {
  std::atomic<int> calls{0};
  Outcome outcome;
  std::thread::id thread;

  static void ended(void* self, const Outcome& outcome) {
    auto* waited = static_cast<Waited*>(self);
    waited->outcome = outcome;
    waited->thread = std::this_thread::get_id();
    ++waited->calls;
  }
  const Waited& wait() const {
    while (calls == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return *this;
  }
  std::string text() const { return outcome.code == nullptr ? "worked" : outcome.code + (' ' + outcome.sentence); }
};

const Image kImage{"fill_bytes", 10};
constexpr size_t kLarge = size_t(10) << 20;

struct Device1 {
  Device& device = *make_cuda_device(0).release();  // as in the addon, never torn down
  std::unique_ptr<Kernel> fill = device.load("fill_bytes", "pi", kImage);
  std::unique_ptr<Kernel> gate = device.load("gate", "", kImage);
  std::unique_ptr<Kernel> fault = device.load("fault", "", kImage);

  void fill_with(void* memory, int value, unsigned bytes) {
    void* params[] = {&memory, &value};
    device.launch(*fill, {{bytes / 64, 1, 1}, {64, 1, 1}, 0}, params);
  }
  // Nothing behind it runs before `open`.
  void close() {
    set("gate", 0);
    device.launch(*gate, {{1, 1, 1}, {1, 1, 1}, 0}, nullptr);
  }
  void open() { set("gate", 1); }
  void fail() { device.launch(*fault, {{1, 1, 1}, {1, 1, 1}, 0}, nullptr); }
};

bool all(const std::vector<uint8_t>& bytes, uint8_t value) {
  for (const uint8_t byte : bytes) {
    if (byte != value) return false;
  }
  return true;
}

void check_order(bool locked = true) {
  Device1 at;
  void* memory = at.device.alloc(kLarge);
  std::vector<uint8_t> source(kLarge, 7), first(kLarge), second(kLarge), third(kLarge);
  if (locked) at.close();
  at.device.copy_in(memory, source.data(), kLarge);
  source.assign(kLarge, 1);  // it may change
  Waited early, late, empty;
  at.device.copy_out_async(first.data(), memory, kLarge, Waited::ended, &early);
  at.fill_with(memory, 9, kLarge);
  at.device.copy_out_async(second.data(), memory, kLarge, Waited::ended, &late);
  at.device.set_bytes(memory, 3, kLarge);
  if (locked) say("before", early.calls + late.calls);
  at.open();
  at.device.copy_out_async(nullptr, nullptr, 0, Waited::ended, &empty);
  at.device.copy_out(third.data(), memory, kLarge);
  late.wait();
  say("early", early.calls);
  say("contents", all(first, 7) && all(second, 9) && all(third, 3));
  empty.wait();
  say("own thread", early.thread == late.thread && early.thread != std::this_thread::get_id());
  say(late.text());
  say("pageable", get("pageable_copies"));
  at.device.free(memory, kLarge);
}

void check_ordinary_memory() {
  set("no_pinned", 1);
  check_order(false);
}

// AddressSanitizer sees memory that is freed while a kernel still writes it.
void check_frees() {
  Device1 at;
  const long long before = get("allocations");
  void* memory = at.device.alloc(1 << 20);
  at.close();
  at.fill_with(memory, 1, 1 << 20);
  at.device.free(memory, 1 << 20);
  at.open();
  say("kept", get("allocations") - before);
  at.device.sync();
  say("after the wait", get("allocations") - before);
  for (int i = 0; i < 10; ++i) {
    memory = at.device.alloc(100 << 20);
    at.fill_with(memory, 1, 1 << 20);
    at.device.free(memory, 100 << 20);
  }
  say("gathered", get("allocations") - before);
}

void check_memory() {
  Device1 at;
  Pool pool(at.device, 1);
  set("memory", 64 << 20);
  std::vector<uint64_t> handles;
  for (int i = 0; i < 6; ++i) handles.push_back(pool.allocate(1, 10 << 20));
  for (const uint64_t handle : handles) pool.release(1, handle);
  const uint64_t one = pool.allocate(1, 50 << 20);  // only there when the cached blocks are given back
  say("live", (long long)pool.counts().live);
  say(refusal([&] { pool.allocate(1, 60 << 20); }));
  pool.release(1, one);
  set("fail_alloc", 1);
  const uint64_t two = pool.allocate(1, 1 << 20);  // refused once, retried
  pool.release(1, two);
  set("fail_alloc", 0);
  pool.empty_cache();
  say("cached", (long long)pool.counts().cached);
  pool.set_limit(1000);
  say(refusal([&] { pool.allocate(1, 1001); }));
}

void check_failure() {
  Device1 at;
  Pool pool(at.device, 1);
  const uint64_t handle = pool.allocate(1, 1 << 20);
  void* memory = pool.at(1, double(handle), 0, 1, "check", 0);
  std::vector<uint8_t> bytes(100);
  at.fill_with(memory, 1, 64);
  at.device.sync();
  at.close();
  at.fail();
  at.fill_with(memory, 2, 64);
  Waited waited;
  at.device.copy_out_async(bytes.data(), memory, 100, Waited::ended, &waited);
  at.open();
  say(waited.wait().text());
  say("calls", waited.calls);
  say(refusal([&] { at.device.sync(); }));
  say(refusal([&] { at.fill_with(memory, 2, 64); }));
  say(refusal([&] { at.device.copy_out(bytes.data(), memory, 100); }));
  say(refusal([&] { at.device.copy_in(memory, bytes.data(), 100); }));
  say(refusal([&] { at.device.load("fill_bytes", "pi", {"another fill_bytes", 18}); }));
  say(refusal([&] { at.device.begin_capture(); }));
  Waited again;
  at.device.copy_out_async(bytes.data(), memory, 100, Waited::ended, &again);
  say(again.wait().text());
  say("released", (long long)pool.release(1, handle));
  pool.release_all(1);
  say("live", (long long)pool.counts().live);
}

// One launch since the last wait, of whatever kind: the kernel is certain.
void check_suspect(const char* wait) {
  Device1 at;
  void* memory = at.device.alloc(64);
  int read = 0;
  at.fill_with(memory, 1, 64);
  if (wait == std::string("sync")) at.device.sync();
  if (wait == std::string("copy_out")) at.device.copy_out(&read, memory, 4);
  if (wait == std::string("copy_out_async")) {
    Waited waited;
    at.device.copy_out_async(&read, memory, 4, Waited::ended, &waited);
    waited.wait();
  }
  at.fail();
  say(refusal([&] { at.device.sync(); }));
}

void check_graph_suspect() {
  Device1 at;
  void* memory = at.device.alloc(64);
  at.device.begin_capture();
  at.fill_with(memory, 1, 64);
  at.fail();
  std::unique_ptr<Graph> graph = at.device.end_capture();
  at.device.sync();
  at.device.replay(*graph);
  say(refusal([&] { at.device.sync(); }));
}

// Blocks are not used again before the stream is past them, and there are only so many.
void check_staging() {
  Device1 at;
  constexpr int kCopies = 300;
  int* memory = static_cast<int*>(at.device.alloc(kCopies * sizeof(int)));
  std::vector<int> read(kCopies);
  const auto wrong = [&](int count) {
    at.device.copy_out(read.data(), memory, kCopies * sizeof(int));
    int sum = 0;
    for (int i = 0; i < count; ++i) sum += read[size_t(i)] != i;
    return sum;
  };
  at.close();
  for (int i = 0; i < 100; ++i) at.device.copy_in(memory + i, &i, sizeof i);
  at.open();
  say("wrong", wrong(100));
  at.close();
  std::thread opener([&] {
    while (get("pinned") < (2 << 20)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    at.open();
  });
  for (int i = 0; i < kCopies; ++i) at.device.copy_in(memory + i, &i, sizeof i);
  opener.join();
  say("wrong", wrong(kCopies));
  say("page-locked", get("pinned"));
}

void check_refusals() {
  Device1 at;
  void* memory = at.device.alloc(1024);
  set("fail_launch", 1);
  say(refusal([&] { at.fill_with(memory, 1, 64); }));
  set("fail_copy", 1);
  Waited waited;
  at.device.copy_out_async(&waited, memory, 8, Waited::ended, &waited);
  say(waited.wait().text());
  at.fill_with(memory, 1, 64);  // nothing of this ended the device
  at.device.sync();
  say(refusal([&] { at.device.load("fill_bytes", "pi", {"nonsense", 8}); }));
  say(refusal([&] { at.device.load("other", "pi", kImage); }));
  say(refusal([&] { at.device.load("other", "pi", {}); }));
  say(refusal([&] { at.device.load("fill_bytes", "pi", {}); }));
  at.device.free(memory, 1024);
}

void check_sharing() {
  Device1 at;
  const long long modules = get("modules");
  std::thread([&] { at.device.load("fill_bytes", "pi", kImage); }).join();
  say("loaded again", get("modules") - modules);
  void* memory = at.device.alloc(64);
  at.fill_with(memory, 1, 64);
  const long long contexts = get("contexts_set");
  for (int i = 0; i < 100; ++i) at.fill_with(memory, 1, 64);
  say("contexts set", get("contexts_set") - contexts);
  const std::string text = "// c\n.version 9.0\n.target sm_75\n\t.pragma \"used_bytes_mask 15\";\nfill_bytes";
  say(refusal([&] { at.device.load("fill_bytes", "pi", {text.data(), text.size()}); }));
  say(ptx_for_driver(text, 12020));
  say("newer", ptx_for_driver(text, 13000) == text && ptx_for_driver(text, 13010) == text);
  say(ptx_for_driver(".version 9.1", 13000) + ptx_for_driver(".version 8.7", 12080) +
      ptx_for_driver(".version 8.7", 12060) + ptx_for_driver(".version 8.7", 11040) +
      ptx_for_driver("version 8.7", 11040));
  say("PTX", is_ptx(text.data(), text.size()) &&
                 !is_ptx("\x7f"
                         "ELF.version",
                         12) &&
                 !is_ptx("", 0));
}

void check_capture() {
  Device1 at;
  Pool pool(at.device, 1);
  const auto address = [&](uint64_t handle) { return pool.at(1, double(handle), 0, 64, "check", 0); };
  const uint64_t input = pool.allocate(1, 64), output = pool.allocate(1, 64);
  std::vector<uint8_t> bytes(64);
  const auto value = [&](uint64_t handle) {
    at.device.copy_out(bytes.data(), address(handle), 64);
    return (long long)bytes[0];
  };
  at.device.set_bytes(address(input), 1, 64);
  at.device.set_bytes(address(output), 1, 64);

  at.device.begin_capture();
  const uint64_t arena = pool.begin_capture(1);
  at.fill_with(address(output), 5, 64);
  const uint64_t scratch = pool.allocate(1, 4096);
  void* place = address(scratch);
  pool.release(1, scratch);
  const uint64_t again = pool.allocate(1, 4096);
  say("reused inside", address(again) == place);
  at.fill_with(address(input), 6, 64);
  pool.release(1, input);
  say(refusal([&] { at.device.sync(); }));
  say(refusal([&] { at.device.copy_in(place, bytes.data(), 64); }));
  say(refusal([&] { at.device.copy_out(bytes.data(), place, 64); }));
  say(refusal([&] { at.device.begin_capture(); }));
  Waited waited;
  at.device.copy_out_async(bytes.data(), place, 64, Waited::ended, &waited);
  say(waited.wait().text());
  // Work of another thread runs meanwhile, in other memory.
  std::thread([&] {
    const uint64_t other = pool.allocate(2, 4096);
    at.fill_with(pool.at(2, double(other), 0, 64, "check", 0), 8, 64);
    at.device.sync();
    at.device.copy_out(bytes.data(), pool.at(2, double(other), 0, 64, "check", 0), 64);
    pool.release(2, other);
  }).join();
  say("other thread", bytes[0]);
  std::unique_ptr<Graph> graph = at.device.end_capture();
  pool.end_capture(1);
  say("not run", value(output));
  at.device.replay(*graph);
  say("replayed", value(output));
  pool.release(1, again);
  say("kept", (long long)pool.counts().graphs);
  const uint64_t fresh = pool.allocate(1, 4096);
  say("not reused outside", address(fresh) != place);
  at.device.set_bytes(address(output), 1, 64);
  at.device.replay(*graph);
  say("again", value(output));
  graph.reset();
  pool.free_arena(arena);
  say("kept", (long long)pool.counts().graphs);
  const uint64_t last = pool.allocate(1, 4096);
  say("reused after", address(last) == place);

  at.device.begin_capture();
  at.fill_with(address(output), 7, 64);
  at.device.abort_capture();
  at.device.abort_capture();
  say("aborted", value(output));
  at.device.begin_capture();
  set("refuse_capture", 1);
  say("no graph", at.device.end_capture() == nullptr);
  set("refuse_capture", 0);
  say(refusal([&] { at.device.end_capture(); }));
  say("graphs", get("graphs"));
}

void check_no_graphs() {
  Device1 at;
  say(refusal([&] { at.device.begin_capture(); }));
  void* memory = at.device.alloc(64);
  at.fill_with(memory, 1, 64);
  at.device.sync();
  say("works");
}

// For ThreadSanitizer: everything at once from four threads.
void check_threads() {
  Device1 at;
  Pool pool(at.device, 1);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uint64_t owner = 1; owner <= 4; ++owner) {
    threads.emplace_back([&, owner] {
      std::vector<uint8_t> bytes(100000);
      for (int turn = 0; turn < 30; ++turn) {
        const size_t size = turn % 3 == 0 ? 100000 : 64;
        const uint64_t handle = pool.allocate(owner, size);
        void* memory = pool.at(owner, double(handle), 0, double(size), "check", 0);
        std::fill(bytes.begin(), bytes.end(), uint8_t(owner));
        at.device.copy_in(memory, bytes.data(), size);
        if (turn % 5 == 0) {
          at.device.begin_capture();
          const uint64_t arena = pool.begin_capture(owner);
          at.fill_with(pool.at(owner, double(handle), 0, 64, "check", 0), int(owner), 64);
          std::unique_ptr<Graph> graph = at.device.end_capture();
          pool.end_capture(owner);
          at.device.replay(*graph);
          graph.reset();
          pool.free_arena(arena);
        }
        std::fill(bytes.begin(), bytes.end(), 0);
        if (turn % 2 == 0) {
          at.device.copy_out(bytes.data(), memory, size);
        } else {
          Waited waited;
          at.device.copy_out_async(bytes.data(), memory, size, Waited::ended, &waited);
          wrong += waited.wait().outcome.code != nullptr;
        }
        wrong += bytes[0] != owner || bytes[size - 1] != owner;
        pool.release(owner, handle);
        if (turn % 10 == 9) pool.empty_cache();
      }
      pool.release_all(owner);
    });
  }
  for (std::thread& thread : threads) thread.join();
  say("wrong", wrong);
  say("live", (long long)pool.counts().live);
}

}  // namespace

int main(int, char** arguments) {
  library = dlopen(std::getenv("FRACSTRIDE_LIBCUDA"), RTLD_NOW);
  const std::map<std::string, void (*)()> checks = {{"order", [] { check_order(); }},
                                                    {"ordinary", check_ordinary_memory},
                                                    {"frees", check_frees},
                                                    {"memory", check_memory},
                                                    {"failure", check_failure},
                                                    {"suspect", [] { check_suspect("sync"); }},
                                                    {"suspect_read", [] { check_suspect("copy_out"); }},
                                                    {"suspect_async", [] { check_suspect("copy_out_async"); }},
                                                    {"suspect_graph", check_graph_suspect},
                                                    {"staging", check_staging},
                                                    {"refusals", check_refusals},
                                                    {"sharing", check_sharing},
                                                    {"capture", check_capture},
                                                    {"no_graphs", check_no_graphs},
                                                    {"threads", check_threads}};
  checks.at(arguments[1])();
  std::fflush(stdout);
  std::_Exit(0);  // the completion thread never ends
}
