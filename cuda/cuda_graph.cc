// Recording of work into graphs; see cuda_graph.h.

#include "cuda_graph.h"

#include <algorithm>
#include <set>

#include "error.h"

namespace fracstride {

namespace {

constexpr cu::Result kFirstCaptureError = 900, kLastCaptureError = 909;

// A copy that lives for ever; equal texts share one.
const char* keep(const std::string& text) {
  static std::mutex mutex;
  static auto* const kept = new std::set<std::string>;
  std::lock_guard<std::mutex> lock(mutex);
  return kept->insert(text).first->c_str();
}

// `a graph of 5 launches (a, b, c, …)`.
std::string describe(const std::vector<const char*>& kernels) {
  std::string names;
  size_t named = 0, i = 0;
  for (; i < kernels.size() && named < 3; ++i) {
    if (std::find(kernels.begin(), kernels.begin() + i, kernels[i]) != kernels.begin() + i) continue;
    names += (named++ == 0 ? "" : ", ") + std::string(kernels[i]);
  }
  return "a graph of " + std::to_string(kernels.size()) + " launches (" + names + (i < kernels.size() ? ", …)" : ")");
}

}  // namespace

CudaGraph::CudaGraph(CudaQueue& queue, cu::GraphExec exec, const std::string& kernels)
    : queue_(queue), exec_(exec), name_(keep(kernels)) {}

CudaGraph::~CudaGraph() {
  if (queue_.try_enter()) queue_.call.graph_exec_destroy(exec_);
}

void CudaGraph::launch() {
  queue_.enter("replay");
  queue_.launches.note(name_);
  queue_.check(queue_.call.graph_launch(exec_, queue_.stream()), "replay", "launching", name_);
}

void Captures::begin() {
  const cu::Entries& call = queue_.call;
  if (call.stream_begin_capture == nullptr || call.stream_end_capture == nullptr || call.graph_instantiate == nullptr ||
      call.graph_launch == nullptr || call.graph_exec_destroy == nullptr || call.graph_destroy == nullptr ||
      call.stream_destroy == nullptr) {
    throw Error("ERR_ARGUMENT", "graph: the NVIDIA driver must be one for CUDA 11.4 or newer, got " +
                                    std::to_string(driver().version / 1000) + "." +
                                    std::to_string(driver().version % 1000 / 10) + " without an entry for graphs");
  }
  if (here()) throw Error("ERR_ARGUMENT", "graph: capturing must not be under way, got a capture inside a capture");
  queue_.enter_surely("graph");
  auto capture = std::make_unique<Capture>();
  capture->thread = std::this_thread::get_id();
  queue_.check(call.stream_create(&capture->stream, cu::kStreamNonBlocking), "graph", "making a stream to capture");
  const cu::Result result = call.stream_begin_capture(capture->stream, cu::kCaptureRelaxed);
  if (result != cu::kSuccess) call.stream_destroy(capture->stream);
  queue_.check(result, "graph", "beginning to capture");
  std::lock_guard<std::mutex> lock(mutex_);
  captures_.push_back(std::move(capture));
  ++open_;
}

std::unique_ptr<Graph> Captures::end() {
  const std::unique_ptr<Capture> capture = take();
  if (capture == nullptr) throw Error("ERR_ARGUMENT", "graph: capturing must be under way, got no capture to end");
  cu::Graph graph = nullptr;
  const cu::Result ended = stop(*capture, &graph);
  if (ended >= kFirstCaptureError && ended <= kLastCaptureError) return nullptr;
  queue_.check(ended, "graph", "ending the capture");
  cu::GraphExec exec = nullptr;
  const cu::Result made = queue_.call.graph_instantiate(&exec, graph, 0);
  queue_.call.graph_destroy(graph);
  queue_.check(made, "graph", "making a graph of what was captured");
  return std::make_unique<CudaGraph>(queue_, exec, describe(capture->kernels));
}

void Captures::abort() noexcept {
  const std::unique_ptr<Capture> capture = take();
  if (capture == nullptr) return;
  cu::Graph graph = nullptr;
  if (stop(*capture, &graph) == cu::kSuccess) queue_.call.graph_destroy(graph);
}

void Captures::note(const char* kernel) {
  Capture* capture = find();
  if (capture != nullptr) return capture->kernels.push_back(kernel);
  queue_.launches.note(kernel);
}

Captures::Capture* Captures::find() const noexcept {
  if (open_.load(std::memory_order_relaxed) == 0) return nullptr;
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& capture : captures_) {
    if (capture->thread == std::this_thread::get_id()) return capture.get();
  }
  return nullptr;
}

std::unique_ptr<Captures::Capture> Captures::take() noexcept {
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto& capture : captures_) {
    if (capture->thread != std::this_thread::get_id()) continue;
    std::unique_ptr<Capture> taken = std::move(capture);
    captures_.erase(captures_.begin() + (&capture - captures_.data()));
    --open_;
    return taken;
  }
  return nullptr;
}

// `graph` is only set on success.
cu::Result Captures::stop(const Capture& capture, cu::Graph* graph) noexcept {
  queue_.try_enter();
  const cu::Result result = queue_.call.stream_end_capture(capture.stream, graph);
  queue_.call.stream_destroy(capture.stream);
  return result == cu::kSuccess && *graph == nullptr ? kFirstCaptureError : result;
}

}  // namespace fracstride
