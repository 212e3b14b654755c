// Streams, events, captures and graphs. A stream is a queue with a thread of its own.
#include <algorithm>

#include "state.h"

namespace simulator::driver {

namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool reached(const Point& point) {
  return point.stream->done >= point.number || point.stream->ended;
}

// What a stream's thread does until the stream is destroyed.
void serve(std::shared_ptr<Stream> stream) {
  State& s = state();
  Lock lock(s.mutex);
  while (true) {
    s.changed.wait(lock, [&] { return !stream->queue.empty() || stream->closing; });
    if (stream->queue.empty()) break;
    Item item = std::move(stream->queue.front());
    stream->queue.pop_front();
    Context& context = *stream->context;
    s.changed.wait(lock, [&] {
      if (context.failed != kSUCCESS || context.cancel) return true;
      for (const Point& point : item.after) {
        if (!reached(point)) return false;
      }
      return true;
    });
    if (context.failed == kSUCCESS && !context.cancel) {
      lock.unlock();
      const Ended ended = item.work();
      // What the work holds may take the lock when it is let go.
      item = Item();
      lock.lock();
      if (ended.result != kSUCCESS && context.failed == kSUCCESS && !context.cancel) {
        context.failed = ended.result;
        record_fault(s, ended);
      }
    } else {
      lock.unlock();
      item = Item();
      lock.lock();
    }
    stream->done += 1;
    s.changed.notify_all();
  }
  stream->ended = true;
  auto& living = stream->context->streams;
  living.erase(std::find(living.begin(), living.end(), stream));
  s.changed.notify_all();
}

// It may have been torn down while somebody waited.
Result state_of(const Context& context) {
  return context.active ? context.failed : kERROR_CONTEXT_IS_DESTROYED;
}

void invalidate(Stream& stream) {
  stream.capture->invalid = true;
}

// The captures that a call which CUDA calls unsafe breaks, as seen from this thread.
bool forbids(const Capture& capture) {
  const bool own = capture.thread == std::this_thread::get_id();
  if (capture_mode == kCaptureRelaxed || capture.mode == kCaptureRelaxed) return false;
  if (own) return true;
  return capture_mode == kCaptureGlobal && capture.mode == kCaptureGlobal;
}

template <class Visit>
void each_stream(const Context& context, Visit visit) {
  for (const auto& stream : context.streams) visit(stream);
}

// An entry that has to wait for a stream.
Result check_waitable(const std::shared_ptr<Stream>& stream) {
  if (stream->capture != nullptr) {
    invalidate(*stream);
    return kERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  if (stream->legacy) {
    return check_no_capture(*stream->context, true, kERROR_STREAM_CAPTURE_IMPLICIT);
  }
  return kSUCCESS;
}

Ended run_nodes(const std::vector<Work>& nodes) {
  for (const Work& node : nodes) {
    const Ended ended = node();
    if (ended.result != kSUCCESS) return ended;
  }
  return {};
}

}  // namespace

std::shared_ptr<Stream> make_stream(Context& context, bool blocking, bool legacy) {
  auto stream = std::make_shared<Stream>();
  stream->context = &context;
  stream->blocking = blocking;
  stream->legacy = legacy;
  context.streams.push_back(stream);
  std::thread(serve, stream).detach();
  return stream;
}

std::shared_ptr<Stream> stream_of(State& s, Context& context, StreamHandle handle) {
  // 1 is CU_STREAM_LEGACY; the default stream of a thread (2) is not offered.
  if (handle == nullptr || handle == reinterpret_cast<StreamHandle>(1)) {
    if (context.legacy == nullptr) context.legacy = make_stream(context, true, true);
    return context.legacy;
  }
  std::shared_ptr<Stream> stream = s.streams.find(handle);
  return stream != nullptr && stream->context == &context ? stream : nullptr;
}

Result check_safe(State& s) {
  Result result = kSUCCESS;
  for (const auto& context : s.contexts) {
    each_stream(*context, [&](const std::shared_ptr<Stream>& stream) {
      if (stream->capture == nullptr || !forbids(*stream->capture)) return;
      invalidate(*stream);
      result = kERROR_STREAM_CAPTURE_UNSUPPORTED;
    });
  }
  return result;
}

Result check_no_capture(Context& context, bool blocking_only, Result refusal) {
  Result result = kSUCCESS;
  each_stream(context, [&](const std::shared_ptr<Stream>& stream) {
    if (stream->capture == nullptr || (blocking_only && !stream->blocking)) return;
    invalidate(*stream);
    result = refusal;
  });
  return result;
}

Result enqueue(State& s, Lock& lock, const std::shared_ptr<Stream>& stream, Work work, std::vector<Point> after) {
  if (stream->capture != nullptr) {
    if (stream->capture->invalid) return kERROR_STREAM_CAPTURE_INVALIDATED;
    stream->capture->nodes.push_back(std::move(work));
    return kSUCCESS;
  }
  Context& context = *stream->context;
  if (stream->legacy) {
    const Result result = check_no_capture(context, true, kERROR_STREAM_CAPTURE_IMPLICIT);
    if (result != kSUCCESS) return result;
    each_stream(context, [&](const std::shared_ptr<Stream>& other) {
      if (other->blocking && other != stream) after.push_back({other, other->asked});
    });
  } else if (stream->blocking && context.legacy != nullptr) {
    after.push_back({context.legacy, context.legacy->asked});
  }
  stream->queue.push_back({std::move(work), std::move(after)});
  stream->asked += 1;
  s.changed.notify_all();
  return s.config.sync ? wait_for(s, lock, {stream, stream->asked}) : kSUCCESS;
}

Result wait_for(State& s, Lock& lock, const Point& point) {
  s.changed.wait(lock, [&] { return reached(point); });
  return state_of(*point.stream->context);
}

Result wait_for_all(State& s, Lock& lock, Context& context) {
  std::vector<Point> points;
  each_stream(context, [&](const std::shared_ptr<Stream>& stream) { points.push_back({stream, stream->asked}); });
  for (const Point& point : points) wait_for(s, lock, point);
  return state_of(context);
}

// Nothing of the context runs or exists afterwards; what was queued is dropped.
void tear_down(State& s, Lock& lock, Context& context) {
  context.cancel = true;
  context.active = false;
  for (auto& stream : context.streams) stream->closing = true;
  s.changed.notify_all();
  s.changed.wait(lock, [&] { return context.streams.empty(); });
  context.legacy = nullptr;
  s.streams.remove_all(&context);
  s.events.remove_all(&context);
  s.graph_execs.remove_all(&context);
  s.graphs.remove_all(&context);
  s.functions.remove_all(&context);
  s.modules.remove_all(&context);
  context.blocks.clear();
  context.memory = nullptr;
  context.failed = kSUCCESS;
  context.retained = 0;
  context.generation += 1;
  context.pool_high = context.pool_threshold = 0;
  context.cancel = false;
}

namespace {

template <class Body>
Result with_event(const char* entry, EventHandle handle, Body body) {
  return with_context(entry, [&](State& s, Lock& lock, Context& context) -> Result {
    const std::shared_ptr<Event> event = s.events.find(handle);
    if (event == nullptr || event->context != &context) return kERROR_INVALID_HANDLE;
    return body(s, lock, context, event);
  });
}

}  // namespace

extern "C" {

Result cuStreamCreate(StreamHandle* stream, unsigned flags) {
  return cuStreamCreateWithPriority(stream, flags, 0);
}

Result cuStreamCreateWithPriority(StreamHandle* out, unsigned flags, int) {
  return with_context("cuStreamCreate", [&](State& s, Lock&, Context& context) -> Result {
    if (out == nullptr || (flags & ~unsigned(kStreamNonBlocking)) != 0) return kERROR_INVALID_VALUE;
    *out = s.streams.add(make_stream(context, (flags & kStreamNonBlocking) == 0, false));
    return kSUCCESS;
  });
}

// The stream's work still runs; its thread ends after it.
Result cuStreamDestroy_v2(StreamHandle handle) {
  if (handle == nullptr) return kERROR_INVALID_HANDLE;
  return with_stream("cuStreamDestroy", handle,
                     [&](State& s, Lock&, Context&, const std::shared_ptr<Stream>& stream) -> Result {
                       if (stream->legacy) return kERROR_INVALID_HANDLE;
                       stream->closing = true;
                       stream->capture = nullptr;
                       s.streams.remove(handle);
                       s.changed.notify_all();
                       return kSUCCESS;
                     });
}

Result cuStreamSynchronize(StreamHandle handle) {
  return with_stream("cuStreamSynchronize", handle,
                     [](State& s, Lock& lock, Context&, const std::shared_ptr<Stream>& stream) -> Result {
                       const Result refused = check_waitable(stream);
                       if (refused != kSUCCESS) return refused;
                       if (const Result unsafe = check_safe(s)) return unsafe;
                       if (stream->legacy) {
                         // It stands for all blocking streams.
                         const Result queued = enqueue(s, lock, stream, [] { return Ended(); });
                         if (queued != kSUCCESS) return queued;
                       }
                       return wait_for(s, lock, {stream, stream->asked});
                     });
}

Result cuStreamQuery(StreamHandle handle) {
  return with_stream("cuStreamQuery", handle,
                     [](State& s, Lock&, Context&, const std::shared_ptr<Stream>& stream) -> Result {
                       const Result refused = check_waitable(stream);
                       if (refused != kSUCCESS) return refused;
                       if (const Result unsafe = check_safe(s)) return unsafe;
                       return stream->done == stream->asked ? kSUCCESS : kERROR_NOT_READY;
                     });
}

Result cuStreamWaitEvent(StreamHandle handle, EventHandle event_handle, unsigned flags) {
  return with_stream("cuStreamWaitEvent", handle,
                     [&](State& s, Lock& lock, Context&, const std::shared_ptr<Stream>& stream) -> Result {
                       const std::shared_ptr<Event> event = s.events.find(event_handle);
                       if (event == nullptr) return kERROR_INVALID_HANDLE;
                       if (flags != 0) return kERROR_INVALID_VALUE;
                       if (event->captured) {
                         // Within its own stream the order is there already; forks and joins of captures are not
                         // simulated.
                         const Stream* from = event->point.stream.get();
                         if (from == stream.get() && stream->capture != nullptr) return kSUCCESS;
                         if (stream->capture != nullptr) invalidate(*stream);
                         return stream->capture == nullptr ? kERROR_NOT_SUPPORTED : kERROR_STREAM_CAPTURE_MERGE;
                       }
                       if (stream->capture != nullptr) {
                         if (event->point.stream == nullptr) return kSUCCESS;
                         invalidate(*stream);
                         return kERROR_STREAM_CAPTURE_ISOLATION;
                       }
                       if (event->point.stream == nullptr) return kSUCCESS;
                       return enqueue(s, lock, stream, [] { return Ended(); }, {event->point});
                     });
}

Result cuLaunchHostFunc(StreamHandle handle, HostFunction function, void* data) {
  return with_stream("cuLaunchHostFunc", handle,
                     [&](State& s, Lock& lock, Context&, const std::shared_ptr<Stream>& stream) -> Result {
                       if (function == nullptr) return kERROR_INVALID_VALUE;
                       return enqueue(s, lock, stream, [function, data] {
                         in_host_function = true;
                         function(data);
                         in_host_function = false;
                         return Ended();
                       });
                     });
}

Result cuEventCreate(EventHandle* out, unsigned flags) {
  return with_context("cuEventCreate", [&](State& s, Lock&, Context& context) -> Result {
    if (out == nullptr || (flags & ~unsigned(kEventBlockingSync | kEventDisableTiming)) != 0) {
      return kERROR_INVALID_VALUE;
    }
    auto event = std::make_shared<Event>();
    event->context = &context;
    event->timing = (flags & kEventDisableTiming) == 0;
    *out = s.events.add(event);
    return kSUCCESS;
  });
}

Result cuEventRecord(EventHandle handle, StreamHandle stream_handle) {
  return with_event("cuEventRecord", handle,
                    [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Event>& event) -> Result {
                      const std::shared_ptr<Stream> stream = stream_of(s, context, stream_handle);
                      if (stream == nullptr) return kERROR_INVALID_HANDLE;
                      if (stream->capture != nullptr) {
                        if (stream->capture->invalid) return kERROR_STREAM_CAPTURE_INVALIDATED;
                        event->captured = true;
                        event->point = {stream, 0};
                        return kSUCCESS;
                      }
                      auto time = std::make_shared<double>(0);
                      const auto stamp = [time] {
                        *time = seconds_now();
                        return Ended();
                      };
                      const Result result = enqueue(s, lock, stream, stamp);
                      if (result != kSUCCESS) return result;
                      event->captured = false;
                      event->time = time;
                      event->point = {stream, stream->asked};
                      return kSUCCESS;
                    });
}

Result cuEventQuery(EventHandle handle) {
  return with_event("cuEventQuery", handle,
                    [](State& s, Lock&, Context&, const std::shared_ptr<Event>& event) -> Result {
                      if (event->captured) return kERROR_CAPTURED_EVENT;
                      if (const Result unsafe = check_safe(s)) return unsafe;
                      if (event->point.stream == nullptr || reached(event->point)) return kSUCCESS;
                      return kERROR_NOT_READY;
                    });
}

Result cuEventSynchronize(EventHandle handle) {
  return with_event("cuEventSynchronize", handle,
                    [](State& s, Lock& lock, Context&, const std::shared_ptr<Event>& event) -> Result {
                      if (event->captured) return kERROR_CAPTURED_EVENT;
                      if (const Result unsafe = check_safe(s)) return unsafe;
                      const Point point = event->point;
                      return point.stream == nullptr ? kSUCCESS : wait_for(s, lock, point);
                    });
}

Result cuEventElapsedTime_v2(float* milliseconds, EventHandle from, EventHandle to) {
  return with_context("cuEventElapsedTime", [&](State& s, Lock&, Context& context) -> Result {
    const std::shared_ptr<Event> events[] = {s.events.find(from), s.events.find(to)};
    if (milliseconds == nullptr) return kERROR_INVALID_VALUE;
    for (const auto& event : events) {
      if (event == nullptr || event->context != &context || !event->timing || event->point.stream == nullptr) {
        return kERROR_INVALID_HANDLE;
      }
      if (event->captured) return kERROR_CAPTURED_EVENT;
    }
    for (const auto& event : events) {
      if (!reached(event->point)) return kERROR_NOT_READY;
    }
    *milliseconds = float((*events[1]->time - *events[0]->time) * 1e3);
    return kSUCCESS;
  });
}

Result cuEventDestroy_v2(EventHandle handle) {
  return with_event("cuEventDestroy", handle, [&](State& s, Lock&, Context&, const std::shared_ptr<Event>&) -> Result {
    s.events.remove(handle);
    return kSUCCESS;
  });
}

Result cuThreadExchangeStreamCaptureMode(Enum* mode) {
  if (mode == nullptr || *mode < kCaptureGlobal || *mode > kCaptureRelaxed) return kERROR_INVALID_VALUE;
  std::swap(*mode, capture_mode);
  return kSUCCESS;
}

Result cuStreamBeginCapture_v2(StreamHandle handle, Enum mode) {
  return with_stream("cuStreamBeginCapture", handle,
                     [&](State&, Lock&, Context&, const std::shared_ptr<Stream>& stream) -> Result {
                       if (stream->legacy) return kERROR_STREAM_CAPTURE_UNSUPPORTED;
                       if (mode < kCaptureGlobal || mode > kCaptureRelaxed) return kERROR_INVALID_VALUE;
                       if (stream->capture != nullptr) return kERROR_ILLEGAL_STATE;
                       stream->capture = std::make_unique<Capture>();
                       stream->capture->mode = mode;
                       stream->capture->thread = std::this_thread::get_id();
                       return kSUCCESS;
                     });
}

Result cuStreamEndCapture(StreamHandle handle, GraphHandle* graph) {
  return with_stream(
      "cuStreamEndCapture", handle,
      [&](State& s, Lock&, Context& context, const std::shared_ptr<Stream>& stream) -> Result {
        if (graph == nullptr) return kERROR_INVALID_VALUE;
        *graph = nullptr;
        if (stream->capture == nullptr) return kERROR_ILLEGAL_STATE;
        if (stream->capture->mode != kCaptureRelaxed && stream->capture->thread != std::this_thread::get_id()) {
          return kERROR_STREAM_CAPTURE_WRONG_THREAD;
        }
        const std::unique_ptr<Capture> capture = std::move(stream->capture);
        if (capture->invalid) return kERROR_STREAM_CAPTURE_INVALIDATED;
        auto made = std::make_shared<Graph>();
        made->context = &context;
        made->nodes = std::move(capture->nodes);
        *graph = s.graphs.add(made);
        return kSUCCESS;
      });
}

Result cuStreamIsCapturing(StreamHandle handle, Enum* status) {
  return with_stream("cuStreamIsCapturing", handle,
                     [&](State&, Lock&, Context& context, const std::shared_ptr<Stream>& stream) -> Result {
                       if (status == nullptr) return kERROR_INVALID_VALUE;
                       if (stream->legacy) {
                         const Result implicit = check_no_capture(context, true, kERROR_STREAM_CAPTURE_IMPLICIT);
                         if (implicit != kSUCCESS) return implicit;
                       }
                       *status = stream->capture == nullptr ? kCaptureNone
                                 : stream->capture->invalid ? kCaptureInvalidated
                                                            : kCaptureActive;
                       return kSUCCESS;
                     });
}

Result cuGraphInstantiateWithFlags(GraphExecHandle* out, GraphHandle handle, unsigned long long flags) {
  return with_context("cuGraphInstantiate", [&](State& s, Lock&, Context&) -> Result {
    const std::shared_ptr<Graph> graph = s.graphs.find(handle);
    // 1: free on launch, 2: upload, 8: node priorities; 4 (launch from the device) is not offered.
    if (out == nullptr || (flags & ~0xbull) != 0) return kERROR_INVALID_VALUE;
    if (graph == nullptr) return kERROR_INVALID_VALUE;
    *out = s.graph_execs.add(std::make_shared<Graph>(*graph));
    return kSUCCESS;
  });
}

Result cuGraphGetNodes(GraphHandle handle, NodeHandle* nodes, size_t* count) {
  return with_context("cuGraphGetNodes", [&](State& s, Lock&, Context&) -> Result {
    const std::shared_ptr<Graph> graph = s.graphs.find(handle);
    if (graph == nullptr || count == nullptr) return kERROR_INVALID_VALUE;
    // Nodes have no handles here, only a number.
    if (nodes != nullptr) return kERROR_NOT_SUPPORTED;
    *count = graph->nodes.size();
    return kSUCCESS;
  });
}

Result cuGraphUpload(GraphExecHandle handle, StreamHandle stream_handle) {
  return with_stream("cuGraphUpload", stream_handle,
                     [&](State& s, Lock&, Context&, const std::shared_ptr<Stream>&) -> Result {
                       return s.graph_execs.find(handle) == nullptr ? kERROR_INVALID_VALUE : kSUCCESS;
                     });
}

Result cuGraphLaunch(GraphExecHandle handle, StreamHandle stream_handle) {
  return with_stream("cuGraphLaunch", stream_handle,
                     [&](State& s, Lock& lock, Context& context, const std::shared_ptr<Stream>& stream) -> Result {
                       const std::shared_ptr<Graph> graph = s.graph_execs.find(handle);
                       if (graph == nullptr || graph->context != &context) return kERROR_INVALID_VALUE;
                       return enqueue(s, lock, stream, [graph] { return run_nodes(graph->nodes); });
                     });
}

Result cuGraphExecDestroy(GraphExecHandle handle) {
  return with_state("cuGraphExecDestroy", [&](State& s, Lock&) -> Result {
    if (s.graph_execs.find(handle) == nullptr) return kERROR_INVALID_VALUE;
    s.graph_execs.remove(handle);
    return kSUCCESS;
  });
}

Result cuGraphDestroy(GraphHandle handle) {
  return with_state("cuGraphDestroy", [&](State& s, Lock&) -> Result {
    if (s.graphs.find(handle) == nullptr) return kERROR_INVALID_VALUE;
    s.graphs.remove(handle);
    return kSUCCESS;
  });
}

}  // extern "C"

}  // namespace simulator::driver
