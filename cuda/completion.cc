// The completion thread; see completion.h.

#include "completion.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "error.h"

namespace fracstride {

// Pieces are handed over as they are queued, so that a caller who waits for a block never holds one.
void Completion::copy_out(void* target, const void* source, size_t bytes, Ended ended, void* context) noexcept {
  auto* request = new Request{ended, context, {}};
  size_t done = 0;
  try {
    do {
      const size_t some = std::min(bytes - done, Staging::kPiece);
      Piece piece =
          copy_piece(request, static_cast<char*>(target) + done, static_cast<const char*>(source) + done, some);
      done += some;
      piece.last = done == bytes;
      push(std::move(piece));
    } while (done < bytes);
  } catch (const Error& error) {
    push({request, nullptr, nullptr, 0, 0, true, {error.code(), error.what()}});
  }
}

void Completion::refuse(Outcome outcome, Ended ended, void* context) noexcept {
  push({new Request{ended, context, {}}, nullptr, nullptr, 0, 0, true, std::move(outcome)});
}

Completion::Piece Completion::copy_piece(Request* request, void* target, const void* source, size_t bytes) {
  queue_.enter("copyOut");
  Staging::Lease block = staging_.take(bytes, "copyOut");
  const uint64_t launches = queue_.launches.count();
  staging_.fetch(*block, source, bytes);
  return {request, std::move(block), target, bytes, launches, false, {}};
}

void Completion::push(Piece piece) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    pieces_.push_back(std::move(piece));
    if (!started_) {
      std::thread([this] { run(); }).detach();  // lives as long as the process, like the device
      started_ = true;
    }
  }
  pushed_.notify_one();
}

void Completion::run() {
  queue_.try_enter();
  for (;;) {
    std::unique_lock<std::mutex> lock(mutex_);
    pushed_.wait(lock, [this] { return !pieces_.empty(); });
    Piece piece = std::move(pieces_.front());
    pieces_.pop_front();
    lock.unlock();
    finish(std::move(piece));
  }
}

void Completion::finish(Piece piece) {
  Request& request = *piece.request;
  Outcome outcome = piece.failure;
  if (piece.block) {
    const cu::Result result = queue_.call.event_synchronize(piece.block->event);
    if (result == cu::kSuccess) {
      queue_.launches.ran(piece.launches);
      if (piece.bytes != 0) std::memcpy(piece.target, piece.block->memory, piece.bytes);
    } else if (request.outcome.code == nullptr) {
      outcome = queue_.outcome(result, "copyOut", "the copy");
    }
    piece.block->under_way = false;
    piece.block.reset();
  }
  if (request.outcome.code == nullptr) request.outcome = outcome;
  if (!piece.last) return;
  request.ended(request.context, request.outcome);
  delete &request;
}

}  // namespace fracstride
