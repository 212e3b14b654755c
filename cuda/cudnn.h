// Convolutions by cuDNN, opened at run time (FRACSTRIDE_LIBCUDNN, else libcudnn.so.9, .so.8): the only part of the
// addon that knows it. A plan is one problem in cuDNN's terms, for the thread that made it; its runs are in order with
// the launches of its device.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device.h"

namespace fracstride {

struct CudnnInfo {
  bool available = false;
  std::string reason;    // why not, one sentence that ends with what to do
  uint64_t version = 0;  // cudnnGetVersion
  std::string path;      // of the library that was opened
};

// Opens the library on first use.
CudnnInfo cudnn_info();

struct CudnnProblem {
  enum Form { kExpand, kContract, kWgrad, kBgrad };
  enum Dtype { kFloat32, kFloat64, kFloat16, kBfloat16 };
  enum Flag : uint32_t { kDeterministic = 1, kAllowTf32 = 2, kBias = 4 };

  Form form;
  // As codegen/problem.ts names them; of kBgrad only n, cl, hl and wl count, the sizes of the gradient.
  int32_t n, cs, hs, ws, cl, hl, wl, r, s, sh, sw, ph, pw, dh, dw, groups;
  Dtype dtype;
  bool nhwc;
  uint32_t flags;
};

struct CudnnAlgorithm {
  int algo, status;
  float time;
  uint64_t memory;
  bool deterministic;
  int math_type;
};

constexpr size_t kMostCudnnOperands = 4;

// In the order of OPERANDS of codegen/passes.ts; bytes behind each pointer.
struct CudnnOperands {
  void* pointers[kMostCudnnOperands] = {};
  uint64_t bytes[kMostCudnnOperands] = {};
  void* workspace = nullptr;
  uint64_t workspace_bytes = 0;
};

class CudnnPlan {
 public:
  virtual ~CudnnPlan() = default;
  virtual const Device& device() const = 0;
  virtual size_t operands() const = 0;

  // By the heuristics, best first, without what the flags forbid.
  virtual std::vector<CudnnAlgorithm> algorithms() = 0;
  // By running them: overwrites the output and waits.
  virtual std::vector<CudnnAlgorithm> find(const CudnnOperands& operands) = 0;
  // The bytes of workspace that `run` takes from now on.
  virtual uint64_t choose(int algo, int math_type, const std::string& name) = 0;
  virtual void run(const CudnnOperands& operands) = 0;
};

// Throws ERR_ARGUMENT for what is no problem of cuDNN's, ERR_CUDNN for what it refuses, ERR_DEVICE_UNAVAILABLE without
// a usable library.
std::unique_ptr<CudnnPlan> make_cudnn_plan(Device& device, const CudnnProblem& problem);

}  // namespace fracstride
