// Recording of work into graphs. A thread that records has a stream of its own meanwhile, so that what other threads
// ask for runs as usual.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cuda_queue.h"

namespace fracstride {

class CudaGraph : public Graph {
 public:
  CudaGraph(CudaQueue& queue, cu::GraphExec exec, const std::string& kernels);
  ~CudaGraph() override;

  void launch();

 private:
  CudaQueue& queue_;
  cu::GraphExec exec_;
  const char* name_;  // for Launches; lives for ever
};

class Captures {
 public:
  explicit Captures(CudaQueue& queue) : queue_(queue) {}

  void begin();
  bool here() const noexcept { return find() != nullptr; }
  std::unique_ptr<Graph> end();
  void abort() noexcept;

  // The stream for work of this thread; with no capture anywhere this costs one comparison.
  cu::Stream stream() const noexcept {
    const Capture* capture = find();
    return capture == nullptr ? queue_.stream() : capture->stream;
  }
  // Notes a launch, which when recorded does not run yet.
  void note(const char* kernel);

 private:
  struct Capture {
    std::thread::id thread;
    cu::Stream stream;
    std::vector<const char*> kernels;
  };

  Capture* find() const noexcept;
  std::unique_ptr<Capture> take() noexcept;
  cu::Result stop(const Capture& capture, cu::Graph* graph) noexcept;

  CudaQueue& queue_;
  std::atomic<int> open_{0};
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Capture>> captures_;
};

}  // namespace fracstride
