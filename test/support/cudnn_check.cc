// cuDNN's part of the addon against the stand-ins of fake_libcuda.cc and fake_libcudnn.cc (FRACSTRIDE_LIBCUDA,
// FRACSTRIDE_LIBCUDNN): one check a run, named by the argument. A check prints what it saw; cudnn_cpp.test.ts knows
// what that must be.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "cuda/cudnn.h"
#include "cuda/device_cuda.h"
#include "cuda/embedded_images.h"
#include "cuda/error.h"
#include "test/support/told.h"

extern const EmbeddedImage fs_embedded_images[] = {{"none", "ptx", (const unsigned char*)"none", 4}};
extern const size_t fs_embedded_image_count = 1;

using namespace fracstride;

namespace {

template <class T>
T fake(const char* name) {
  static void* const library = dlopen(std::getenv("FRACSTRIDE_LIBCUDNN"), RTLD_NOW);
  return reinterpret_cast<T>(dlsym(library, name));
}
std::string taken() {
  return fake<const char* (*)()>("fake_cudnn_take")();
}
void fail(const char* entry, int status) {
  fake<void (*)(const char*, int)>("fake_cudnn_fail")(entry, status);
}
long long descriptors() {
  return fake<long long (*)()>("fake_cudnn_descriptors")();
}

// k4 s2 p1, 2 × 6 × 3 × 5 to 2 × 4 × 6 × 10 in two groups.
CudnnProblem usual(CudnnProblem::Form form, CudnnProblem::Dtype dtype = CudnnProblem::kFloat32, bool nhwc = false,
                   uint32_t flags = 0) {
  return {form, 2, 6, 3, 5, 4, 6, 10, 4, 4, 2, 2, 1, 1, 1, 1, 2, dtype, nhwc, flags};
}

// Operands of `usual`, each just large enough for float64.
struct Memory {
  Device& device;
  void* small = device.alloc(2 * 6 * 3 * 5 * 8);
  void* large = device.alloc(2 * 4 * 6 * 10 * 8);
  void* weight = device.alloc(6 * 2 * 4 * 4 * 8);
  void* bias = device.alloc(6 * 8);
  void* space = device.alloc(8192);

  CudnnOperands operands(const CudnnProblem& p, uint64_t workspace) const {
    const uint64_t size = p.dtype == CudnnProblem::kFloat64 ? 8 : p.dtype == CudnnProblem::kFloat32 ? 4 : 2;
    const uint64_t s = 180 * size, l = 480 * size, w = 192 * size;
    CudnnOperands o;
    o.workspace = workspace == 0 ? nullptr : space;
    o.workspace_bytes = workspace;
    const auto give = [&](size_t i, void* pointer, uint64_t bytes) {
      o.pointers[i] = pointer;
      o.bytes[i] = bytes;
    };
    const bool expand = p.form == CudnnProblem::kExpand;
    if (p.form == CudnnProblem::kBgrad) {
      give(0, large, l);
      give(1, bias, 4 * size);
    } else if (p.form == CudnnProblem::kWgrad) {
      give(0, small, s);
      give(1, large, l);
      give(2, weight, w);
    } else {
      give(0, expand ? small : large, expand ? s : l);
      give(1, weight, w);
      if ((p.flags & CudnnProblem::kBias) != 0) give(2, bias, (expand ? 4 : 6) * size);
      give(3, expand ? large : small, expand ? l : s);
    }
    return o;
  }
};

std::string show_list(const std::vector<CudnnAlgorithm>& list) {
  std::string text;
  for (const CudnnAlgorithm& a : list) {
    text += " " + std::to_string(a.algo) + ":" + std::to_string(a.math_type) + ":" + std::to_string(a.memory) +
            (a.status == 0 ? "" : "!" + std::to_string(a.status)) + (a.deterministic ? "d" : "");
  }
  return text;
}

void check_info() {
  const CudnnInfo info = cudnn_info();
  say(std::to_string(info.available) + " " + std::to_string(info.version) + " " +
      info.path.substr(info.path.rfind('/') + 1) + " " + info.reason);
  if (!info.available) {
    say(refusal([] { make_cudnn_plan(*make_cuda_device(0).release(), usual(CudnnProblem::kExpand)); }));
  }
}

void check_forms() {
  Device& device = *make_cuda_device(0).release();
  const Memory memory{device};
  for (const CudnnProblem::Dtype dtype :
       {CudnnProblem::kFloat32, CudnnProblem::kFloat64, CudnnProblem::kFloat16, CudnnProblem::kBfloat16}) {
    for (int form = 0; form < 4; ++form) {
      const uint32_t flags = form < 2 ? uint32_t(CudnnProblem::kBias) : 0;
      const bool nhwc = dtype == CudnnProblem::kFloat16;
      const CudnnProblem problem = usual(CudnnProblem::Form(form), dtype, nhwc, flags);
      const std::unique_ptr<CudnnPlan> plan = make_cudnn_plan(device, problem);
      const auto algorithms = plan->algorithms();
      taken();
      const uint64_t bytes = form == 3 ? plan->choose(0, 0, "b") : plan->choose(1, algorithms[0].math_type, "a");
      plan->run(memory.operands(problem, bytes));
      say(taken());
    }
  }
  device.sync();
  say("descriptors left " + std::to_string(descriptors()));
}

// What the flags leave of the list, and what the heuristics were asked.
void check_flags() {
  Device& device = *make_cuda_device(0).release();
  for (const CudnnProblem::Dtype dtype : {CudnnProblem::kFloat32, CudnnProblem::kFloat16}) {
    for (const uint32_t flags : {0u, 1u, 2u, 3u}) {
      const auto plan = make_cudnn_plan(device, usual(CudnnProblem::kExpand, dtype, false, flags));
      const std::string list = show_list(plan->algorithms());
      const std::string asked = taken();
      say(asked.substr(0, asked.find(' ')) + asked.substr(asked.rfind(" math")) + list);
    }
  }
  say(show_list(make_cudnn_plan(device, usual(CudnnProblem::kBgrad))->algorithms()));
}

void check_measure() {
  Device& device = *make_cuda_device(0).release();
  const Memory memory{device};
  for (int form = 0; form < 3; ++form) {
    const CudnnProblem problem = usual(CudnnProblem::Form(form));
    const auto plan = make_cudnn_plan(device, problem);
    say(refusal([&] {
      const std::string list = show_list(plan->find(memory.operands(problem, 4096)));
      say(taken() + list);
    }));
  }
}

void check_hostile() {
  Device& device = *make_cuda_device(0).release();
  const Memory memory{device};
  const CudnnProblem good = usual(CudnnProblem::kExpand, CudnnProblem::kFloat32, false, CudnnProblem::kDeterministic);
  const auto with = [&](int32_t CudnnProblem::*size, int32_t value) {
    CudnnProblem problem = good;
    problem.*size = value;
    say(refusal([&] { make_cudnn_plan(device, problem); }));
  };
  with(&CudnnProblem::n, 0);
  with(&CudnnProblem::hs, -3);
  with(&CudnnProblem::n, 2147483647);
  with(&CudnnProblem::groups, 0);
  with(&CudnnProblem::groups, 4);
  with(&CudnnProblem::sh, 0);
  with(&CudnnProblem::dw, -2147483647 - 1);
  with(&CudnnProblem::ph, -1);
  with(&CudnnProblem::ph, 2147483647);
  with(&CudnnProblem::hl, 8);
  with(&CudnnProblem::r, 40);
  CudnnProblem biased = usual(CudnnProblem::kWgrad, CudnnProblem::kFloat32, false, CudnnProblem::kBias);
  say(refusal([&] { make_cudnn_plan(device, biased); }));
  const auto plan = make_cudnn_plan(device, good);
  CudnnOperands o = memory.operands(good, 8192);
  const auto run = [&] { plan->run(o); };
  say(refusal(run));
  say(refusal([&] { plan->choose(6, 3, "x"); }));
  say(refusal([&] { plan->choose(-1, 3, "x"); }));
  say(refusal([&] { plan->choose(1, 0, "x"); }));
  say(refusal([&] { plan->choose(0, 3, "x"); }));
  say(std::to_string(plan->choose(1, 3, "ct2d")));
  taken();
  say(refusal(run));
  o.bytes[0] -= 1;
  say(refusal(run));
  o = memory.operands(good, 8192);
  o.pointers[1] = nullptr;
  say(refusal(run));
  o = memory.operands(good, 8192);
  o.pointers[2] = memory.bias;
  say(refusal(run));
  o = memory.operands(good, 8192);
  o.pointers[3] = static_cast<char*>(o.pointers[3]) + 4;
  say(refusal(run));
  o = memory.operands(good, 4863);
  say(refusal(run));
  o = memory.operands(good, 0);
  say(refusal(run));
  const std::string asked = taken();
  say(std::to_string(asked.find(" | ") == std::string::npos));  // none of the refused ones reached cuDNN
}

void check_statuses() {
  Device& device = *make_cuda_device(0).release();
  const Memory memory{device};
  const CudnnProblem problem = usual(CudnnProblem::kContract, CudnnProblem::kFloat32, false, CudnnProblem::kBias);
  make_cudnn_plan(device, problem);
  for (const char* entry :
       {"cudnnCreateTensorDescriptor", "cudnnSetTensor4dDescriptorEx", "cudnnCreateFilterDescriptor",
        "cudnnSetFilter4dDescriptor", "cudnnCreateConvolutionDescriptor", "cudnnSetConvolution2dDescriptor",
        "cudnnSetConvolutionGroupCount", "cudnnSetConvolutionMathType", "cudnnGetConvolutionForwardAlgorithm_v7",
        "cudnnFindConvolutionForwardAlgorithmEx", "cudnnGetConvolutionForwardWorkspaceSize", "cudnnConvolutionForward",
        "cudnnAddTensor"}) {
    fail(entry, 3000);
    say(refusal([&] {
      const auto plan = make_cudnn_plan(device, problem);
      plan->algorithms();
      plan->find(memory.operands(problem, 4096));
      plan->run(memory.operands(problem, plan->choose(1, 3, "c2d")));
    }));
  }
  fail("", 0);
  say("descriptors left " + std::to_string(descriptors()));
  const auto plan = make_cudnn_plan(device, problem);
  say(refusal([&] { plan->run(memory.operands(problem, plan->choose(1, 3, "c2d"))); }));
}

void check_start() {
  Device& device = *make_cuda_device(0).release();
  say(refusal([&] { make_cudnn_plan(device, usual(CudnnProblem::kExpand)); }));
  check_info();
}

// Which of the device's streams the handle was on.
void check_capture() {
  Device& device = *make_cuda_device(0).release();
  const Memory memory{device};
  const CudnnProblem problem = usual(CudnnProblem::kBgrad);
  const auto plan = make_cudnn_plan(device, problem);
  plan->choose(0, 0, "bias_sum");
  device.begin_capture();
  plan->run(memory.operands(problem, 0));
  fake<void (*)(int)>("fake_cudnn_fault")(1);
  plan->run(memory.operands(problem, 0));
  std::thread other([&] {  // meanwhile another thread's work runs as usual
    const auto own = make_cudnn_plan(device, problem);
    own->run(memory.operands(problem, 0));
    device.sync();
  });
  other.join();
  const std::unique_ptr<Graph> graph = device.end_capture();
  say(graph == nullptr ? "no graph" : "a graph");
  plan->run(memory.operands(problem, 0));
  say(refusal([&] { device.sync(); }));
  device.replay(*graph);
  say(refusal([&] { device.sync(); }));
}

void check_lost() {
  Device& device = *make_cuda_device(0).release();
  const Memory memory{device};
  const CudnnProblem problem = usual(CudnnProblem::kBgrad);
  const auto plan = make_cudnn_plan(device, problem);
  plan->choose(0, 0, "bias_sum");
  fake<void (*)(int)>("fake_cudnn_fault")(2);
  plan->run(memory.operands(problem, 0));
  // The next failure of cuDNN is the device's, and told as such.
  std::string told;
  for (int i = 0; i < 1000 && (told.empty() || told == "nothing"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    fake<void (*)(int)>("fake_cudnn_fault")(1);
    told = refusal([&] { plan->run(memory.operands(problem, 0)); });
  }
  say(told.substr(0, told.find(" (said")) + " …" + (told.find("bias_sum") == std::string::npos ? "" : " bias_sum"));
  const std::string later = refusal([&] { plan->run(memory.operands(problem, 0)); });
  say(later.substr(0, later.find(" (said")));
}

void check_threads() {
  Device& device = *make_cuda_device(0).release();
  const Memory memory{device};
  std::vector<std::thread> threads;
  std::vector<std::string> said(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      said[t] = refusal([&] {
        for (int i = 0; i < 50; ++i) {
          const CudnnProblem problem = usual(CudnnProblem::Form(t));
          const auto plan = make_cudnn_plan(device, problem);
          const auto list = plan->algorithms();
          plan->run(
              memory.operands(problem, plan->choose(t == 3 ? 0 : 1, list[0].math_type, "run " + std::to_string(i))));
        }
      });
    });
  }
  for (std::thread& thread : threads) thread.join();
  device.sync();
  for (const std::string& text : said) say(text);
  say("descriptors left " + std::to_string(descriptors()));
}

}  // namespace

int main(int count, char** arguments) {
  struct Check {
    const char* name;
    void (*body)();
  };
  const Check checks[] = {{"info", check_info},       {"forms", check_forms},     {"flags", check_flags},
                          {"measure", check_measure}, {"hostile", check_hostile}, {"statuses", check_statuses},
                          {"start", check_start},     {"capture", check_capture}, {"lost", check_lost},
                          {"threads", check_threads}};
  for (const Check& check : checks) {
    if (count > 1 && std::strcmp(arguments[1], check.name) == 0) {
      check.body();
      std::fflush(stdout);
      std::_Exit(0);  // devices live as long as the process
    }
  }
  return 2;
}
