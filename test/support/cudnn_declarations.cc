// Compiles only while cuda/cudnn_api.h and simulator/cudnn_api.h agree with cuDNN: with -DWITH_CUDNN against the
// installed cudnn.h, and always with each other and with the layout and the values that its documentation gives.
// Enumerations count as int.
#ifdef WITH_CUDNN
#include <cudnn.h>
#endif

#include <cstddef>
#include <type_traits>

#include "cuda/cudnn_api.h"
#include "test/support/plain_type.h"
#define SIMULATOR_TYPES_ONLY
#include "simulator/cudnn_api.h"

template <>
struct Plain<simulator::cudnn::Performance> {
  using Type = fracstride::cudnn::AlgorithmPerf;
};
#ifdef WITH_CUDNN
template <>
struct Plain<cudnnConvolutionFwdAlgoPerf_t> {
  using Type = fracstride::cudnn::AlgorithmPerf;
};
template <>
struct Plain<cudnnConvolutionBwdDataAlgoPerf_t> {
  using Type = fracstride::cudnn::AlgorithmPerf;
};
template <>
struct Plain<cudnnConvolutionBwdFilterAlgoPerf_t> {
  using Type = fracstride::cudnn::AlgorithmPerf;
};
#endif

// What the stand-in exports, as function types.
namespace simulator::cudnn::exported {
#define DECLARE(name, since, parameters) using name = Status parameters;
SIM_CUDNN_ENTRIES(DECLARE)
#undef DECLARE
#define DECLARE(name, since, result, parameters) using name = result parameters;
SIM_CUDNN_PLAIN_ENTRIES(DECLARE)
#undef DECLARE
}  // namespace simulator::cudnn::exported

namespace fracstride::cudnn {

// x86-64 and every other machine with cuDNN: 8-byte pointers and sizes.
static_assert(sizeof(void*) == 8 && sizeof(size_t) == 8 && sizeof(int) == 4);
static_assert(std::is_standard_layout_v<AlgorithmPerf> && sizeof(AlgorithmPerf) == 48);
static_assert(offsetof(AlgorithmPerf, algo) == 0 && offsetof(AlgorithmPerf, status) == 4);
static_assert(offsetof(AlgorithmPerf, time) == 8 && offsetof(AlgorithmPerf, memory) == 16);
static_assert(offsetof(AlgorithmPerf, determinism) == 24 && offsetof(AlgorithmPerf, math_type) == 28);
static_assert(offsetof(AlgorithmPerf, reserved) == 32 && sizeof(AlgorithmPerf::reserved) == 12);

static_assert(kSuccess == 0);
static_assert(kFloat == 0 && kDouble == 1 && kHalf == 2 && kBfloat16 == 9);
static_assert(kNchw == 0 && kNhwc == 1 && kCrossCorrelation == 1);
static_assert(kDefaultMath == 0 && kTensorOp == 1 && kTensorOpAllowConversion == 2 && kFma == 3);
static_assert(kDeterministic == 1);
static_assert(kForwardAlgorithms == 8 && kBackwardDataAlgorithms == 6 && kBackwardFilterAlgorithms == 7);
static_assert(kBackwardData0 == 0 && kBackwardFilter0 == 0 && kBackwardFilter3 == 3);

// Each call's result and its number of arguments, as documented.
template <class T>
struct Shape;
template <class R, class... P>
struct Shape<R (*)(P...)> {
  static constexpr size_t count = sizeof...(P);
  static constexpr bool status = std::is_same_v<R, Status>;
};
#define TAKES(field, arguments) \
  static_assert(Shape<decltype(Entries::field)>::status && Shape<decltype(Entries::field)>::count == arguments, #field)
TAKES(create, 1);
TAKES(set_stream, 2);
TAKES(create_tensor, 1);
TAKES(set_tensor, 10);
TAKES(create_filter, 1);
TAKES(set_filter, 7);
TAKES(create_convolution, 1);
TAKES(set_convolution, 9);
TAKES(set_groups, 2);
TAKES(set_math_type, 2);
TAKES(get_forward, 8);
TAKES(get_data, 8);
TAKES(get_filter, 8);
TAKES(find_forward, 13);
TAKES(find_data, 13);
TAKES(find_filter, 13);
TAKES(forward_workspace, 7);
TAKES(data_workspace, 7);
TAKES(filter_workspace, 7);
TAKES(forward, 13);
TAKES(data, 13);
TAKES(filter, 13);
TAKES(bias, 7);
TAKES(add_tensor, 7);
#undef TAKES
static_assert(std::is_same_v<decltype(Entries::version), size_t (*)()>);
static_assert(std::is_same_v<decltype(Entries::error_string), const char* (*)(Status)>);
static_assert(std::is_same_v<decltype(Entries::last_error_string), void (*)(char*, size_t)>);

// What the addon takes from a library, the stand-in exports, and alike.
namespace exported = simulator::cudnn::exported;
#define CHECK(symbol, field, parameters)                                          \
  static_assert(std::is_same_v<Plain<exported::symbol>::Type, Status parameters>, \
                "parameters of the stand-in's " #symbol);
FS_CUDNN_ENTRIES(CHECK)
FS_CUDNN_OPTIONAL_ENTRIES(CHECK)
#undef CHECK
static_assert(
    std::is_same_v<std::add_pointer_t<exported::cudnnGetVersion>, decltype(Entries::version)> &&
    std::is_same_v<std::add_pointer_t<exported::cudnnGetErrorString>, decltype(Entries::error_string)> &&
    std::is_same_v<std::add_pointer_t<exported::cudnnGetLastErrorString>, decltype(Entries::last_error_string)>);

#ifdef WITH_CUDNN
static_assert(CUDNN_VERSION >= 8000);

#define CHECK(symbol, field, parameters) \
  static_assert(std::is_same_v<Plain<decltype(::symbol)>::Type, Status parameters>, "parameters of " #symbol);
FS_CUDNN_ENTRIES(CHECK)
FS_CUDNN_OPTIONAL_ENTRIES(CHECK)
#undef CHECK
static_assert(std::is_same_v<decltype(::cudnnGetVersion), size_t()>);
static_assert(std::is_same_v<Plain<decltype(::cudnnGetErrorString)>::Type, const char*(Status)>);

// The stand-in exports more than the addon takes.
#define CHECK(symbol, since, parameters)                                                        \
  static_assert(std::is_same_v<Plain<decltype(::symbol)>::Type, Plain<exported::symbol>::Type>, \
                "parameters of the stand-in's " #symbol);
SIM_CUDNN_ENTRIES(CHECK)
#undef CHECK

template <class Perf>
constexpr bool laid_out_as_ours() {
  return sizeof(Perf) == sizeof(AlgorithmPerf) && offsetof(Perf, algo) == offsetof(AlgorithmPerf, algo) &&
         offsetof(Perf, status) == offsetof(AlgorithmPerf, status) &&
         offsetof(Perf, time) == offsetof(AlgorithmPerf, time) &&
         offsetof(Perf, memory) == offsetof(AlgorithmPerf, memory) &&
         offsetof(Perf, determinism) == offsetof(AlgorithmPerf, determinism) &&
         offsetof(Perf, mathType) == offsetof(AlgorithmPerf, math_type);
}
static_assert(laid_out_as_ours<cudnnConvolutionFwdAlgoPerf_t>() &&
              laid_out_as_ours<cudnnConvolutionBwdDataAlgoPerf_t>() &&
              laid_out_as_ours<cudnnConvolutionBwdFilterAlgoPerf_t>());

#define SAME(ours, theirs) static_assert(static_cast<int>(ours) == static_cast<int>(theirs))
SAME(kSuccess, CUDNN_STATUS_SUCCESS);
SAME(kFloat, CUDNN_DATA_FLOAT);
SAME(kDouble, CUDNN_DATA_DOUBLE);
SAME(kHalf, CUDNN_DATA_HALF);
SAME(kBfloat16, CUDNN_DATA_BFLOAT16);
SAME(kNchw, CUDNN_TENSOR_NCHW);
SAME(kNhwc, CUDNN_TENSOR_NHWC);
SAME(kCrossCorrelation, CUDNN_CROSS_CORRELATION);
SAME(kDefaultMath, CUDNN_DEFAULT_MATH);
SAME(kTensorOp, CUDNN_TENSOR_OP_MATH);
SAME(kTensorOpAllowConversion, CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION);
SAME(kFma, CUDNN_FMA_MATH);
SAME(kDeterministic, CUDNN_DETERMINISTIC);
SAME(kForwardAlgorithms, CUDNN_CONVOLUTION_FWD_ALGO_COUNT);
SAME(kBackwardDataAlgorithms, CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT);
SAME(kBackwardFilterAlgorithms, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT);
SAME(kBackwardData0, CUDNN_CONVOLUTION_BWD_DATA_ALGO_0);
SAME(kBackwardFilter0, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0);
SAME(kBackwardFilter3, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3);
#undef SAME
#endif

}  // namespace fracstride::cudnn
