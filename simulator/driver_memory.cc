// Device and pinned memory, copies and fills.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "state.h"

namespace simulator::driver {

namespace {

constexpr size_t kPinnedAlignment = 4096;

// The pinned memory that [begin, begin + bytes) lies in, or null.
const Pinned* pinned(State& s, const void* memory, size_t bytes) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(memory);
  auto found = s.pinned.upper_bound(begin);
  if (found == s.pinned.begin()) return nullptr;
  --found;
  return begin + bytes <= found->first + found->second.bytes ? &found->second : nullptr;
}

bool valid(const Context& context, Pointer address, size_t bytes) {
  return context.memory->host(address, bytes) != nullptr;
}

void pause(double milliseconds) {
  if (milliseconds > 0) std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(milliseconds));
}

// What a copy or a fill does when the stream gets there: `apply` with the host addresses of its device ranges.
struct Ranges {
  Pointer to = 0, from = 0;  // 0: not on the device
  size_t bytes = 0;
};

Ended outside(Context& context, const char* what, Pointer address, size_t bytes) {
  return {kERROR_ILLEGAL_ADDRESS,
          std::string(what) + " of " + std::to_string(bytes) + " bytes at " + context.memory->describe(address)};
}

template <class Apply>
Work transfer(State& s, Context& context, const char* what, Ranges ranges, Apply apply) {
  const bool failing = s.faults.copy.due();
  return [&s, &context, what, ranges, apply, failing]() -> Ended {
    double slow = 0;
    {
      const Lock lock(s.mutex);
      slow = s.config.slow_copy_ms;
    }
    pause(slow);
    if (failing) return injected(what);
    uint8_t* to = nullptr;
    const uint8_t* from = nullptr;
    if (ranges.to != 0 && (to = context.memory->host(ranges.to, ranges.bytes)) == nullptr) {
      return outside(context, what, ranges.to, ranges.bytes);
    }
    if (ranges.from != 0 && (from = context.memory->host(ranges.from, ranges.bytes)) == nullptr) {
      return outside(context, what, ranges.from, ranges.bytes);
    }
    apply(to, from);
    return {};
  };
}

Result copy_in(State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream, Pointer to,
               const void* from, size_t bytes) {
  if (bytes == 0) return kSUCCESS;
  if (from == nullptr || !valid(context, to, bytes)) return kERROR_INVALID_VALUE;
  if (pinned(s, from, bytes) != nullptr) {
    // Read when the stream gets there.
    return enqueue(s, lock, stream,
                   transfer(s, context, "a copy to the device", {to, 0, bytes},
                            [=](uint8_t* target, const uint8_t*) { std::memcpy(target, from, bytes); }));
  }
  if (stream->capture != nullptr) {
    stream->capture->invalid = true;
    return kERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  auto staged = std::make_shared<std::vector<uint8_t>>(bytes);
  std::memcpy(staged->data(), from, bytes);
  return enqueue(s, lock, stream,
                 transfer(s, context, "a copy to the device", {to, 0, bytes},
                          [=](uint8_t* target, const uint8_t*) { std::memcpy(target, staged->data(), bytes); }));
}

Result copy_out(State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream, void* to, Pointer from,
                size_t bytes) {
  if (bytes == 0) return kSUCCESS;
  if (to == nullptr || !valid(context, from, bytes)) return kERROR_INVALID_VALUE;
  const bool pageable = pinned(s, to, bytes) == nullptr;
  if (pageable && stream->capture != nullptr) {
    stream->capture->invalid = true;
    return kERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  const Result result = enqueue(s, lock, stream,
                                transfer(s, context, "a copy from the device", {0, from, bytes},
                                         [=](uint8_t*, const uint8_t* source) { std::memcpy(to, source, bytes); }));
  // What goes to pageable memory is there when the call returns.
  return result == kSUCCESS && pageable ? wait_for(s, lock, {stream, stream->asked}) : result;
}

Result copy_within(State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream, Pointer to,
                   Pointer from, size_t bytes) {
  if (bytes == 0) return kSUCCESS;
  if (!valid(context, to, bytes) || !valid(context, from, bytes)) return kERROR_INVALID_VALUE;
  return enqueue(s, lock, stream,
                 transfer(s, context, "a copy on the device", {to, from, bytes},
                          [=](uint8_t* target, const uint8_t* source) { std::memmove(target, source, bytes); }));
}

template <class Value>
Result fill(State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream, Pointer to, Value value,
            size_t count) {
  if (count == 0) return kSUCCESS;
  const size_t bytes = count * sizeof value;
  if (to % sizeof value != 0 || !valid(context, to, bytes)) return kERROR_INVALID_VALUE;
  return enqueue(s, lock, stream, transfer(s, context, "a fill", {to, 0, bytes}, [=](uint8_t* target, const uint8_t*) {
                   for (size_t i = 0; i < count; ++i) std::memcpy(target + i * sizeof value, &value, sizeof value);
                 }));
}

// The same on the legacy stream, waited for.
template <class Asked>
Result synchronously(const char* entry, Asked asked) {
  return with_stream(entry, nullptr,
                     [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) -> Result {
                       if (const Result unsafe = check_safe(s)) return unsafe;
                       const Result result = asked(s, lock, context, stream);
                       return result == kSUCCESS ? wait_for(s, lock, {stream, stream->asked}) : result;
                     });
}

Result allocate(Context& context, Pointer* pointer, size_t bytes, bool pooled) {
  if (pointer == nullptr || bytes == 0) return kERROR_INVALID_VALUE;
  const uint64_t address = context.memory->allocate(bytes);
  if (address == 0) return kERROR_OUT_OF_MEMORY;
  context.blocks[address] = {bytes, pooled, false};
  if (pooled) {
    uint64_t used = 0;
    for (const auto& [_, block] : context.blocks) used += block.pooled ? block.bytes : 0;
    context.pool_high = std::max(context.pool_high, used);
  }
  *pointer = address;
  return kSUCCESS;
}

Result allocate_async(State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream, Pointer* pointer,
                      size_t bytes) {
  if (stream->capture != nullptr) {
    // Memory of a graph is not simulated.
    stream->capture->invalid = true;
    return kERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  if (pointer == nullptr) return kERROR_INVALID_VALUE;
  if (s.faults.oom.due()) return kERROR_OUT_OF_MEMORY;
  Result result = allocate(context, pointer, bytes, true);
  if (result == kERROR_OUT_OF_MEMORY) {
    // Frees that are on their way may make room.
    const Result waited = wait_for_all(s, lock, context);
    if (waited != kSUCCESS) return waited;
    result = allocate(context, pointer, bytes, true);
  }
  return result;
}

PoolHandle pool_of(Context& context) {
  return reinterpret_cast<PoolHandle>(uintptr_t(0x570000000000) + uintptr_t(context.device) * 16);
}

Context* context_of_pool(State& s, PoolHandle pool) {
  for (const auto& context : s.contexts) {
    if (pool_of(*context) == pool) return context.get();
  }
  return nullptr;
}

template <class Body>
Result with_pool(const char* entry, PoolHandle pool, Body body) {
  return with_state(entry, [&](State& s, Lock& lock) -> Result {
    Context* context = context_of_pool(s, pool);
    return context == nullptr ? kERROR_INVALID_VALUE : body(s, lock, *context);
  });
}

Result allocate_pinned(State& s, void** memory, size_t bytes) {
  if (memory == nullptr || bytes == 0) return kERROR_INVALID_VALUE;
  if (const Result unsafe = check_safe(s)) return unsafe;
  if (s.faults.host_oom.due()) return kERROR_OUT_OF_MEMORY;
  const size_t whole = (bytes + kPinnedAlignment - 1) & ~(kPinnedAlignment - 1);
  void* made = whole < bytes ? nullptr : std::aligned_alloc(kPinnedAlignment, whole);
  if (made == nullptr) return kERROR_OUT_OF_MEMORY;
  s.pinned[reinterpret_cast<uintptr_t>(made)] = {bytes, false};
  *memory = made;
  return kSUCCESS;
}

}  // namespace

extern "C" {

Result cuMemGetInfo_v2(size_t* left, size_t* total) {
  return with_context("cuMemGetInfo", [&](State&, Lock&, Context& context) -> Result {
    if (left == nullptr || total == nullptr) return kERROR_INVALID_VALUE;
    *total = context.memory->capacity();
    *left = *total - context.memory->used();
    return kSUCCESS;
  });
}

Result cuMemAlloc_v2(Pointer* pointer, size_t bytes) {
  return with_context("cuMemAlloc", [&](State& s, Lock& lock, Context& context) -> Result {
    if (pointer == nullptr || bytes == 0) return kERROR_INVALID_VALUE;
    if (const Result unsafe = check_safe(s)) return unsafe;
    if (s.faults.oom.due()) return kERROR_OUT_OF_MEMORY;
    Result result = allocate(context, pointer, bytes, false);
    if (result == kERROR_OUT_OF_MEMORY && wait_for_all(s, lock, context) == kSUCCESS) {
      result = allocate(context, pointer, bytes, false);
    }
    return result;
  });
}

Result cuMemFree_v2(Pointer pointer) {
  return with_context("cuMemFree", [&](State& s, Lock& lock, Context& context) -> Result {
    if (pointer == 0) return kSUCCESS;
    if (const Result unsafe = check_safe(s)) return unsafe;
    const auto found = context.blocks.find(pointer);
    if (found == context.blocks.end() || found->second.leaving) return kERROR_INVALID_VALUE;
    found->second.leaving = true;
    // Nothing that was asked for may still use it.
    const Result waited = wait_for_all(s, lock, context);
    if (waited != kSUCCESS) return waited;
    context.blocks.erase(pointer);
    context.memory->free(pointer);
    return kSUCCESS;
  });
}

Result cuMemAllocAsync(Pointer* pointer, size_t bytes, StreamHandle handle) {
  return with_stream("cuMemAllocAsync", handle,
                     [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) -> Result {
                       return allocate_async(s, lock, context, stream, pointer, bytes);
                     });
}

Result cuMemAllocFromPoolAsync(Pointer* pointer, size_t bytes, PoolHandle pool, StreamHandle handle) {
  return with_stream("cuMemAllocFromPoolAsync", handle,
                     [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) -> Result {
                       if (context_of_pool(s, pool) != &context) return kERROR_INVALID_VALUE;
                       return allocate_async(s, lock, context, stream, pointer, bytes);
                     });
}

Result cuMemFreeAsync(Pointer pointer, StreamHandle handle) {
  return with_stream("cuMemFreeAsync", handle,
                     [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) -> Result {
                       if (pointer == 0) return kERROR_INVALID_VALUE;
                       if (stream->capture != nullptr) {
                         stream->capture->invalid = true;
                         return kERROR_STREAM_CAPTURE_UNSUPPORTED;
                       }
                       const auto found = context.blocks.find(pointer);
                       if (found == context.blocks.end() || found->second.leaving) return kERROR_INVALID_VALUE;
                       found->second.leaving = true;
                       return enqueue(s, lock, stream, [&s, &context, pointer]() -> Ended {
                         const Lock inner(s.mutex);
                         context.blocks.erase(pointer);
                         context.memory->free(pointer);
                         return {};
                       });
                     });
}

Result cuDeviceGetDefaultMemPool(PoolHandle* pool, DeviceId id) {
  return with_state("cuDeviceGetDefaultMemPool", [&](State& s, Lock&) -> Result {
    if (id < 0 || size_t(id) >= s.contexts.size()) return kERROR_INVALID_DEVICE;
    if (pool == nullptr) return kERROR_INVALID_VALUE;
    *pool = pool_of(*s.contexts[size_t(id)]);
    return kSUCCESS;
  });
}

Result cuMemPoolSetAttribute(PoolHandle pool, Enum which, void* value) {
  return with_pool("cuMemPoolSetAttribute", pool, [&](State&, Lock&, Context& context) -> Result {
    if (value == nullptr) return kERROR_INVALID_VALUE;
    uint64_t number = 0;
    switch (which) {
      case 1:  // reuse follows event dependencies, allow opportunistic, allow internal dependencies: nothing to reuse
      case 2:
      case 3:
        return kSUCCESS;
      case kPoolReleaseThreshold:
        std::memcpy(&context.pool_threshold, value, sizeof context.pool_threshold);
        return kSUCCESS;
      case kPoolReservedHigh:
      case kPoolUsedHigh:
        std::memcpy(&number, value, sizeof number);
        if (number != 0) return kERROR_INVALID_VALUE;
        context.pool_high = 0;
        return kSUCCESS;
    }
    return kERROR_INVALID_VALUE;
  });
}

Result cuMemPoolGetAttribute(PoolHandle pool, Enum which, void* value) {
  return with_pool("cuMemPoolGetAttribute", pool, [&](State&, Lock&, Context& context) -> Result {
    if (value == nullptr) return kERROR_INVALID_VALUE;
    uint64_t used = 0;
    for (const auto& [_, block] : context.blocks) used += block.pooled ? block.bytes : 0;
    switch (which) {
      case kPoolReleaseThreshold:
        std::memcpy(value, &context.pool_threshold, sizeof used);
        return kSUCCESS;
      case kPoolReservedCurrent:
      case kPoolUsedCurrent:
        std::memcpy(value, &used, sizeof used);
        return kSUCCESS;
      case kPoolReservedHigh:
      case kPoolUsedHigh:
        std::memcpy(value, &context.pool_high, sizeof used);
        return kSUCCESS;
    }
    return kERROR_INVALID_VALUE;
  });
}

// Nothing is kept that was freed.
Result cuMemPoolTrimTo(PoolHandle pool, size_t) {
  return with_pool("cuMemPoolTrimTo", pool, [](State&, Lock&, Context&) -> Result { return kSUCCESS; });
}

Result cuMemHostAlloc(void** memory, size_t bytes, unsigned flags) {
  return with_context("cuMemHostAlloc", [&](State& s, Lock&, Context&) -> Result {
    return (flags & ~7u) != 0 ? kERROR_INVALID_VALUE : allocate_pinned(s, memory, bytes);
  });
}

Result cuMemAllocHost_v2(void** memory, size_t bytes) {
  return with_context("cuMemAllocHost",
                      [&](State& s, Lock&, Context&) -> Result { return allocate_pinned(s, memory, bytes); });
}

Result cuMemFreeHost(void* memory) {
  return with_context("cuMemFreeHost", [&](State& s, Lock& lock, Context& context) -> Result {
    if (const Result unsafe = check_safe(s)) return unsafe;
    const auto found = s.pinned.find(reinterpret_cast<uintptr_t>(memory));
    if (found == s.pinned.end() || found->second.registered) return kERROR_INVALID_VALUE;
    const Result waited = wait_for_all(s, lock, context);
    if (waited != kSUCCESS) return waited;
    if (s.pinned.erase(reinterpret_cast<uintptr_t>(memory)) != 0) std::free(memory);
    return kSUCCESS;
  });
}

Result cuMemHostRegister_v2(void* memory, size_t bytes, unsigned flags) {
  return with_context("cuMemHostRegister", [&](State& s, Lock&, Context&) -> Result {
    if (memory == nullptr || bytes == 0 || (flags & ~0xfu) != 0) return kERROR_INVALID_VALUE;
    if (const Result unsafe = check_safe(s)) return unsafe;
    const uintptr_t begin = reinterpret_cast<uintptr_t>(memory);
    for (const auto& [other, block] : s.pinned) {
      if (other < begin + bytes && begin < other + block.bytes) return kERROR_HOST_MEMORY_ALREADY_REGISTERED;
    }
    if (s.faults.host_oom.due()) return kERROR_OUT_OF_MEMORY;
    s.pinned[begin] = {bytes, true};
    return kSUCCESS;
  });
}

Result cuMemHostUnregister(void* memory) {
  return with_context("cuMemHostUnregister", [&](State& s, Lock& lock, Context& context) -> Result {
    if (const Result unsafe = check_safe(s)) return unsafe;
    const auto found = s.pinned.find(reinterpret_cast<uintptr_t>(memory));
    if (found == s.pinned.end() || !found->second.registered) return kERROR_HOST_MEMORY_NOT_REGISTERED;
    const Result waited = wait_for_all(s, lock, context);
    s.pinned.erase(reinterpret_cast<uintptr_t>(memory));
    return waited;
  });
}

Result cuPointerGetAttribute(void* value, Enum which, Pointer pointer) {
  return with_state("cuPointerGetAttribute", [&](State& s, Lock&) -> Result {
    if (value == nullptr) return kERROR_INVALID_VALUE;
    Context* owner = nullptr;
    for (const auto& context : s.contexts) {
      if (context->active && context->memory->host(pointer, 1) != nullptr) owner = context.get();
    }
    const bool host = pinned(s, reinterpret_cast<void*>(uintptr_t(pointer)), 1) != nullptr;
    if (owner == nullptr && !host) return kERROR_INVALID_VALUE;
    if (which == kPointerMemoryType) {
      const unsigned type = unsigned(host ? kMemoryHost : kMemoryDevice);
      std::memcpy(value, &type, sizeof type);
    } else if (which == kPointerDeviceOrdinal) {
      const int ordinal = owner == nullptr ? 0 : owner->device;
      std::memcpy(value, &ordinal, sizeof ordinal);
    } else if (which == kPointerContext) {
      const ContextHandle handle = owner == nullptr ? nullptr : owner->handle();
      std::memcpy(value, &handle, sizeof handle);
    } else {
      return kERROR_NOT_SUPPORTED;
    }
    return kSUCCESS;
  });
}

Result cuMemcpyHtoD_v2(Pointer to, const void* from, size_t bytes) {
  return synchronously("cuMemcpyHtoD",
                       [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) {
                         return copy_in(s, lock, context, stream, to, from, bytes);
                       });
}

Result cuMemcpyDtoH_v2(void* to, Pointer from, size_t bytes) {
  return synchronously("cuMemcpyDtoH",
                       [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) {
                         return copy_out(s, lock, context, stream, to, from, bytes);
                       });
}

Result cuMemcpyDtoD_v2(Pointer to, Pointer from, size_t bytes) {
  return synchronously("cuMemcpyDtoD",
                       [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) {
                         return copy_within(s, lock, context, stream, to, from, bytes);
                       });
}

Result cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, StreamHandle handle) {
  return with_stream("cuMemcpyHtoDAsync", handle,
                     [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) {
                       return copy_in(s, lock, context, stream, to, from, bytes);
                     });
}

Result cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, StreamHandle handle) {
  return with_stream("cuMemcpyDtoHAsync", handle,
                     [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) {
                       return copy_out(s, lock, context, stream, to, from, bytes);
                     });
}

Result cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, StreamHandle handle) {
  return with_stream("cuMemcpyDtoDAsync", handle,
                     [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) {
                       return copy_within(s, lock, context, stream, to, from, bytes);
                     });
}

Result cuMemsetD8_v2(Pointer to, unsigned char value, size_t count) {
  return synchronously("cuMemsetD8",
                       [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) {
                         return fill(s, lock, context, stream, to, value, count);
                       });
}

Result cuMemsetD32_v2(Pointer to, unsigned value, size_t count) {
  return synchronously("cuMemsetD32",
                       [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) {
                         return fill(s, lock, context, stream, to, value, count);
                       });
}

Result cuMemsetD8Async(Pointer to, unsigned char value, size_t count, StreamHandle handle) {
  return with_stream("cuMemsetD8Async", handle,
                     [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) {
                       return fill(s, lock, context, stream, to, value, count);
                     });
}

Result cuMemsetD16Async(Pointer to, unsigned short value, size_t count, StreamHandle handle) {
  return with_stream("cuMemsetD16Async", handle,
                     [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) {
                       return fill(s, lock, context, stream, to, value, count);
                     });
}

Result cuMemsetD32Async(Pointer to, unsigned value, size_t count, StreamHandle handle) {
  return with_stream("cuMemsetD32Async", handle,
                     [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) {
                       return fill(s, lock, context, stream, to, value, count);
                     });
}

}  // extern "C"

}  // namespace simulator::driver
