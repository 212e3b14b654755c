// cuDNN, opened at run time; see cudnn.h.
//
// Transposed convolution is the backward-data direction of a convolution from the large side to the small one:
// expand = BackwardData, contract = Forward, wgrad = BackwardFilter, bgrad = BackwardBias.

#include "cudnn.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <set>

#include "call_trace.h"
#include "cudnn_api.h"
#include "error.h"
#include "library.h"

namespace fracstride {

namespace {

constexpr size_t kOldest = 8000;
// Every algorithm with and without tensor cores.
constexpr int kMostAlgorithms = 16;
// cuDNN's kernels read whole vectors.
constexpr uintptr_t kAlignment = 16;
constexpr int64_t kMostElements = 2147483647;
// The library without its parts is smaller; anything larger needs none.
constexpr std::streamoff kLargestFront = 4 << 20;

const char* const kAdvice =
    "; install cuDNN 9 or 8 for your CUDA version, or set FRACSTRIDE_LIBCUDNN to the path of the library";
const char* const kPartsAdvice =
    "; put all libcudnn_*.so of one cuDNN version into one directory and name that in LD_LIBRARY_PATH";

struct Library {
  cudnn::Entries call;
  std::mutex mutex;  // of `info`, which may still turn out to be worse than it looked
  CudnnInfo info;
};

std::vector<std::string> candidates() {
  const char* chosen = std::getenv("FRACSTRIDE_LIBCUDNN");
  if (chosen != nullptr && chosen[0] != '\0') return {chosen};
#ifdef _WIN32
  return {"cudnn64_9.dll", "cudnn64_8.dll"};
#else
  return {"libcudnn.so.9", "libcudnn.so.8"};
#endif
}

void* open_first(CudnnInfo& info) {
  std::string problems;
  for (const std::string& name : candidates()) {
    if (void* library = open_library(name.c_str(), true)) {
      info.path = name;
      return library;
    }
    problems += (problems.empty() ? "" : "; ") + library_problem();
  }
  info.reason = "cuDNN could not be opened (" + problems + ")" + kAdvice;
  return nullptr;
}

// The name of the first entry that the library lacks, or null.
const char* find_entries(void* opened, cudnn::Entries& call) {
#define FS_FIND(symbol, field, ...) call.field = reinterpret_cast<decltype(call.field)>(find_symbol(opened, #symbol));
  FS_FIND(cudnnGetVersion, version)
  FS_FIND(cudnnGetErrorString, error_string)
  FS_FIND(cudnnGetLastErrorString, last_error_string)
  FS_CUDNN_ENTRIES(FS_FIND)
  FS_CUDNN_OPTIONAL_ENTRIES(FS_FIND)
#undef FS_FIND
#define FS_LACKS(symbol, field, ...) \
  if (call.field == nullptr) return #symbol;
  FS_LACKS(cudnnGetVersion, version)
  FS_LACKS(cudnnGetErrorString, error_string)
  FS_CUDNN_ENTRIES(FS_LACKS)
#undef FS_LACKS
  return nullptr;
}

#define FS_NAME(symbol, field, parameters)       \
  struct Name_##field {                          \
    static constexpr const char* text = #symbol; \
  };
FS_CUDNN_ENTRIES(FS_NAME)
FS_CUDNN_OPTIONAL_ENTRIES(FS_NAME)
#undef FS_NAME

void trace_cudnn(cudnn::Entries& call) {
#define FS_TRACE(symbol, field, parameters) trace_calls<Name_##field>(call.field);
  FS_CUDNN_ENTRIES(FS_TRACE)
  FS_CUDNN_OPTIONAL_ENTRIES(FS_TRACE)
#undef FS_TRACE
}

// Whether the file is the small front of a cuDNN that opens its parts by name.
bool needs_parts(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file || file.tellg() > kLargestFront) return false;
  file.seekg(0);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return text.find("libcudnn_cnn") != std::string::npos;
}

// cuDNN ends the process when it cannot open one of its parts. So they are opened first: from its own directory, where
// it then finds them, else from where the loader looks. Returns why one is missing, or nothing.
std::string open_parts(const CudnnInfo& info) {
#ifdef _WIN32
  (void)info;
  return "";
#else
  const bool nine = info.version >= 9000;
  const std::vector<std::string> parts =
      nine ? std::vector<std::string>{"graph", "ops", "cnn"}
           : std::vector<std::string>{"ops_infer", "ops_train", "cnn_infer", "cnn_train"};
  if (!needs_parts(info.path)) return "";
  const size_t slash = info.path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : info.path.substr(0, slash + 1);
  for (const std::string& part : parts) {
    const std::string name = "libcudnn_" + part + (nine ? ".so.9" : ".so.8");
    if (open_library((folder + name).c_str(), true) != nullptr) continue;
    if (open_library(name.c_str(), true) == nullptr) {
      return info.path + " needs " + name + ", which could not be opened (" + library_problem() + ")" + kPartsAdvice;
    }
  }
  return "";
#endif
}

void open_cudnn(Library& library) {
  CudnnInfo& info = library.info;
  void* opened = open_first(info);
  if (opened == nullptr) return;
  const char* absent = find_entries(opened, library.call);
  if (library.call.version != nullptr) {
    info.version = library.call.version();
    info.path = file_of_symbol(reinterpret_cast<const void*>(library.call.version), info.path);
  }
  if (info.version != 0 && info.version < kOldest) {
    info.reason =
        info.path + " is cuDNN " + std::to_string(info.version) + ", and 8000 is the oldest that can be used" + kAdvice;
  } else if (absent != nullptr) {
    info.reason = info.path + " has no entry " + absent + kAdvice;
  } else {
    info.reason = open_parts(info);
  }
  info.available = info.reason.empty();
  if (info.available && traces_calls()) trace_cudnn(library.call);
}

Library& cudnn_library() {
  static Library* const library = [] {
    auto* made = new Library;
    open_cudnn(*made);
    return made;
  }();
  return *library;
}

// A copy that lives for ever; equal texts share one.
const char* keep(const std::string& text) {
  static std::mutex mutex;
  static auto* const kept = new std::set<std::string>;
  std::lock_guard<std::mutex> lock(mutex);
  return kept->insert(text).first->c_str();
}

[[noreturn]] void unavailable(const char* where, const std::string& reason) {
  throw Error("ERR_DEVICE_UNAVAILABLE", std::string(where) + ": cuDNN must be usable, got none: " + reason);
}

// `CUDNN_STATUS_BAD_PARAM (2000)`, and what cuDNN has to say about it.
std::string explain(const cudnn::Entries& call, cudnn::Status status) {
  const char* name = call.error_string(status);
  std::string text = (name == nullptr ? "status " : name) + (" (" + std::to_string(status) + ")");
  if (call.last_error_string == nullptr) return text;
  char message[256] = "";
  call.last_error_string(message, sizeof message);
  message[sizeof message - 1] = '\0';
  std::string said = message;
  std::replace(said.begin(), said.end(), '\n', ' ');
  said.erase(said.find_last_not_of(' ') + 1);
  return said.empty() ? text : text + ": " + said;
}

// The handle of a device. All environments share it, as they share the device's stream, one call at a time.
class Channel {
 public:
  Channel(Device& device, cudnn::Handle handle, void* stream) : device_(device), handle_(handle), stream_(stream) {}

  // Holds the handle, which is on the stream for work of this thread; what is recorded gets another stream only for as
  // long as that lives.
  class Use {
   public:
    Use(Channel& channel, const char* where) : channel_(channel), lock_(channel.mutex_) {
      const LibraryStreams streams = channel.device_.enter_library(where);
      channel.move(streams.now, where);
      own_ = streams.own;
    }
    ~Use() {
      try {
        channel_.move(own_, "");
      } catch (const Error&) {  // the next use tries again
      }
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    cudnn::Handle handle() const { return channel_.handle_; }

   private:
    Channel& channel_;
    std::unique_lock<std::mutex> lock_;
    void* own_;
  };

 private:
  void move(void* stream, const char* where) {
    if (stream == stream_) return;
    const cudnn::Entries& call = cudnn_library().call;
    const cudnn::Status status = call.set_stream(handle_, static_cast<cudnn::Stream>(stream));
    if (status != cudnn::kSuccess) {
      throw Error("ERR_CUDNN",
                  std::string(where) + ": setting the stream of cuDNN must succeed, got " + explain(call, status));
    }
    stream_ = stream;
  }

  Device& device_;
  const cudnn::Handle handle_;
  void* stream_;
  std::mutex mutex_;
};

std::unique_ptr<Channel> make_channel(Device& device) {
  const char* const where = "cudnnPlan";
  Library& library = cudnn_library();
  const LibraryStreams streams = device.enter_library(where);
  if (streams.own == nullptr) {
    throw Error("ERR_ARGUMENT",
                std::string(where) + ": device must be one that cuDNN can use, got " + std::string(device.label()));
  }
  cudnn::Handle handle = nullptr;
  cudnn::Status status = library.call.create(&handle);
  if (status == cudnn::kSuccess) {
    status = library.call.set_stream(handle, static_cast<cudnn::Stream>(streams.own));
    if (status == cudnn::kSuccess) return std::make_unique<Channel>(device, handle, streams.own);
  }
  const std::string got = explain(library.call, status);
  device.check_library(where);
  if (got.find("ALLOC") != std::string::npos) {
    throw Error("ERR_OUT_OF_MEMORY", std::string(where) + ": cuDNN must find memory to start, got " + got);
  }
  std::lock_guard<std::mutex> lock(library.mutex);
  library.info.available = false;
  library.info.reason = "starting " + library.info.path + " failed with " + got + kPartsAdvice +
                        ", and check that it was built for a CUDA version that the driver can run";
  unavailable(where, library.info.reason);
}

Channel& channel_of(Device& device) {
  static std::mutex mutex;
  static auto* const channels = new std::map<const Device*, std::unique_ptr<Channel>>;
  std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<Channel>& found = (*channels)[&device];
  if (found == nullptr) found = make_channel(device);
  return *found;
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
        channel_(channel_of(device)),
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
    Channel::Use use(channel_, "cudnnAlgorithms");
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
    Channel::Use use(channel_, "cudnnFind");
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
      Channel::Use use(channel_, "cudnnChoose");
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
    Channel::Use use(channel_, "cudnnRun");
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
  Channel& channel_;
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

CudnnInfo cudnn_info() {
  Library& library = cudnn_library();
  std::lock_guard<std::mutex> lock(library.mutex);
  return library.info;
}

std::unique_ptr<CudnnPlan> make_cudnn_plan(Device& device, const CudnnProblem& problem) {
  const CudnnInfo info = cudnn_info();
  if (!info.available) unavailable("cudnnPlan", info.reason);
  return std::make_unique<Plan>(device, problem);
}

}  // namespace fracstride
