// Reads that JavaScript awaits.

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <unordered_set>

#include "../error.h"
#include "verbs.h"

namespace fracstride {

struct Read;

// The asynchronous reads of one environment: the device's thread says how one ended, the environment's own thread tells
// JavaScript. While one is pending the process stays alive.
struct Reads {
  napi_threadsafe_function teller = nullptr;
  bool keeps_alive = false;
  std::mutex mutex;
  std::condition_variable one_ended;
  std::unordered_set<Read*> pending;
  std::vector<Read*> ended;
  bool gone = false;
};

struct Read {
  std::shared_ptr<Reads> reads;
  Device* device;
  napi_deferred deferred;
  napi_ref target;
  Outcome outcome;
};

std::shared_ptr<Reads> no_reads() {
  return std::make_shared<Reads>();
}

namespace {

// On a thread of the device's.
void read_ended(void* context, const Outcome& outcome) {
  Read* const read = static_cast<Read*>(context);
  const std::shared_ptr<Reads> reads = read->reads;
  std::lock_guard<std::mutex> lock(reads->mutex);
  reads->pending.erase(read);
  if (reads->gone) {
    delete read;
    return;
  }
  read->outcome = outcome;
  reads->ended.push_back(read);
  reads->one_ended.notify_all();
  if (reads->ended.size() == 1) napi_call_threadsafe_function(reads->teller, nullptr, napi_tsfn_nonblocking);
}

// On the environment's thread.
void tell_reads(napi_env env, napi_value, void* context, void*) {
  if (env == nullptr) return;  // the environment has ended, and end_reads saw to them
  Reads& reads = *static_cast<Reads*>(context);
  std::vector<Read*> ended;
  bool all = false;
  {
    std::lock_guard<std::mutex> lock(reads.mutex);
    ended.swap(reads.ended);
    all = reads.pending.empty();
  }
  if (all && reads.keeps_alive) {
    napi_unref_threadsafe_function(env, reads.teller);
    reads.keeps_alive = false;
  }
  for (Read* read : ended) {
    const Outcome& outcome = read->outcome;
    if (outcome.code == nullptr) {
      napi_resolve_deferred(env, read->deferred, Napi::Env(env).Undefined());
    } else {
      napi_reject_deferred(env, read->deferred, with_code(env, outcome.code, outcome.sentence).Value());
    }
    napi_delete_reference(env, read->target);
    delete read;
  }
}

// Before the environment's memory goes, targets of reads included: waits until nothing will be written there.
void end_reads(void* data) {
  Environment& self = *static_cast<Environment*>(data);
  Reads& reads = *self.reads;
  std::unique_lock<std::mutex> lock(reads.mutex);
  const std::vector<Read*> pending(reads.pending.begin(), reads.pending.end());
  lock.unlock();  // until `gone`, reads are deleted on this thread only
  std::vector<Read*> writing;
  for (Read* read : pending) {
    if (!read->device->abandon(read)) writing.push_back(read);
  }
  lock.lock();
  reads.one_ended.wait(lock, [&] {
    return std::none_of(writing.begin(), writing.end(), [&](Read* read) { return reads.pending.count(read) != 0; });
  });
  reads.gone = true;
  for (Read* read : reads.pending) napi_delete_reference(self.env, read->target);
  for (Read* read : reads.ended) {
    napi_delete_reference(self.env, read->target);
    delete read;
  }
  reads.ended.clear();
}

void start_telling(Environment& self) {
  Reads& reads = *self.reads;
  if (reads.teller == nullptr) {
    const Napi::Env env(self.env);
    const napi_status status =
        napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "fracstride"), 0, 1, nullptr,
                                        nullptr, &reads, tell_reads, &reads.teller);
    if (status != napi_ok) throw Error("ERR_BINDING", "copyOutAsync: the event loop must take messages, got a refusal");
    reads.keeps_alive = true;
    // Hooks run last first: this one before that of the function above.
    napi_add_env_cleanup_hook(env, end_reads, &self);
  }
  if (!reads.keeps_alive) napi_ref_threadsafe_function(self.env, reads.teller);
  reads.keeps_alive = true;
}

}  // namespace

Napi::Value copy_out_async(Call& call) {
  Place& at = call.device(0);
  refuse_in_capture(call, at, "reading a tensor");
  const Image target = call.bytes(3, "target");
  const void* source = copy_target(call, at, target.size);
  start_telling(call.self);
  auto read = std::make_unique<Read>();
  Reads& reads = *call.self.reads;
  read->reads = call.self.reads;
  read->device = &at.device;
  napi_value promise = nullptr;
  const bool made = napi_create_promise(call.env(), &read->deferred, &promise) == napi_ok &&
                    napi_create_reference(call.env(), call.info[3], 1, &read->target) == napi_ok;
  if (!made) throw Error("ERR_BINDING", "copyOutAsync: a promise must be made, got none");
  {
    std::lock_guard<std::mutex> lock(reads.mutex);
    reads.pending.insert(read.get());
  }
  try {
    at.device.copy_out_async(const_cast<void*>(target.data), source, target.size, read_ended, read.get());
    read.release();
  } catch (const Error& error) {
    read_ended(read.release(), {error.code(), error.what()});
  }
  return Napi::Value(call.env(), promise);
}

}  // namespace fracstride
