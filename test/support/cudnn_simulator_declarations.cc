// Compiles only while the entries of the stand-in for libcudnn are those that the addon calls, and where cudnn.h is
// installed those that it declares. Enumerations count as int.
#if defined(__has_include)
#if __has_include(<cudnn.h>)
#include <cudnn.h>
#define WITH_CUDNN
#endif
#endif

#include <cstddef>
#include <type_traits>

#include "cuda/cudnn_api.h"
#include "test/support/plain_type.h"
#define SIMULATOR_TYPES_ONLY
#include "simulator/cudnn_api.h"

template <>
struct Plain<fracstride::cudnn::AlgorithmPerf> {
  using Type = simulator::cudnn::Performance;
};
#ifdef WITH_CUDNN
template <>
struct Plain<cudnnConvolutionFwdAlgoPerf_t> {
  using Type = simulator::cudnn::Performance;
};
template <>
struct Plain<cudnnConvolutionBwdDataAlgoPerf_t> {
  using Type = simulator::cudnn::Performance;
};
template <>
struct Plain<cudnnConvolutionBwdFilterAlgoPerf_t> {
  using Type = simulator::cudnn::Performance;
};
#endif

namespace simulator::cudnn {

#ifdef WITH_CUDNN
static_assert(sizeof(cudnnConvolutionFwdAlgoPerf_t) == sizeof(Performance));
#define CHECK(name, since, parameters) \
  static_assert(std::is_same_v<Plain<decltype(::name)>::Type, Status parameters>, "parameters of " #name);
SIM_CUDNN_ENTRIES(CHECK)
#undef CHECK
#endif

struct Exported {
#define FIELD(name, since, parameters) static Status name parameters;
  SIM_CUDNN_ENTRIES(FIELD)
#undef FIELD
#define FIELD(name, since, result, parameters) static result name parameters;
  SIM_CUDNN_PLAIN_ENTRIES(FIELD)
#undef FIELD
};

using Called = fracstride::cudnn::Entries;
#define CHECK(symbol, field, parameters)                                                    \
  static_assert(std::is_same_v<Plain<std::remove_pointer_t<decltype(Called::field)>>::Type, \
                               std::remove_pointer_t<decltype(&Exported::symbol)>>,         \
                "parameters of " #symbol);
FS_CUDNN_ENTRIES(CHECK)
FS_CUDNN_OPTIONAL_ENTRIES(CHECK)
#undef CHECK

static_assert(std::is_same_v<decltype(Called::version), decltype(&Exported::cudnnGetVersion)>);
static_assert(std::is_same_v<decltype(Called::error_string), decltype(&Exported::cudnnGetErrorString)>);
static_assert(std::is_same_v<decltype(Called::last_error_string), decltype(&Exported::cudnnGetLastErrorString)>);
static_assert(offsetof(fracstride::cudnn::AlgorithmPerf, memory) == offsetof(Performance, memory) &&
              offsetof(fracstride::cudnn::AlgorithmPerf, math_type) == offsetof(Performance, math) &&
              sizeof(fracstride::cudnn::AlgorithmPerf) == sizeof(Performance));

}  // namespace simulator::cudnn
