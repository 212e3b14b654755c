// Reading device memory without waiting: copies go to staging blocks in the order of the stream, and one thread a
// device hands them on as their events pass.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>

#include "staging.h"

namespace fracstride {

class Completion {
 public:
  Completion(CudaQueue& queue, Staging& staging) : queue_(queue), staging_(staging) {}

  // Never throws: whatever happens, `ended` is called once, on the thread, in the order of the calls of a caller. Waits
  // only while all staging blocks are under way.
  void copy_out(void* target, const void* source, size_t bytes, Ended ended, void* context) noexcept;

  // Ends a request before it began.
  void refuse(Outcome outcome, Ended ended, void* context) noexcept;

 private:
  struct Request {
    Ended ended;
    void* context;
    Outcome outcome;
  };
  struct Piece {
    Request* request;
    Staging::Lease block;  // null: nothing was copied
    void* target;
    size_t bytes;
    uint64_t launches;  // so many have run when the event has passed
    bool last;
    Outcome failure;  // of queueing
  };

  Piece copy_piece(Request* request, void* target, const void* source, size_t bytes);
  void push(Piece piece);
  void run();
  void finish(Piece piece);

  CudaQueue& queue_;
  Staging& staging_;
  std::mutex mutex_;
  std::condition_variable pushed_;
  std::deque<Piece> pieces_;
  bool started_ = false;
};

}  // namespace fracstride
