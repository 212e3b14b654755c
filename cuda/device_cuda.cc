// The CUDA device; see device_cuda.h.

#include "device_cuda.h"

#include "completion.h"
#include "copies.h"
#include "cuda_graph.h"
#include "cuda_queue.h"
#include "deferred_free.h"
#include "embedded_images.h"
#include "error.h"
#include "modules.h"
#include "staging.h"

namespace fracstride {

namespace {

struct CudaKernel : Kernel {
  CudaFunction* loaded = nullptr;
};

cu::Pointer address(const void* memory) {
  return reinterpret_cast<uintptr_t>(memory);
}

class CudaDevice : public Device {
 public:
  explicit CudaDevice(int ordinal)
      : queue_(ordinal),
        call_(queue_.call),
        frees_(queue_),
        staging_(queue_),
        completion_(queue_, staging_),
        modules_(queue_),
        captures_(queue_) {}

  void* alloc(size_t bytes) override {
    queue_.enter_surely("alloc");
    cu::Pointer pointer = 0;
    cu::Result result = call_.mem_alloc(&pointer, bytes);
    if (result == cu::kOutOfMemory && !captures_.here() && frees_.pending()) {
      sync_for("alloc");
      result = call_.mem_alloc(&pointer, bytes);
    }
    if (result == cu::kOutOfMemory) return nullptr;
    queue_.check(result, "alloc", "allocating memory of", label());
    return reinterpret_cast<void*>(static_cast<uintptr_t>(pointer));
  }

  void free(void* memory, size_t bytes) noexcept override { frees_.add(address(memory), bytes, !captures_.here()); }

  uint64_t available() override {
    queue_.enter_surely("alloc");
    size_t left = 0, total = 0;
    return call_.mem_get_info(&left, &total) == cu::kSuccess ? left : 0;
  }

  void copy_in(void* target, const void* source, size_t bytes) override {
    refuse_in_capture("copyIn", "writing from the host");
    copy_to_device(queue_, staging_, target, source, bytes);
  }

  void copy_out(void* target, const void* source, size_t bytes) override {
    refuse_in_capture("copyOut", "reading");
    copy_to_host(queue_, staging_, target, source, bytes);
  }

  void copy_out_async(void* target, const void* source, size_t bytes, Ended ended, void* context) override {
    if (captures_.here()) {
      completion_.refuse(in_capture("copyOut", "reading"), ended, context);
    } else {
      completion_.copy_out(target, source, bytes, ended, context);
    }
  }

  void set_bytes(void* target, uint8_t value, size_t bytes) override {
    if (bytes == 0) return;
    queue_.enter("alloc");
    queue_.check(call_.memset_d8_async(address(target), value, bytes, captures_.stream()), "alloc", "filling memory");
  }

  std::vector<std::string> kernel_names() override {
    std::vector<std::string> names;
    for (size_t i = 0; i < fs_embedded_image_count; ++i) names.push_back(fs_embedded_images[i].kernel);
    return names;
  }

  std::unique_ptr<Kernel> load(const std::string& name, const std::string& kinds, Image image) override {
    auto kernel = std::make_unique<CudaKernel>();
    kernel->name = name;
    kernel->kinds = kinds;
    kernel->loaded = &modules_.find(name, image);
    return kernel;
  }

  void launch(const Kernel& base, const LaunchShape& s, void** params) override {
    CudaFunction& kernel = *static_cast<const CudaKernel&>(base).loaded;
    queue_.enter("launch");
    if (s.shared_bytes > kernel.shared_bytes.load(std::memory_order_relaxed)) {
      modules_.allow_shared(kernel, s.shared_bytes);
    }
    captures_.note(kernel.name.c_str());
    const auto start = [&] {
      return call_.launch_kernel(kernel.function, s.grid[0], s.grid[1], s.grid[2], s.block[0], s.block[1], s.block[2],
                                 s.shared_bytes, captures_.stream(), params, nullptr);
    };
    cu::Result result = start();
    if (result == cu::kInvalidContext ||
        result == cu::kInvalidHandle) {  // another library changed the thread's context
      queue_.enter_surely("launch");
      result = start();
    }
    if (result != cu::kSuccess) refused_launch(result, kernel, s);
  }

  void sync() override {
    refuse_in_capture("sync", "waiting");
    sync_for("sync");
  }

  void begin_capture() override { captures_.begin(); }
  bool capturing() const noexcept override { return captures_.here(); }
  std::unique_ptr<Graph> end_capture() override { return captures_.end(); }
  void abort_capture() noexcept override { captures_.abort(); }

  void replay(Graph& graph) override {
    refuse_in_capture("replay", "a replay");
    static_cast<CudaGraph&>(graph).launch();
  }

  // A library may have changed the thread's context, so it is set even where it seems to be.
  LibraryStreams enter_library(const char* where) override {
    queue_.enter_surely(where);
    return {queue_.stream(), captures_.stream()};
  }
  void note_library(const char* name) override { captures_.note(name); }
  void check_library(const char* where) override {
    const cu::Result now = call_.stream_query(queue_.stream());
    if (now != cu::kNotReady) queue_.check(now, where, "work on", label());
  }

  const char* label() const override { return queue_.label.c_str(); }

 private:
  static Outcome in_capture(const char* where, const char* what) {
    return {"ERR_ARGUMENT", std::string(where) + ": " + what + " must wait until the graph has been captured, got " +
                                "a call while capturing"};
  }

  void refuse_in_capture(const char* where, const char* what) const {
    if (!captures_.here()) return;
    const Outcome outcome = in_capture(where, what);
    throw Error(outcome.code, outcome.sentence);
  }

  void sync_for(const char* where) {
    const DeferredFrees::Batch batch = frees_.take();
    queue_.wait(where);
  }

  void refused_launch(cu::Result result, const CudaFunction& kernel, const LaunchShape& s) {
    const auto three = [](const uint32_t* n) {
      return "(" + std::to_string(n[0]) + ", " + std::to_string(n[1]) + ", " + std::to_string(n[2]) + ")";
    };
    const std::string what = "launching " + kernel.name + " with grid " + three(s.grid) + ", block " + three(s.block) +
                             " and " + std::to_string(s.shared_bytes) + " bytes of shared memory";
    queue_.check(result, "launch", what.c_str());
  }

  CudaQueue queue_;
  const cu::Entries& call_;
  DeferredFrees frees_;
  Staging staging_;
  Completion completion_;
  Modules modules_;
  Captures captures_;
};

}  // namespace

std::unique_ptr<Device> make_cuda_device(int ordinal) {
  const CudaInfo& info = cuda_info();
  if (!info.available) {
    throw Error("ERR_DEVICE_UNAVAILABLE", "device: a CUDA device must be usable, got none: " + info.reason);
  }
  if (size_t(ordinal) >= info.devices.size()) {
    throw Error("ERR_DEVICE_UNAVAILABLE", "device: cuda:" + std::to_string(ordinal) + " must be one of " +
                                              std::to_string(info.devices.size()) + " CUDA devices, got none of them");
  }
  return std::make_unique<CudaDevice>(ordinal);
}

}  // namespace fracstride
