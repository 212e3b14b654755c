// A stand-in for libcudnn that computes nothing: it notes what it was asked for (fake_cudnn_take), and fails where it
// is told to (FAKE_CUDNN_STATUS=cudnnCreate:1008, or fake_cudnn_fail). The driver is that of FRACSTRIDE_LIBCUDA.
//
// -DVERSION=…; -DINCOMPLETE lacks cudnnAddTensor, -DWITHOUT_FIND the entries that measure, -DWITH_REASON has
// cudnnGetLastErrorString; -DWITH_PARTS looks like a library that opens its parts by name.
#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/cudnn_api.h"
#include "cuda/driver.h"

#ifndef VERSION
#define VERSION 91002
#endif
#ifdef WITH_PARTS
extern "C" __attribute__((visibility("default"))) const char fake_cudnn_part[] = "libcudnn_cnn.so.9";
#endif

using namespace fracstride::cudnn;
namespace cu = fracstride::cu;

struct cudnnContext {
  Stream stream = nullptr;
  std::mutex mutex;  // one call at a time
};
struct cudnnTensorStruct {
  std::string text;
};
struct cudnnFilterStruct {
  std::string text;
};
struct cudnnConvolutionStruct {
  std::string text;
  int groups = 1, math = 0;
};

namespace {

std::mutex mutex;
std::string noted, failing_entry;
int failing_status = 0, faults = 0;
long long descriptors = 0;

Status fails(const char* entry) {
  std::lock_guard<std::mutex> lock(mutex);
  if (failing_entry.empty()) {
    const char* text = std::getenv("FAKE_CUDNN_STATUS");
    const char* colon = text == nullptr ? nullptr : std::strchr(text, ':');
    if (colon != nullptr && std::string(text, colon) == entry) return std::atoi(colon + 1);
    return kSuccess;
  }
  return failing_entry == entry ? failing_status : kSuccess;
}

void note(const std::string& text) {
  std::lock_guard<std::mutex> lock(mutex);
  noted += (noted.empty() ? "" : " | ") + text;
}

template <class T>
Status make(T** made, const char* entry) {
  if (const Status status = fails(entry)) return status;
  *made = new T;
  std::lock_guard<std::mutex> lock(mutex);
  ++descriptors;
  return kSuccess;
}
template <class T>
Status destroy(T* made) {
  delete made;
  std::lock_guard<std::mutex> lock(mutex);
  --descriptors;
  return kSuccess;
}

template <class... T>
std::string join(T... values) {
  std::string text;
  ((text += (text.empty() ? "" : ",") + std::to_string(values)), ...);
  return text;
}

std::string text(Convolution c) {
  return c->text + " groups " + std::to_string(c->groups) + " math " + std::to_string(c->math);
}

// alpha or beta, as the type of the data has it.
std::string scale(const void* value, const std::string& data) {
  const bool wide = data.compare(0, 2, "1:") == 0;
  return std::to_string(int(wide ? *static_cast<const double*>(value) : *static_cast<const float*>(value)));
}

// Algorithms 1 (deterministic) and 0 (not), one that is not supported, and 1 with the descriptor's arithmetic lowered.
Status list(const char* entry, Convolution c, int requested, int* count, AlgorithmPerf* perf) {
  if (const Status status = fails(entry)) return status;
  const AlgorithmPerf all[] = {{0, 0, 0.5f, 0, 0, c->math, {}},
                               {1, 0, 1.5f, 4096, 1, c->math, {}},
                               {1, 0, 1.0f, 4096, 1, 2, {}},
                               {4, 3000, -1.0f, 0, 1, c->math, {}}};
  *count = 0;
  for (const AlgorithmPerf& each : all) {
    if (*count < requested) perf[(*count)++] = each;
  }
  note(std::string(entry) + " of " + std::to_string(requested) + " " + text(c));
  return kSuccess;
}

Status workspace(const char* entry, Convolution c, Algorithm algo, size_t* bytes) {
  if (const Status status = fails(entry)) return status;
  *bytes = algo == 1 ? 4096 + size_t(c->math) * 256 : 0;
  return kSuccess;
}

// Work on the handle's stream: nothing, or a kernel that faults.
Status work(Handle handle, const std::string& entry, const std::string& what) {
  const std::unique_lock<std::mutex> one(handle->mutex, std::try_to_lock);
  if (!one.owns_lock()) return 9999;
  if (const Status status = fails(entry.c_str())) return status;
  note(entry + " " + what);
  std::lock_guard<std::mutex> lock(mutex);
  if (faults == 0) return kSuccess;
  --faults;
  void* const driver = dlopen(std::getenv("FRACSTRIDE_LIBCUDA"), RTLD_NOW);
  const auto load = reinterpret_cast<decltype(cu::Entries::module_load_data_ex)>(dlsym(driver, "cuModuleLoadDataEx"));
  const auto find = reinterpret_cast<decltype(cu::Entries::module_get_function)>(dlsym(driver, "cuModuleGetFunction"));
  const auto launch = reinterpret_cast<decltype(cu::Entries::launch_kernel)>(dlsym(driver, "cuLaunchKernel"));
  cu::Module module = nullptr;
  cu::Function fault = nullptr;
  load(&module, "fill_bytes", 0, nullptr, nullptr);
  find(&fault, module, "fault");
  return launch(fault, 1, 1, 1, 1, 1, 1, 0, handle->stream, nullptr, nullptr) == cu::kSuccess ? kSuccess : 5000;
}

std::string how(const void* alpha, const void* beta, const std::string& data, Convolution c, Algorithm algo,
                size_t bytes) {
  return "algo " + std::to_string(algo) + " workspace " + std::to_string(bytes) + " scales " + scale(alpha, data) +
         scale(beta, data) + " " + text(c);
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void fake_cudnn_fail(const char* entry, int status) {
  std::lock_guard<std::mutex> lock(mutex);
  failing_entry = entry;
  failing_status = status;
}
EXPORT void fake_cudnn_fault(int runs) {
  std::lock_guard<std::mutex> lock(mutex);
  faults = runs;
}
EXPORT long long fake_cudnn_descriptors() {
  std::lock_guard<std::mutex> lock(mutex);
  return descriptors;
}
// What was asked for since the last call.
EXPORT const char* fake_cudnn_take() {
  static std::string taken;
  std::lock_guard<std::mutex> lock(mutex);
  taken.swap(noted);
  noted.clear();
  return taken.c_str();
}

EXPORT size_t cudnnGetVersion() {
  return VERSION;
}
EXPORT const char* cudnnGetErrorString(Status status) {
  switch (status) {
    case 1008:
      return "CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED";
    case 3000:
      return "CUDNN_STATUS_NOT_SUPPORTED";
    case 4004:
      return "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED";
    case 5000:
      return "CUDNN_STATUS_EXECUTION_FAILED";
    default:
      return "CUDNN_STATUS_BAD_PARAM";
  }
}
#ifdef WITH_REASON
EXPORT void cudnnGetLastErrorString(char* message, size_t size) {
  std::strncpy(message, "the stand-in\nrefuses this \n", size);
}
#endif

EXPORT Status cudnnCreate(Handle* handle) {
  if (const Status status = fails("cudnnCreate")) return status;
  *handle = new cudnnContext;
  return kSuccess;
}
EXPORT Status cudnnSetStream(Handle handle, Stream stream) {
  if (const Status status = fails("cudnnSetStream")) return status;
  handle->stream = stream;
  return kSuccess;
}
EXPORT Stream fake_cudnn_stream(Handle handle) {
  return handle->stream;
}
EXPORT Status cudnnCreateTensorDescriptor(Tensor* made) {
  return make(made, "cudnnCreateTensorDescriptor");
}
EXPORT Status cudnnSetTensor4dDescriptorEx(Tensor tensor, DataType type, int n, int c, int h, int w, int sn, int sc,
                                           int sh, int sw) {
  if (const Status status = fails("cudnnSetTensor4dDescriptorEx")) return status;
  tensor->text = std::to_string(type) + ":" + join(n, c, h, w) + "/" + join(sn, sc, sh, sw);
  return kSuccess;
}
EXPORT Status cudnnDestroyTensorDescriptor(Tensor tensor) {
  return destroy(tensor);
}
EXPORT Status cudnnCreateFilterDescriptor(Filter* made) {
  return make(made, "cudnnCreateFilterDescriptor");
}
EXPORT Status cudnnSetFilter4dDescriptor(Filter filter, DataType type, Format format, int k, int c, int h, int w) {
  if (const Status status = fails("cudnnSetFilter4dDescriptor")) return status;
  filter->text = std::to_string(type) + ":" + (format == kNhwc ? "NHWC " : "NCHW ") + join(k, c, h, w);
  return kSuccess;
}
EXPORT Status cudnnDestroyFilterDescriptor(Filter filter) {
  return destroy(filter);
}
EXPORT Status cudnnCreateConvolutionDescriptor(Convolution* made) {
  return make(made, "cudnnCreateConvolutionDescriptor");
}
EXPORT Status cudnnSetConvolution2dDescriptor(Convolution c, int ph, int pw, int sh, int sw, int dh, int dw, Mode mode,
                                              DataType compute) {
  if (const Status status = fails("cudnnSetConvolution2dDescriptor")) return status;
  c->text = "p" + join(ph, pw) + " s" + join(sh, sw) + " d" + join(dh, dw) + " mode " + std::to_string(mode) + " in " +
            std::to_string(compute);
  return kSuccess;
}
EXPORT Status cudnnSetConvolutionGroupCount(Convolution c, int groups) {
  c->groups = groups;
  return fails("cudnnSetConvolutionGroupCount");
}
EXPORT Status cudnnSetConvolutionMathType(Convolution c, MathType math) {
  if (const Status status = fails("cudnnSetConvolutionMathType")) return status;
  c->math = math;
  return kSuccess;
}
EXPORT Status cudnnDestroyConvolutionDescriptor(Convolution c) {
  return destroy(c);
}

EXPORT Status cudnnGetConvolutionForwardAlgorithm_v7(Handle, Tensor, Filter, Convolution c, Tensor, int requested,
                                                     int* count, AlgorithmPerf* perf) {
  return list("cudnnGetConvolutionForwardAlgorithm_v7", c, requested, count, perf);
}
EXPORT Status cudnnGetConvolutionBackwardDataAlgorithm_v7(Handle, Filter, Tensor, Convolution c, Tensor, int requested,
                                                          int* count, AlgorithmPerf* perf) {
  return list("cudnnGetConvolutionBackwardDataAlgorithm_v7", c, requested, count, perf);
}
EXPORT Status cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle, Tensor, Tensor, Convolution c, Filter,
                                                            int requested, int* count, AlgorithmPerf* perf) {
  return list("cudnnGetConvolutionBackwardFilterAlgorithm_v7", c, requested, count, perf);
}
#ifndef WITHOUT_FIND
EXPORT Status cudnnFindConvolutionForwardAlgorithmEx(Handle handle, Tensor x, const void*, Filter w, const void*,
                                                     Convolution c, Tensor y, void*, int requested, int* count,
                                                     AlgorithmPerf* perf, void*, size_t bytes) {
  if (const Status status = work(handle, "find", x->text + " * " + w->text + " -> " + y->text + " " + join(bytes)))
    return status;
  return list("cudnnFindConvolutionForwardAlgorithmEx", c, requested, count, perf);
}
EXPORT Status cudnnFindConvolutionBackwardDataAlgorithmEx(Handle handle, Filter w, const void*, Tensor dy, const void*,
                                                          Convolution c, Tensor dx, void*, int requested, int* count,
                                                          AlgorithmPerf* perf, void*, size_t bytes) {
  if (const Status status = work(handle, "find", w->text + " * " + dy->text + " -> " + dx->text + " " + join(bytes)))
    return status;
  return list("cudnnFindConvolutionBackwardDataAlgorithmEx", c, requested, count, perf);
}
EXPORT Status cudnnFindConvolutionBackwardFilterAlgorithmEx(Handle handle, Tensor x, const void*, Tensor dy,
                                                            const void*, Convolution c, Filter dw, void*, int requested,
                                                            int* count, AlgorithmPerf* perf, void*, size_t bytes) {
  if (const Status status = work(handle, "find", x->text + " * " + dy->text + " -> " + dw->text + " " + join(bytes)))
    return status;
  return list("cudnnFindConvolutionBackwardFilterAlgorithmEx", c, requested, count, perf);
}
#endif
EXPORT Status cudnnGetConvolutionForwardWorkspaceSize(Handle, Tensor, Filter, Convolution c, Tensor, Algorithm algo,
                                                      size_t* bytes) {
  return workspace("cudnnGetConvolutionForwardWorkspaceSize", c, algo, bytes);
}
EXPORT Status cudnnGetConvolutionBackwardDataWorkspaceSize(Handle, Filter, Tensor, Convolution c, Tensor,
                                                           Algorithm algo, size_t* bytes) {
  return workspace("cudnnGetConvolutionBackwardDataWorkspaceSize", c, algo, bytes);
}
EXPORT Status cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle, Tensor, Tensor, Convolution c, Filter,
                                                             Algorithm algo, size_t* bytes) {
  return workspace("cudnnGetConvolutionBackwardFilterWorkspaceSize", c, algo, bytes);
}
EXPORT Status cudnnConvolutionForward(Handle handle, const void* alpha, Tensor x, const void*, Filter w, const void*,
                                      Convolution c, Algorithm algo, void*, size_t bytes, const void* beta, Tensor y,
                                      void*) {
  return work(handle, "cudnnConvolutionForward",
              x->text + " * " + w->text + " -> " + y->text + " " + how(alpha, beta, x->text, c, algo, bytes));
}
EXPORT Status cudnnConvolutionBackwardData(Handle handle, const void* alpha, Filter w, const void*, Tensor dy,
                                           const void*, Convolution c, Algorithm algo, void*, size_t bytes,
                                           const void* beta, Tensor dx, void*) {
  return work(handle, "cudnnConvolutionBackwardData",
              w->text + " * " + dy->text + " -> " + dx->text + " " + how(alpha, beta, dx->text, c, algo, bytes));
}
EXPORT Status cudnnConvolutionBackwardFilter(Handle handle, const void* alpha, Tensor x, const void*, Tensor dy,
                                             const void*, Convolution c, Algorithm algo, void*, size_t bytes,
                                             const void* beta, Filter dw, void*) {
  return work(handle, "cudnnConvolutionBackwardFilter",
              x->text + " * " + dy->text + " -> " + dw->text + " " + how(alpha, beta, x->text, c, algo, bytes));
}
EXPORT Status cudnnConvolutionBackwardBias(Handle handle, const void* alpha, Tensor dy, const void*, const void* beta,
                                           Tensor db, void*) {
  return work(handle, "cudnnConvolutionBackwardBias",
              dy->text + " -> " + db->text + " scales " + scale(alpha, dy->text) + scale(beta, dy->text));
}
#ifndef INCOMPLETE
EXPORT Status cudnnAddTensor(Handle handle, const void* alpha, Tensor bias, const void*, const void* beta, Tensor y,
                             void*) {
  return work(handle, "cudnnAddTensor",
              bias->text + " -> " + y->text + " scales " + scale(alpha, y->text) + scale(beta, y->text));
}
#endif
