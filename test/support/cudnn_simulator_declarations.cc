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
#define SIMULATOR_TYPES_ONLY
#include "simulator/cudnn_api.h"

namespace simulator::cudnn {

template <class T>
struct Plain {
  using Type = std::conditional_t<std::is_enum_v<T>, int, T>;
};
template <class T>
struct Plain<T*> {
  using Type = typename Plain<T>::Type*;
};
template <>
struct Plain<fracstride::cudnn::AlgorithmPerf> {
  using Type = Performance;
};
template <class R, class... P>
struct Plain<R(P...)> {
  using Type = typename Plain<R>::Type(typename Plain<P>::Type...);
};
#ifdef WITH_CUDNN
template <>
struct Plain<cudnnConvolutionFwdAlgoPerf_t> {
  using Type = Performance;
};
template <>
struct Plain<cudnnConvolutionBwdDataAlgoPerf_t> {
  using Type = Performance;
};
template <>
struct Plain<cudnnConvolutionBwdFilterAlgoPerf_t> {
  using Type = Performance;
};
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
