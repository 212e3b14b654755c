// Page-locked memory between the host and a CUDA device, in blocks that are used again once the stream is past them.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda_queue.h"

namespace fracstride {

struct StagingBlock {
  char* memory = nullptr;
  cu::Event event = nullptr;
  bool small = false;
  bool under_way = false;  // its event was recorded and has not been seen to pass
};

class Staging {
 public:
  // Copies are made in pieces of at most this.
  static constexpr size_t kPiece = size_t(4) << 20;

  struct Give {
    Staging* staging = nullptr;
    void operator()(StagingBlock* block) const { staging->give(block); }
  };
  // Goes back when it is dropped, and is used again when nothing is under way in it.
  using Lease = std::unique_ptr<StagingBlock, Give>;

  explicit Staging(CudaQueue& queue) : queue_(queue) {}

  // A block of at least `bytes` (at most kPiece) bytes. When as many are in use as there may be it waits for one; who
  // holds another must use `try_take`, which then returns null.
  Lease take(size_t bytes, const char* where);
  Lease try_take(size_t bytes, const char* where);

  // Queue a copy and record the block's event behind it.
  void send(StagingBlock& block, void* target, size_t bytes);
  void fetch(StagingBlock& block, const void* source, size_t bytes);

 private:
  struct Kind {
    std::vector<StagingBlock*> idle;
    std::deque<StagingBlock*> busy;  // until their events pass, in the order of the stream
    size_t made = 0;
  };

  void give(StagingBlock* block);
  void record(StagingBlock& block, cu::Result copied, const char* where);
  StagingBlock* find(Kind& kind, bool small, const char* where);
  StagingBlock* make(bool small, const char* where);
  Kind& kind_of(bool small) { return small ? small_ : large_; }

  CudaQueue& queue_;
  std::mutex mutex_;
  std::condition_variable given_;
  Kind small_, large_;
};

}  // namespace fracstride
