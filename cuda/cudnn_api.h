// Our own declarations of what is used of cuDNN 8 and 9: values, one structure, and the entries with their parameters.
// test/support/cudnn_declarations.cc compares them with cudnn.h. Enumerations count as int.
#pragma once

#include <cstddef>

// cuDNN's opaque types, with its own tags, so that signatures can be compared.
struct cudnnContext;
struct cudnnTensorStruct;
struct cudnnFilterStruct;
struct cudnnConvolutionStruct;
struct CUstream_st;

namespace fracstride {

namespace cudnn {

using Status = int;
using Handle = cudnnContext*;
using Tensor = cudnnTensorStruct*;
using Filter = cudnnFilterStruct*;
using Convolution = cudnnConvolutionStruct*;
using Stream = CUstream_st*;
using DataType = int;
using Format = int;
using Mode = int;
using MathType = int;
using Algorithm = int;

constexpr Status kSuccess = 0;
constexpr DataType kFloat = 0, kDouble = 1, kHalf = 2, kBfloat16 = 9;
constexpr Format kNchw = 0, kNhwc = 1;
constexpr Mode kCrossCorrelation = 1;
constexpr MathType kDefaultMath = 0, kTensorOp = 1, kTensorOpAllowConversion = 2, kFma = 3;
constexpr int kDeterministic = 1;
// Algorithms of the three directions, and the ones that are documented as not deterministic.
constexpr int kForwardAlgorithms = 8, kBackwardDataAlgorithms = 6, kBackwardFilterAlgorithms = 7;
constexpr Algorithm kBackwardData0 = 0, kBackwardFilter0 = 0, kBackwardFilter3 = 3;

// cudnnConvolutionFwdAlgoPerf_t and its two sisters, which are laid out alike.
struct AlgorithmPerf {
  Algorithm algo;
  Status status;
  float time;
  size_t memory;
  int determinism;
  MathType math_type;
  int reserved[3];
};

// Symbol, field, parameters; each returns a Status.
#define FS_CUDNN_ENTRIES(ENTRY)                                                                                        \
  ENTRY(cudnnCreate, create, (Handle*))                                                                                \
  ENTRY(cudnnSetStream, set_stream, (Handle, Stream))                                                                  \
  ENTRY(cudnnCreateTensorDescriptor, create_tensor, (Tensor*))                                                         \
  ENTRY(cudnnSetTensor4dDescriptorEx, set_tensor, (Tensor, DataType, int, int, int, int, int, int, int, int))          \
  ENTRY(cudnnDestroyTensorDescriptor, destroy_tensor, (Tensor))                                                        \
  ENTRY(cudnnCreateFilterDescriptor, create_filter, (Filter*))                                                         \
  ENTRY(cudnnSetFilter4dDescriptor, set_filter, (Filter, DataType, Format, int, int, int, int))                        \
  ENTRY(cudnnDestroyFilterDescriptor, destroy_filter, (Filter))                                                        \
  ENTRY(cudnnCreateConvolutionDescriptor, create_convolution, (Convolution*))                                          \
  ENTRY(cudnnSetConvolution2dDescriptor, set_convolution, (Convolution, int, int, int, int, int, int, Mode, DataType)) \
  ENTRY(cudnnSetConvolutionGroupCount, set_groups, (Convolution, int))                                                 \
  ENTRY(cudnnSetConvolutionMathType, set_math_type, (Convolution, MathType))                                           \
  ENTRY(cudnnDestroyConvolutionDescriptor, destroy_convolution, (Convolution))                                         \
  ENTRY(cudnnGetConvolutionForwardAlgorithm_v7, get_forward,                                                           \
        (Handle, Tensor, Filter, Convolution, Tensor, int, int*, AlgorithmPerf*))                                      \
  ENTRY(cudnnGetConvolutionBackwardDataAlgorithm_v7, get_data,                                                         \
        (Handle, Filter, Tensor, Convolution, Tensor, int, int*, AlgorithmPerf*))                                      \
  ENTRY(cudnnGetConvolutionBackwardFilterAlgorithm_v7, get_filter,                                                     \
        (Handle, Tensor, Tensor, Convolution, Filter, int, int*, AlgorithmPerf*))                                      \
  ENTRY(cudnnGetConvolutionForwardWorkspaceSize, forward_workspace,                                                    \
        (Handle, Tensor, Filter, Convolution, Tensor, Algorithm, size_t*))                                             \
  ENTRY(cudnnGetConvolutionBackwardDataWorkspaceSize, data_workspace,                                                  \
        (Handle, Filter, Tensor, Convolution, Tensor, Algorithm, size_t*))                                             \
  ENTRY(cudnnGetConvolutionBackwardFilterWorkspaceSize, filter_workspace,                                              \
        (Handle, Tensor, Tensor, Convolution, Filter, Algorithm, size_t*))                                             \
  ENTRY(cudnnConvolutionForward, forward,                                                                              \
        (Handle, const void*, Tensor, const void*, Filter, const void*, Convolution, Algorithm, void*, size_t,         \
         const void*, Tensor, void*))                                                                                  \
  ENTRY(cudnnConvolutionBackwardData, data,                                                                            \
        (Handle, const void*, Filter, const void*, Tensor, const void*, Convolution, Algorithm, void*, size_t,         \
         const void*, Tensor, void*))                                                                                  \
  ENTRY(cudnnConvolutionBackwardFilter, filter,                                                                        \
        (Handle, const void*, Tensor, const void*, Tensor, const void*, Convolution, Algorithm, void*, size_t,         \
         const void*, Filter, void*))                                                                                  \
  ENTRY(cudnnConvolutionBackwardBias, bias, (Handle, const void*, Tensor, const void*, const void*, Tensor, void*))    \
  ENTRY(cudnnAddTensor, add_tensor, (Handle, const void*, Tensor, const void*, const void*, Tensor, void*))

// Without these everything but `benchmark` works.
#define FS_CUDNN_OPTIONAL_ENTRIES(ENTRY)                                                                          \
  ENTRY(cudnnFindConvolutionForwardAlgorithmEx, find_forward,                                                     \
        (Handle, Tensor, const void*, Filter, const void*, Convolution, Tensor, void*, int, int*, AlgorithmPerf*, \
         void*, size_t))                                                                                          \
  ENTRY(cudnnFindConvolutionBackwardDataAlgorithmEx, find_data,                                                   \
        (Handle, Filter, const void*, Tensor, const void*, Convolution, Tensor, void*, int, int*, AlgorithmPerf*, \
         void*, size_t))                                                                                          \
  ENTRY(cudnnFindConvolutionBackwardFilterAlgorithmEx, find_filter,                                               \
        (Handle, Tensor, const void*, Tensor, const void*, Convolution, Filter, void*, int, int*, AlgorithmPerf*, \
         void*, size_t))

struct Entries {
  size_t (*version)() = nullptr;                       // cudnnGetVersion
  const char* (*error_string)(Status) = nullptr;       // cudnnGetErrorString
  void (*last_error_string)(char*, size_t) = nullptr;  // cudnnGetLastErrorString, version 9 and later
#define FS_FIELD(symbol, field, parameters) Status(*field) parameters = nullptr;
  FS_CUDNN_ENTRIES(FS_FIELD)
  FS_CUDNN_OPTIONAL_ENTRIES(FS_FIELD)
#undef FS_FIELD
};

}  // namespace cudnn

}  // namespace fracstride
