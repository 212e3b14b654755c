// Memory that the driver gets back once the work that may still use it has run: with the next wait, or by a wait of its
// own when much has gathered.
#pragma once

#include <mutex>
#include <vector>

#include "cuda_queue.h"

namespace fracstride {

class DeferredFrees {
 public:
  // Frees its memory at the end of the scope, whether the wait in it succeeded or not: when that failed the device is
  // lost, and its memory with it.
  class Batch {
   public:
    Batch(CudaQueue& queue, std::vector<cu::Pointer> memory) : queue_(queue), memory_(std::move(memory)) {}
    ~Batch();
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

   private:
    CudaQueue& queue_;
    std::vector<cu::Pointer> memory_;
  };

  explicit DeferredFrees(CudaQueue& queue) : queue_(queue) {}

  void add(cu::Pointer memory, size_t bytes, bool may_wait) noexcept;
  bool pending();
  // What was added so far; to be taken before a wait.
  Batch take();

 private:
  CudaQueue& queue_;
  std::mutex mutex_;
  std::vector<cu::Pointer> waiting_;
  size_t bytes_ = 0;
};

}  // namespace fracstride
