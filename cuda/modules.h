// Kernels of a CUDA device by name and image, each loaded once for all environments of the process and never unloaded:
// graphs and the sentences of late failures refer to them. There are as many as a program has distinct kernels.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "cuda_queue.h"

namespace fracstride {

struct CudaFunction {
  std::string name;
  cu::Function function = nullptr;
  std::atomic<uint32_t> shared_bytes{48 * 1024};  // dynamic shared memory that may be asked for
};

class Modules {
 public:
  explicit Modules(CudaQueue& queue) : queue_(queue) {}

  // An image without data stands for the one compiled into the addon under this name. Throws ERR_KERNEL_COMPILE when
  // the driver does not take the image, so that the caller may go on to another.
  CudaFunction& find(const std::string& name, Image image);

  // Lets the kernel be launched with this many bytes of dynamic shared memory.
  void allow_shared(CudaFunction& kernel, uint32_t bytes);

 private:
  using Key = std::tuple<std::string, size_t, uint64_t>;

  std::unique_ptr<CudaFunction> load(const std::string& name, Image image);

  CudaQueue& queue_;
  std::mutex mutex_;
  std::map<Key, std::unique_ptr<CudaFunction>> kernels_;
};

}  // namespace fracstride
