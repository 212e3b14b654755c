// Buffers of a device: allocation, copies, counts, guards.

#include "../error.h"
#include "verbs.h"

namespace fracstride {

namespace {

// V8 wants to know what its objects hold outside of its heap; it is told when that has changed by this much.
constexpr int64_t kWorthSaying = 1 << 20;

void account(Call& call, int64_t change) {
  Environment& self = call.self;
  self.unsaid_bytes += change;
  if (self.unsaid_bytes < kWorthSaying && self.unsaid_bytes > -kWorthSaying) return;
  Napi::MemoryManagement::AdjustExternalMemory(call.env(), self.unsaid_bytes);
  self.external_bytes += self.unsaid_bytes;
  self.unsaid_bytes = 0;
}

}  // namespace

Napi::Value alloc(Call& call) {
  Place& at = call.device(0);
  const double bytes = call.integer(1, "bytes", 0, kSafe);
  const uint64_t handle = at.pool.allocate(call.self.owner, uint64_t(bytes));
  account(call, int64_t(bytes));
  return Napi::Number::New(call.env(), double(handle));
}

Napi::Value free_buffer(Call& call) {
  Place& at = call.device(0);
  const double handle = call.number(1, "handle");
  if (handle >= 1 && handle <= kSafe) account(call, -int64_t(at.pool.release(call.self.owner, uint64_t(handle))));
  return call.env().Undefined();
}

Napi::Value copy_in(Call& call) {
  Place& at = call.device(0);
  refuse_in_capture(call, at, "making a tensor from data of JavaScript");
  const Image source = call.bytes(3, "source");
  void* target = copy_target(call, at, source.size);
  if (source.size != 0) at.device.copy_in(target, source.data, source.size);
  return call.env().Undefined();
}

Napi::Value copy_out(Call& call) {
  Place& at = call.device(0);
  refuse_in_capture(call, at, "reading a tensor");
  const Image target = call.bytes(3, "target");
  const void* source = copy_target(call, at, target.size);
  if (target.size != 0) at.device.copy_out(const_cast<void*>(target.data), source, target.size);
  return call.env().Undefined();
}

Napi::Value memory(Call& call) {
  const MemoryCounts counts = call.device(0).pool.counts();
  Napi::Object result = Napi::Object::New(call.env());
  result.Set("live", double(counts.live));
  result.Set("cached", double(counts.cached));
  result.Set("peak", double(counts.peak));
  result.Set("graphs", double(counts.graphs));
  return result;
}

Napi::Value empty_cache(Call& call) {
  call.device(0).pool.empty_cache();
  return call.env().Undefined();
}

Napi::Value set_memory_limit(Call& call) {
  Place& at = call.device(0);
  at.pool.set_limit(uint64_t(call.integer(1, "bytes", 0, kSafe)));
  return call.env().Undefined();
}

Napi::Value debug_memory(Call& call) {
  struct Switch {
    static void visit(Place& at, void* on) { at.pool.set_debug(*static_cast<bool*>(on)); }
  };
  bool on = call.boolean(0, "debug mode");
  place(0, call.where);
  each_place(Switch::visit, &on);
  return call.env().Undefined();
}

Napi::Value check_guards(Call& call) {
  struct Sum {
    static void visit(Place& at, void* total) { *static_cast<uint64_t*>(total) += at.pool.damaged_guards(); }
  };
  uint64_t total = 0;
  each_place(Sum::visit, &total);
  return Napi::Number::New(call.env(), double(total));
}

}  // namespace fracstride
