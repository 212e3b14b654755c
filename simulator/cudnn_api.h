// The part of libcudnn that the stand-in exports: our own declarations, with cuDNN's values. Enumerations are int.
#pragma once

#include <cstddef>

#include "api.h"

// cuDNN's opaque types, with its own tags.
struct cudnnContext;
struct cudnnTensorStruct;
struct cudnnFilterStruct;
struct cudnnConvolutionStruct;

namespace simulator::cudnn {

using driver::StreamHandle;

using Status = int;
using Enum = int;
using Handle = cudnnContext*;
using TensorDescriptor = cudnnTensorStruct*;
using FilterDescriptor = cudnnFilterStruct*;
using ConvolutionDescriptor = cudnnConvolutionStruct*;

// Statuses: name, value since cuDNN 9, value up to cuDNN 8.
#define SIM_CUDNN_STATUSES(STATUS)                         \
  STATUS(SUCCESS, 0, 0)                                    \
  STATUS(NOT_INITIALIZED, 1001, 1)                         \
  STATUS(SUBLIBRARY_VERSION_MISMATCH, 1002, 14)            \
  STATUS(SERIALIZATION_VERSION_MISMATCH, 1003, 14)         \
  STATUS(DEPRECATED, 1004, 9)                              \
  STATUS(LICENSE_ERROR, 1005, 10)                          \
  STATUS(RUNTIME_IN_PROGRESS, 1006, 12)                    \
  STATUS(RUNTIME_FP_OVERFLOW, 1007, 13)                    \
  STATUS(SUBLIBRARY_LOADING_FAILED, 1008, 1)               \
  STATUS(BAD_PARAM, 2000, 3)                               \
  STATUS(BAD_PARAM_NULL_POINTER, 2002, 3)                  \
  STATUS(BAD_PARAM_MISALIGNED_POINTER, 2003, 3)            \
  STATUS(BAD_PARAM_NOT_FINALIZED, 2004, 3)                 \
  STATUS(BAD_PARAM_OUT_OF_BOUND, 2005, 3)                  \
  STATUS(BAD_PARAM_SIZE_INSUFFICIENT, 2006, 3)             \
  STATUS(BAD_PARAM_STREAM_MISMATCH, 2007, 3)               \
  STATUS(BAD_PARAM_SHAPE_MISMATCH, 2008, 3)                \
  STATUS(NOT_SUPPORTED, 3000, 9)                           \
  STATUS(NOT_SUPPORTED_SHAPE, 3002, 9)                     \
  STATUS(NOT_SUPPORTED_DATA_TYPE, 3003, 9)                 \
  STATUS(NOT_SUPPORTED_LAYOUT, 3004, 9)                    \
  STATUS(NOT_SUPPORTED_ARCH_MISMATCH, 3007, 6)             \
  STATUS(NOT_SUPPORTED_SUBLIBRARY_UNAVAILABLE, 3009, 9)    \
  STATUS(INTERNAL_ERROR, 4000, 4)                          \
  STATUS(INTERNAL_ERROR_HOST_ALLOCATION_FAILED, 4003, 2)   \
  STATUS(INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED, 4004, 2) \
  STATUS(EXECUTION_FAILED, 5000, 8)                        \
  STATUS(EXECUTION_FAILED_CUDA_DRIVER, 5001, 8)            \
  STATUS(EXECUTION_FAILED_CUDART, 5003, 8)

#define SIM_NAME(name, value, old) constexpr Status k##name = value;
SIM_CUDNN_STATUSES(SIM_NAME)
#undef SIM_NAME

// Statuses that cuDNN 8 alone has, for their names.
#define SIM_CUDNN_OLD_STATUSES(STATUS)     \
  STATUS(SUCCESS, 0)                       \
  STATUS(NOT_INITIALIZED, 1)               \
  STATUS(ALLOC_FAILED, 2)                  \
  STATUS(BAD_PARAM, 3)                     \
  STATUS(INTERNAL_ERROR, 4)                \
  STATUS(INVALID_VALUE, 5)                 \
  STATUS(ARCH_MISMATCH, 6)                 \
  STATUS(MAPPING_ERROR, 7)                 \
  STATUS(EXECUTION_FAILED, 8)              \
  STATUS(NOT_SUPPORTED, 9)                 \
  STATUS(LICENSE_ERROR, 10)                \
  STATUS(RUNTIME_PREREQUISITE_MISSING, 11) \
  STATUS(RUNTIME_IN_PROGRESS, 12)          \
  STATUS(RUNTIME_FP_OVERFLOW, 13)          \
  STATUS(VERSION_MISMATCH, 14)

constexpr Enum kFloat = 0, kDouble = 1, kHalf = 2, kBfloat16 = 9;        // cudnnDataType_t
constexpr Enum kNchw = 0, kNhwc = 1;                                     // cudnnTensorFormat_t
constexpr Enum kConvolve = 0, kCrossCorrelate = 1;                       // cudnnConvolutionMode_t
constexpr Enum kDefaultMath = 0, kTensorOp = 1, kConvert = 2, kFma = 3;  // cudnnMathType_t
constexpr Enum kNonDeterministic = 0, kDeterministic = 1;                // cudnnDeterminism_t

// cudnnConvolutionFwdAlgoPerf_t, and those of the two others.
struct Performance {
  Enum algo;
  Status status;
  float time;  // milliseconds; -1 where it was not measured
  size_t memory;
  Enum determinism;
  Enum math;
  int reserved[3];
};
static_assert(offsetof(Performance, time) == 8 && offsetof(Performance, memory) == 16 &&
              offsetof(Performance, determinism) == 24 && offsetof(Performance, math) == 28 &&
              sizeof(Performance) == 48);

using Int = int*;
using Size = size_t*;
using Data = const void*;
using Out = void*;

// Entries that return a status: name, first version that has it, parameters.
#define SIM_CUDNN_ENTRIES(ENTRY)                                                                                       \
  ENTRY(cudnnCreate, 8000, (Handle * handle))                                                                          \
  ENTRY(cudnnDestroy, 8000, (Handle handle))                                                                           \
  ENTRY(cudnnSetStream, 8000, (Handle handle, StreamHandle stream))                                                    \
  ENTRY(cudnnGetStream, 8000, (Handle handle, StreamHandle * stream))                                                  \
  ENTRY(cudnnGetProperty, 8000, (Enum which, int* value))                                                              \
  ENTRY(cudnnCreateTensorDescriptor, 8000, (TensorDescriptor * desc))                                                  \
  ENTRY(cudnnSetTensor4dDescriptor, 8000, (TensorDescriptor desc, Enum format, Enum type, int n, int c, int h, int w)) \
  ENTRY(cudnnSetTensor4dDescriptorEx, 8000,                                                                            \
        (TensorDescriptor desc, Enum type, int n, int c, int h, int w, int sn, int sc, int sh, int sw))                \
  ENTRY(cudnnGetTensor4dDescriptor, 8000,                                                                              \
        (TensorDescriptor desc, Enum * type, Int n, Int c, Int h, Int w, Int sn, Int sc, Int sh, Int sw))              \
  ENTRY(cudnnDestroyTensorDescriptor, 8000, (TensorDescriptor desc))                                                   \
  ENTRY(cudnnCreateFilterDescriptor, 8000, (FilterDescriptor * desc))                                                  \
  ENTRY(cudnnSetFilter4dDescriptor, 8000, (FilterDescriptor desc, Enum type, Enum format, int k, int c, int h, int w)) \
  ENTRY(cudnnGetFilter4dDescriptor, 8000,                                                                              \
        (FilterDescriptor desc, Enum * type, Enum * format, Int k, Int c, Int h, Int w))                               \
  ENTRY(cudnnDestroyFilterDescriptor, 8000, (FilterDescriptor desc))                                                   \
  ENTRY(cudnnCreateConvolutionDescriptor, 8000, (ConvolutionDescriptor * desc))                                        \
  ENTRY(cudnnSetConvolution2dDescriptor, 8000,                                                                         \
        (ConvolutionDescriptor desc, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h, int dilation_w, \
         Enum mode, Enum compute))                                                                                     \
  ENTRY(cudnnGetConvolution2dDescriptor, 8000,                                                                         \
        (ConvolutionDescriptor desc, Int pad_h, Int pad_w, Int stride_h, Int stride_w, Int dilation_h, Int dilation_w, \
         Enum * mode, Enum * compute))                                                                                 \
  ENTRY(cudnnSetConvolutionGroupCount, 8000, (ConvolutionDescriptor desc, int groups))                                 \
  ENTRY(cudnnGetConvolutionGroupCount, 8000, (ConvolutionDescriptor desc, Int groups))                                 \
  ENTRY(cudnnSetConvolutionMathType, 8000, (ConvolutionDescriptor desc, Enum math))                                    \
  ENTRY(cudnnGetConvolutionMathType, 8000, (ConvolutionDescriptor desc, Enum * math))                                  \
  ENTRY(cudnnDestroyConvolutionDescriptor, 8000, (ConvolutionDescriptor desc))                                         \
  ENTRY(cudnnGetConvolution2dForwardOutputDim, 8000,                                                                   \
        (ConvolutionDescriptor desc, TensorDescriptor x, FilterDescriptor w, Int n, Int c, Int h, Int width))          \
  ENTRY(cudnnGetConvolutionForwardAlgorithmMaxCount, 8000, (Handle handle, Int count))                                 \
  ENTRY(cudnnGetConvolutionBackwardDataAlgorithmMaxCount, 8000, (Handle handle, Int count))                            \
  ENTRY(cudnnGetConvolutionBackwardFilterAlgorithmMaxCount, 8000, (Handle handle, Int count))                          \
  ENTRY(cudnnGetConvolutionForwardAlgorithm_v7, 8000,                                                                  \
        (Handle handle, TensorDescriptor x, FilterDescriptor w, ConvolutionDescriptor desc, TensorDescriptor y,        \
         int requested, Int returned, Performance* results))                                                           \
  ENTRY(cudnnGetConvolutionBackwardDataAlgorithm_v7, 8000,                                                             \
        (Handle handle, FilterDescriptor w, TensorDescriptor dy, ConvolutionDescriptor desc, TensorDescriptor dx,      \
         int requested, Int returned, Performance* results))                                                           \
  ENTRY(cudnnGetConvolutionBackwardFilterAlgorithm_v7, 8000,                                                           \
        (Handle handle, TensorDescriptor x, TensorDescriptor dy, ConvolutionDescriptor desc, FilterDescriptor dw,      \
         int requested, Int returned, Performance* results))                                                           \
  ENTRY(cudnnFindConvolutionForwardAlgorithmEx, 8000,                                                                  \
        (Handle handle, TensorDescriptor x_desc, Data x, FilterDescriptor w_desc, Data w, ConvolutionDescriptor desc,  \
         TensorDescriptor y_desc, Out y, int requested, Int returned, Performance* results, Out workspace,             \
         size_t workspace_bytes))                                                                                      \
  ENTRY(cudnnFindConvolutionBackwardDataAlgorithmEx, 8000,                                                             \
        (Handle handle, FilterDescriptor w_desc, Data w, TensorDescriptor dy_desc, Data dy,                            \
         ConvolutionDescriptor desc, TensorDescriptor dx_desc, Out dx, int requested, Int returned,                    \
         Performance* results, Out workspace, size_t workspace_bytes))                                                 \
  ENTRY(cudnnFindConvolutionBackwardFilterAlgorithmEx, 8000,                                                           \
        (Handle handle, TensorDescriptor x_desc, Data x, TensorDescriptor dy_desc, Data dy,                            \
         ConvolutionDescriptor desc, FilterDescriptor dw_desc, Out dw, int requested, Int returned,                    \
         Performance* results, Out workspace, size_t workspace_bytes))                                                 \
  ENTRY(cudnnGetConvolutionForwardWorkspaceSize, 8000,                                                                 \
        (Handle handle, TensorDescriptor x, FilterDescriptor w, ConvolutionDescriptor desc, TensorDescriptor y,        \
         Enum algo, Size bytes))                                                                                       \
  ENTRY(cudnnGetConvolutionBackwardDataWorkspaceSize, 8000,                                                            \
        (Handle handle, FilterDescriptor w, TensorDescriptor dy, ConvolutionDescriptor desc, TensorDescriptor dx,      \
         Enum algo, Size bytes))                                                                                       \
  ENTRY(cudnnGetConvolutionBackwardFilterWorkspaceSize, 8000,                                                          \
        (Handle handle, TensorDescriptor x, TensorDescriptor dy, ConvolutionDescriptor desc, FilterDescriptor dw,      \
         Enum algo, Size bytes))                                                                                       \
  ENTRY(cudnnConvolutionForward, 8000,                                                                                 \
        (Handle handle, Data alpha, TensorDescriptor x_desc, Data x, FilterDescriptor w_desc, Data w,                  \
         ConvolutionDescriptor desc, Enum algo, Out workspace, size_t workspace_bytes, Data beta,                      \
         TensorDescriptor y_desc, Out y))                                                                              \
  ENTRY(cudnnConvolutionBackwardData, 8000,                                                                            \
        (Handle handle, Data alpha, FilterDescriptor w_desc, Data w, TensorDescriptor dy_desc, Data dy,                \
         ConvolutionDescriptor desc, Enum algo, Out workspace, size_t workspace_bytes, Data beta,                      \
         TensorDescriptor dx_desc, Out dx))                                                                            \
  ENTRY(cudnnConvolutionBackwardFilter, 8000,                                                                          \
        (Handle handle, Data alpha, TensorDescriptor x_desc, Data x, TensorDescriptor dy_desc, Data dy,                \
         ConvolutionDescriptor desc, Enum algo, Out workspace, size_t workspace_bytes, Data beta,                      \
         FilterDescriptor dw_desc, Out dw))                                                                            \
  ENTRY(cudnnConvolutionBackwardBias, 8000,                                                                            \
        (Handle handle, Data alpha, TensorDescriptor dy_desc, Data dy, Data beta, TensorDescriptor db_desc, Out db))   \
  ENTRY(cudnnAddTensor, 8000,                                                                                          \
        (Handle handle, Data alpha, TensorDescriptor a_desc, Data a, Data beta, TensorDescriptor c_desc, Out c))

// The others: name, first version that has it, result, parameters.
#define SIM_CUDNN_PLAIN_ENTRIES(ENTRY)                           \
  ENTRY(cudnnGetVersion, 1000, size_t, ())                       \
  ENTRY(cudnnGetCudartVersion, 8000, size_t, ())                 \
  ENTRY(cudnnGetErrorString, 1000, const char*, (Status status)) \
  ENTRY(cudnnGetLastErrorString, 9000, void, (char* message, size_t size))

#ifndef SIMULATOR_TYPES_ONLY  // beside cudnn.h, which declares the same names

#define SIM_DECLARE(name, since, parameters) SIM_EXPORT Status name parameters;
SIM_CUDNN_ENTRIES(SIM_DECLARE)
#undef SIM_DECLARE

#define SIM_DECLARE(name, since, result, parameters) SIM_EXPORT result name parameters;
SIM_CUDNN_PLAIN_ENTRIES(SIM_DECLARE)
#undef SIM_DECLARE

// As simulatorControl of api.h, of this library.
SIM_EXPORT const char* simulatorCudnnControl(const char* verb, const char* argument);

#endif

}  // namespace simulator::cudnn
