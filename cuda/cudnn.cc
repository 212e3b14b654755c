// Plans: one problem in the terms of cuDNN; see cudnn.h.
//
// Transposed convolution is the backward-data direction of a convolution from the large side to the small one:
// expand = BackwardData, contract = Forward, wgrad = BackwardFilter, bgrad = BackwardBias.

#include "cudnn.h"

#include <algorithm>
#include <mutex>
#include <set>

#include "cudnn_channel.h"
#include "cudnn_library.h"
#include "error.h"

namespace fracstride {

namespace {

// Every algorithm with and without tensor cores.
constexpr int kMostAlgorithms = 16;
// cuDNN's kernels read whole vectors.
constexpr uintptr_t kAlignment = 16;
constexpr int64_t kMostElements = 2147483647;

// A copy that lives for ever; equal texts share one.
const char* keep(const std::string& text) {
  static std::mutex mutex;
  static auto* const kept = new std::set<std::string>;
  std::lock_guard<std::mutex> lock(mutex);
  return kept->insert(text).first->c_str();
}

template <class T>
class Descriptor {
 public:
  using Make = cudnn::Status (*)(T*);
  using Destroy = cudnn::Status (*)(T);
  ~Descriptor() {
    if (value_ != nullptr) destroy_(value_);
  }
  Descriptor() = default;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  cudnn::Status make(Make make, Destroy destroy) {
    destroy_ = destroy;
    return make(&value_);
  }
  operator T() const { return value_; }

 private:
  T value_ = nullptr;
  Destroy destroy_ = nullptr;
};

[[noreturn]] void refuse(const char* where, const std::string& what, const std::string& rule, const std::string& got) {
  throw Error("ERR_ARGUMENT", std::string(where) + ": " + what + " must be " + rule + ", got " + got);
}

// Elements of n × c × h × w, each at least 1; cuDNN counts them as int.
int64_t elements(const char* what, int64_t n, int64_t c, int64_t h, int64_t w) {
  const int64_t sizes[] = {n, c, h, w};
  int64_t product = 1;
  for (const int64_t size : sizes) {
    if (size < 1) refuse("cudnnPlan", std::string("sizes of the ") + what, "at least 1", show(double(size)));
    if (size > kMostElements / product) refuse("cudnnPlan", what, "of at most 2147483647 elements", "more");
    product *= size;
  }
  return product;
}

// The small size that follows from the large one.
void check_axis(const char* axis, int64_t small, int64_t large, int64_t kernel, int64_t stride, int64_t padding,
                int64_t dilation) {
  const std::string name = std::string(axis) + " of the problem";
  if (stride < 1 || dilation < 1 || padding < 0) {
    refuse("cudnnPlan", name, "of stride and dilation at least 1 and padding at least 0",
           show(double(stride)) + ", " + show(double(dilation)) + " and " + show(double(padding)));
  }
  const int64_t span = large + 2 * padding - dilation * (kernel - 1) - 1;
  if (span < 0 || span / stride + 1 != small) {
    refuse("cudnnPlan", name, "the one size that symmetric padding gives, with an output padding below the stride",
           show(double(small)) + " and " + show(double(large)));
  }
}

struct Operand {
  const char* name;
  uint64_t bytes;
};

class Plan : public CudnnPlan {
 public:
  Plan(Device& device, const CudnnProblem& problem)
      : device_(device),
        channel_(cudnn_channel_of(device)),
        call_(cudnn_library().call),
        p_(problem),
        name_(keep("a run of cuDNN")) {
    describe_operands();
    describe();
    if (p_.form == CudnnProblem::kBgrad) chosen_ = 0;
  }

  const Device& device() const override { return device_; }
  size_t operands() const override { return operands_.size(); }

  std::vector<CudnnAlgorithm> algorithms() override {
    if (p_.form == CudnnProblem::kBgrad) return {{0, cudnn::kSuccess, -1, 0, true, cudnn::kDefaultMath}};
    CudnnChannel::Use use(channel_, "cudnnAlgorithms");
    want_math();
    cudnn::AlgorithmPerf found[kMostAlgorithms] = {};
    int count = 0;
    const char* what = "";
    cudnn::Status status;
    if (p_.form == CudnnProblem::kExpand) {
      what = "cudnnGetConvolutionBackwardDataAlgorithm_v7";
      status = call_.get_data(use.handle(), weight_, small_, convolution_, large_, kMostAlgorithms, &count, found);
    } else if (p_.form == CudnnProblem::kContract) {
      what = "cudnnGetConvolutionForwardAlgorithm_v7";
      status = call_.get_forward(use.handle(), large_, weight_, convolution_, small_, kMostAlgorithms, &count, found);
    } else {
      what = "cudnnGetConvolutionBackwardFilterAlgorithm_v7";
      status = call_.get_filter(use.handle(), large_, small_, convolution_, weight_, kMostAlgorithms, &count, found);
    }
    check(status, "cudnnAlgorithms", what);
    return allowed(found, count);
  }

  std::vector<CudnnAlgorithm> find(const CudnnOperands& o) override {
    if (p_.form == CudnnProblem::kBgrad) return algorithms();
    check_operands("cudnnFind", o);
    check_workspace("cudnnFind", o, 0);
    const bool there = p_.form == CudnnProblem::kExpand     ? call_.find_data != nullptr
                       : p_.form == CudnnProblem::kContract ? call_.find_forward != nullptr
                                                            : call_.find_filter != nullptr;
    const std::string what = std::string("cudnnFindConvolution") + direction() + "AlgorithmEx";
    if (!there) {
      throw Error("ERR_CUDNN", "cudnnFind: cuDNN must have the entry " + what + ", got " + cudnn_info().path +
                                   " without it; switch backends.cudnn.benchmark off");
    }
    CudnnChannel::Use use(channel_, "cudnnFind");
    want_math();
    device_.note_library(keep(what));
    cudnn::AlgorithmPerf found[kMostAlgorithms] = {};
    int count = 0;
    void* const* p = o.pointers;
    cudnn::Status status;
    if (p_.form == CudnnProblem::kExpand) {
      status = call_.find_data(use.handle(), weight_, p[1], small_, p[0], convolution_, large_, p[3], kMostAlgorithms,
                               &count, found, o.workspace, o.workspace_bytes);
    } else if (p_.form == CudnnProblem::kContract) {
      status = call_.find_forward(use.handle(), large_, p[0], weight_, p[1], convolution_, small_, p[3],
                                  kMostAlgorithms, &count, found, o.workspace, o.workspace_bytes);
    } else {
      status = call_.find_filter(use.handle(), large_, p[1], small_, p[0], convolution_, weight_, p[2], kMostAlgorithms,
                                 &count, found, o.workspace, o.workspace_bytes);
    }
    if (status != cudnn::kSuccess) fail(status, "cudnnFind", what);
    return allowed(found, count);
  }

  uint64_t choose(int algo, int math_type, const std::string& name) override {
    check_choice(algo, math_type);
    size_t bytes = 0;
    if (p_.form != CudnnProblem::kBgrad) {
      CudnnChannel::Use use(channel_, "cudnnChoose");
      chosen_ = -1;
      set_math(math_type, "cudnnChoose");
      const cudnn::Status status =
          p_.form == CudnnProblem::kExpand
              ? call_.data_workspace(use.handle(), weight_, small_, convolution_, large_, algo, &bytes)
          : p_.form == CudnnProblem::kContract
              ? call_.forward_workspace(use.handle(), large_, weight_, convolution_, small_, algo, &bytes)
              : call_.filter_workspace(use.handle(), large_, small_, convolution_, weight_, algo, &bytes);
      if (status != cudnn::kSuccess) {
        fail(status, "cudnnChoose",
             std::string("cudnnGetConvolution") + direction() + "WorkspaceSize for algorithm " + show(algo));
      }
    }
    chosen_ = algo;
    math_type_ = math_type;
    workspace_ = bytes;
    name_ = keep(name);
    return bytes;
  }

  void run(const CudnnOperands& o) override {
    if (chosen_ < 0) refuse("cudnnRun", "plan", "one that cudnnChoose was called for", "one without an algorithm");
    check_operands("cudnnRun", o);
    check_workspace("cudnnRun", o, workspace_);
    CudnnChannel::Use use(channel_, "cudnnRun");
    // The heuristics may have been asked again since.
    if (p_.form != CudnnProblem::kBgrad && math_type_ != asked_) set_math(math_type_, "cudnnRun");
    device_.note_library(name_);
    const Scale one(p_.dtype, 1), zero(p_.dtype, 0);
    void* const* p = o.pointers;
    cudnn::Status status;
    if (p_.form == CudnnProblem::kExpand) {
      status = call_.data(use.handle(), one, weight_, p[1], small_, p[0], convolution_, chosen_, o.workspace,
                          o.workspace_bytes, zero, large_, p[3]);
    } else if (p_.form == CudnnProblem::kContract) {
      status = call_.forward(use.handle(), one, large_, p[0], weight_, p[1], convolution_, chosen_, o.workspace,
                             o.workspace_bytes, zero, small_, p[3]);
    } else if (p_.form == CudnnProblem::kWgrad) {
      status = call_.filter(use.handle(), one, large_, p[1], small_, p[0], convolution_, chosen_, o.workspace,
                            o.workspace_bytes, zero, weight_, p[2]);
    } else {
      status = call_.bias(use.handle(), one, large_, p[0], zero, bias_, p[1]);
    }
    if (status != cudnn::kSuccess) fail(status, "cudnnRun", "cudnnConvolution" + (direction() + (" of " + named())));
    if (has_bias()) {
      status = call_.add_tensor(use.handle(), one, bias_, p[2], one, output(), p[3]);
      if (status != cudnn::kSuccess) fail(status, "cudnnRun", "cudnnAddTensor of " + named());
    }
  }

 private:
  // What alpha and beta point to: double for double, else float.
  class Scale {
   public:
    Scale(CudnnProblem::Dtype dtype, int value) : float_(float(value)), double_(value), wide_(is_double(dtype)) {}
    operator const void*() const { return wide_ ? static_cast<const void*>(&double_) : &float_; }

   private:
    const float float_;
    const double double_;
    const bool wide_;
  };

  static bool is_double(CudnnProblem::Dtype dtype) { return dtype == CudnnProblem::kFloat64; }
  bool is_float() const { return p_.dtype == CudnnProblem::kFloat32; }
  bool asks(CudnnProblem::Flag flag) const { return (p_.flags & flag) != 0; }
  bool has_bias() const { return asks(CudnnProblem::kBias); }
  cudnn::Tensor output() const { return p_.form == CudnnProblem::kExpand ? large_ : small_; }

  const char* direction() const {
    static const char* const names[] = {"BackwardData", "Forward", "BackwardFilter", "BackwardBias"};
    return names[p_.form];
  }
  int algorithm_values() const {
    static const int counts[] = {cudnn::kBackwardDataAlgorithms, cudnn::kForwardAlgorithms,
                                 cudnn::kBackwardFilterAlgorithms, 1};
    return counts[p_.form];
  }

  // As PyTorch asks.
  cudnn::MathType wanted_math() const {
    if (is_double(p_.dtype)) return cudnn::kDefaultMath;
    if (is_float()) return asks(CudnnProblem::kAllowTf32) ? cudnn::kDefaultMath : cudnn::kFma;
    return cudnn::kTensorOp;
  }
  bool math_allowed(int math_type) const {
    if (!is_float()) return true;
    return asks(CudnnProblem::kAllowTf32) ? math_type != cudnn::kTensorOpAllowConversion : math_type == cudnn::kFma;
  }
  bool varies(int algo) const {
    if (p_.form == CudnnProblem::kExpand) return algo == cudnn::kBackwardData0;
    return p_.form == CudnnProblem::kWgrad && (algo == cudnn::kBackwardFilter0 || algo == cudnn::kBackwardFilter3);
  }

  void describe_operands() {
    const bool bgrad = p_.form == CudnnProblem::kBgrad;
    const int64_t large = elements("large side", p_.n, p_.cl, p_.hl, p_.wl);
    const uint64_t size = is_double(p_.dtype) ? 8 : is_float() ? 4 : 2;
    if (bgrad) {
      if (has_bias()) refuse("cudnnPlan", "flags", "without a bias for bgrad", show(p_.flags));
      operands_ = {{"grad", large * size}, {"bias", p_.cl * size}};
      return;
    }
    const int64_t small = elements("small side", p_.n, p_.cs, p_.hs, p_.ws);
    const int64_t groups = p_.groups;
    if (groups < 1 || p_.cs % groups != 0 || p_.cl % groups != 0) {
      refuse("cudnnPlan", "groups", "a divisor of both channel counts", show(double(groups)));
    }
    const int64_t weight = elements("weight", p_.cs, p_.cl / groups, p_.r, p_.s);
    check_axis("height", p_.hs, p_.hl, p_.r, p_.sh, p_.ph, p_.dh);
    check_axis("width", p_.ws, p_.wl, p_.s, p_.sw, p_.pw, p_.dw);
    const Operand sides[] = {{"small", small * size}, {"large", large * size}};
    const Operand filter{"weight", weight * size};
    if (p_.form == CudnnProblem::kWgrad) {
      if (has_bias()) refuse("cudnnPlan", "flags", "without a bias for wgrad", show(p_.flags));
      operands_ = {sides[0], sides[1], filter};
      return;
    }
    const bool expand = p_.form == CudnnProblem::kExpand;
    const uint64_t channels = expand ? p_.cl : p_.cs;
    operands_ = {sides[expand ? 0 : 1], filter, {"bias", has_bias() ? channels * size : 0}, sides[expand ? 1 : 0]};
  }

  void describe() {
    static const cudnn::DataType types[] = {cudnn::kFloat, cudnn::kDouble, cudnn::kHalf, cudnn::kBfloat16};
    const cudnn::DataType type = types[p_.dtype];
    describe_tensor(large_, "the large side", type, p_.n, p_.cl, p_.hl, p_.wl);
    const bool bgrad = p_.form == CudnnProblem::kBgrad;
    if (bgrad || has_bias()) {
      describe_tensor(bias_, "the bias", type, 1, bgrad || p_.form == CudnnProblem::kExpand ? p_.cl : p_.cs, 1, 1);
    }
    if (bgrad) return;
    describe_tensor(small_, "the small side", type, p_.n, p_.cs, p_.hs, p_.ws);
    made(weight_.make(call_.create_filter, call_.destroy_filter), "the weight");
    made(call_.set_filter(weight_, type, p_.nhwc ? cudnn::kNhwc : cudnn::kNchw, p_.cs, p_.cl / p_.groups, p_.r, p_.s),
         "the weight");
    made(convolution_.make(call_.create_convolution, call_.destroy_convolution), "the convolution");
    const cudnn::DataType compute = is_double(p_.dtype) ? cudnn::kDouble : cudnn::kFloat;
    made(call_.set_convolution(convolution_, p_.ph, p_.pw, p_.sh, p_.sw, p_.dh, p_.dw, cudnn::kCrossCorrelation,
                               compute),
         "the convolution");
    made(call_.set_groups(convolution_, p_.groups), "the groups");
    set_math(wanted_math(), "cudnnPlan");
  }

  void describe_tensor(Descriptor<cudnn::Tensor>& tensor, const char* what, cudnn::DataType type, int n, int c, int h,
                       int w) {
    made(tensor.make(call_.create_tensor, call_.destroy_tensor), what);
    made(p_.nhwc ? call_.set_tensor(tensor, type, n, c, h, w, h * w * c, 1, w * c, c)
                 : call_.set_tensor(tensor, type, n, c, h, w, c * h * w, h * w, w, 1),
         what);
  }

  void made(cudnn::Status status, const char* what) {
    if (status != cudnn::kSuccess) fail(status, "cudnnPlan", std::string("describing ") + what + " to cuDNN");
  }

  void set_math(int math_type, const char* where) {
    asked_ = -1;
    check(call_.set_math_type(convolution_, math_type), where, "cudnnSetConvolutionMathType");
    asked_ = math_type;
  }
  void want_math() {
    if (asked_ != wanted_math()) set_math(wanted_math(), "cudnnAlgorithms");
  }

  std::vector<CudnnAlgorithm> allowed(const cudnn::AlgorithmPerf* found, int count) const {
    std::vector<CudnnAlgorithm> kept;
    for (int i = 0; i < std::min(count, kMostAlgorithms); ++i) {
      const cudnn::AlgorithmPerf& perf = found[i];
      const bool deterministic = perf.determinism == cudnn::kDeterministic && !varies(perf.algo);
      if (perf.status == cudnn::kSuccess) {
        if (asks(CudnnProblem::kDeterministic) && !deterministic) continue;
        if (!math_allowed(perf.math_type)) continue;
      }
      kept.push_back({perf.algo, perf.status, perf.time, perf.memory, deterministic, perf.math_type});
    }
    return kept;
  }

  void check_choice(int algo, int math_type) const {
    if (algo < 0 || algo >= algorithm_values())
      refuse("cudnnChoose", "algorithm", "one of cudnnAlgorithms", show(algo));
    const bool allowed = p_.form == CudnnProblem::kBgrad || math_allowed(math_type);
    if (math_type < cudnn::kDefaultMath || math_type > cudnn::kFma || !allowed) {
      refuse("cudnnChoose", "math type",
             is_float() ? "one that the plan's flags allow (FMA, 3, without TF32)" : "0 to 3", show(math_type));
    }
    if (asks(CudnnProblem::kDeterministic) && varies(algo)) {
      throw Error("ERR_NONDETERMINISTIC", std::string("cudnnChoose: the algorithm of cudnnConvolution") + direction() +
                                              " must be deterministic, got algorithm " + show(algo));
    }
  }

  std::string named() const { return name_; }

  void check_operands(const char* where, const CudnnOperands& o) const {
    for (size_t i = 0; i < operands_.size(); ++i) {
      const Operand& operand = operands_[i];
      if (operand.bytes != 0) {
        check_pointer(where, operand.name, operand.bytes, o.pointers[i], o.bytes[i]);
      } else if (o.pointers[i] != nullptr) {
        refuse(where, operand.name + (" of " + named()), "handle 0 in a plan without a bias", "a buffer");
      }
    }
  }

  void check_workspace(const char* where, const CudnnOperands& o, uint64_t needed) const {
    if (needed == 0 && o.workspace == nullptr) return;
    check_pointer(where, "workspace", needed, o.workspace, o.workspace_bytes);
  }

  void check_pointer(const char* where, const char* what, uint64_t needed, const void* pointer, uint64_t bytes) const {
    const uintptr_t behind = reinterpret_cast<uintptr_t>(pointer) % kAlignment;
    if (pointer != nullptr && bytes >= needed && behind == 0) return;
    const std::string operand = what + (" of " + named());
    if (pointer == nullptr) refuse(where, operand, "a buffer of " + show(double(needed)) + " bytes", "handle 0");
    if (bytes < needed) refuse(where, operand, "at least " + show(double(needed)) + " bytes", show(double(bytes)));
    refuse(where, operand, "at a multiple of 16 bytes", show(double(behind)) + " bytes behind one");
  }

  void check(cudnn::Status status, const char* where, const char* what) {
    if (status != cudnn::kSuccess) fail(status, where, what);
  }

  // A failure of the device itself is told as the device tells it.
  [[noreturn]] void fail(cudnn::Status status, const char* where, const std::string& what) {
    const std::string got = explain(call_, status);
    device_.check_library(where);
    throw Error("ERR_CUDNN", std::string(where) + ": " + what + " must succeed, got " + got);
  }

  Device& device_;
  CudnnChannel& channel_;
  const cudnn::Entries& call_;
  const CudnnProblem p_;
  std::vector<Operand> operands_;
  Descriptor<cudnn::Tensor> small_, large_, bias_;
  Descriptor<cudnn::Filter> weight_;
  Descriptor<cudnn::Convolution> convolution_;
  int asked_ = -1;   // the math type of the descriptor
  int chosen_ = -1;  // no algorithm yet
  int math_type_ = 0;
  uint64_t workspace_ = 0;
  const char* name_;
};

}  // namespace

std::unique_ptr<CudnnPlan> make_cudnn_plan(Device& device, const CudnnProblem& problem) {
  const CudnnInfo info = cudnn_info();
  if (!info.available) cudnn_unavailable("cudnnPlan", info.reason);
  return std::make_unique<Plan>(device, problem);
}

}  // namespace fracstride
