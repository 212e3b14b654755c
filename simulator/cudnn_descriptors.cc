// Handles and descriptors of the stand-in for libcudnn.
#include <cstdio>
#include <cstring>

#include "cudnn_state.h"

namespace simulator::cudnn {

namespace {

const char* status_name(const State& s, Status status) {
  if (s.config.old()) {
    switch (status) {
#define SIM_CASE(name, value) \
  case value:                 \
    return "CUDNN_STATUS_" #name;
      SIM_CUDNN_OLD_STATUSES(SIM_CASE)
#undef SIM_CASE
    }
    return "CUDNN_UNKNOWN_STATUS";
  }
  switch (status) {
#define SIM_CASE(name, value, old) \
  case value:                      \
    return "CUDNN_STATUS_" #name;
    SIM_CUDNN_STATUSES(SIM_CASE)
#undef SIM_CASE
  }
  return "CUDNN_STATUS_UNKNOWN";
}

void require_type(Enum type) {
  require(type == kFloat || type == kDouble || type == kHalf || type == kBfloat16, kNOT_SUPPORTED_DATA_TYPE,
          "data type must be float (0), double (1), half (2) or bfloat16 (9) here, got " + shown(type));
}

void require_format(Enum format) {
  require(format == kNchw || format == kNhwc, kNOT_SUPPORTED_LAYOUT,
          "format must be NCHW (0) or NHWC (1) here, got " + shown(format));
}

void require_positive(const int (&extents)[4]) {
  int64_t elements = 1;
  for (const int extent : extents) {
    require(extent > 0, kBAD_PARAM, "extents must be positive, got " + shown(extent));
    require(elements <= (int64_t(1) << 31) / extent, kNOT_SUPPORTED, "elements must be at most 2^31");
    elements *= extent;
  }
}

void set_dense(Shape& shape, Enum type, Enum format, const int (&extents)[4]) {
  const auto& [n, c, h, w] = extents;
  shape.type = type;
  std::memcpy(shape.extents, extents, sizeof extents);
  const int64_t planes = int64_t(h) * w;
  const int64_t nchw[] = {c * planes, planes, w, 1}, nhwc[] = {c * planes, 1, int64_t(w) * c, c};
  std::memcpy(shape.strides, format == kNhwc ? nhwc : nchw, sizeof shape.strides);
}

template <class T, class Name>
T& known(const Objects<T, Name>& objects, Name name, const char* what) {
  T* object = objects.find(name);
  require(object != nullptr, kBAD_PARAM, std::string(what) + " must be one that was made and that lives");
  return *object;
}

template <class T, class Name>
Status create(const char* name, Objects<T, Name> State::*objects, Name* made) {
  return entry(name, [&](Call& call) {
    require_pointer(made, "where to put the descriptor");
    *made = (call.s.*objects).add();
  });
}

template <class T, class Name>
Status destroy(const char* name, Objects<T, Name> State::*objects, Name gone) {
  return entry(name, [&](Call& call) {
    require((call.s.*objects).remove(gone), kBAD_PARAM, "descriptor must be one that was made and that lives");
  });
}

template <class T>
void put(T* to, T value) {
  if (to != nullptr) *to = value;
}

}  // namespace

extern "C" {

size_t cudnnGetVersion() {
  State& s = state();
  const std::lock_guard<std::mutex> lock(s.mutex);
  return size_t(s.config.version);
}

size_t cudnnGetCudartVersion() {
  State& s = state();
  const std::lock_guard<std::mutex> lock(s.mutex);
  return s.config.old() ? 12020 : 12090;
}

const char* cudnnGetErrorString(Status status) {
  State& s = state();
  const std::lock_guard<std::mutex> lock(s.mutex);
  return status_name(s, status);
}

void cudnnGetLastErrorString(char* message, size_t size) {
  if (message != nullptr && size != 0) std::snprintf(message, size, "%s", last_fault().c_str());
}

Status cudnnGetProperty(Enum which, int* value) {
  return entry("cudnnGetProperty", [&](Call& call) {
    require_pointer(value, "value");
    const int version = call.s.config.version, unit = call.s.config.old() ? 1000 : 10000;
    const int parts[] = {version / unit, version % unit / 100, version % 100};
    require(which >= 0 && which < 3, kBAD_PARAM, "property must be 0 (major), 1 (minor) or 2 (patch level)");
    *value = parts[which];
  });
}

Status cudnnCreate(Handle* handle) {
  return entry("cudnnCreate", [&](Call& call) {
    require_pointer(handle, "where to put the handle");
    driver::ContextHandle current = nullptr;
    require(find_driver().current(&current) == driver::kSUCCESS && current != nullptr, kNOT_INITIALIZED,
            "the thread must have a current context");
    *handle = call.s.handles.add();
    Library& library = *call.s.handles.find(*handle);
    library.context = current;
    library.generation = find_driver().generation(current);
  });
}

Status cudnnDestroy(Handle handle) {
  return entry("cudnnDestroy", [&](Call& call) {
    require(call.s.handles.remove(handle), kBAD_PARAM, "handle must be one that cudnnCreate made and that lives");
  });
}

Status cudnnSetStream(Handle handle, StreamHandle stream) {
  return entry("cudnnSetStream", handle, [&](Call&, Library& library) {
    driver::Enum capturing = 0;
    require(stream == nullptr || find_driver().capturing(stream, &capturing) != driver::kERROR_INVALID_HANDLE,
            kBAD_PARAM_STREAM_MISMATCH, "stream must be one of the current context that lives");
    library.stream = stream;
  });
}

Status cudnnGetStream(Handle handle, StreamHandle* stream) {
  return entry("cudnnGetStream", handle, [&](Call&, Library& library) {
    require_pointer(stream, "stream");
    *stream = library.stream;
  });
}

Status cudnnCreateTensorDescriptor(TensorDescriptor* made) {
  return create("cudnnCreateTensorDescriptor", &State::tensors, made);
}
Status cudnnDestroyTensorDescriptor(TensorDescriptor gone) {
  return destroy("cudnnDestroyTensorDescriptor", &State::tensors, gone);
}
Status cudnnCreateFilterDescriptor(FilterDescriptor* made) {
  return create("cudnnCreateFilterDescriptor", &State::filters, made);
}
Status cudnnDestroyFilterDescriptor(FilterDescriptor gone) {
  return destroy("cudnnDestroyFilterDescriptor", &State::filters, gone);
}
Status cudnnCreateConvolutionDescriptor(ConvolutionDescriptor* made) {
  return create("cudnnCreateConvolutionDescriptor", &State::convolutions, made);
}
Status cudnnDestroyConvolutionDescriptor(ConvolutionDescriptor gone) {
  return destroy("cudnnDestroyConvolutionDescriptor", &State::convolutions, gone);
}

Status cudnnSetTensor4dDescriptor(TensorDescriptor desc, Enum format, Enum type, int n, int c, int h, int w) {
  return entry("cudnnSetTensor4dDescriptor", [&](Call& call) {
    Tensor& tensor = known(call.s.tensors, desc, "tensor descriptor");
    require_type(type);
    require_format(format);
    require_positive({n, c, h, w});
    set_dense(tensor, type, format, {n, c, h, w});
    tensor.set = true;
  });
}

Status cudnnSetTensor4dDescriptorEx(TensorDescriptor desc, Enum type, int n, int c, int h, int w, int sn, int sc,
                                    int sh, int sw) {
  return entry("cudnnSetTensor4dDescriptorEx", [&](Call& call) {
    Tensor& tensor = known(call.s.tensors, desc, "tensor descriptor");
    require_type(type);
    require_positive({n, c, h, w});
    const int strides[] = {sn, sc, sh, sw};
    for (const int stride : strides) require(stride > 0, kBAD_PARAM, "strides must be positive, got " + shown(stride));
    const int extents[] = {n, c, h, w};
    tensor.type = type;
    std::memcpy(tensor.extents, extents, sizeof extents);
    for (int axis = 0; axis < 4; ++axis) tensor.strides[axis] = strides[axis];
    tensor.set = true;
  });
}

Status cudnnGetTensor4dDescriptor(TensorDescriptor desc, Enum* type, Int n, Int c, Int h, Int w, Int sn, Int sc, Int sh,
                                  Int sw) {
  return entry("cudnnGetTensor4dDescriptor", [&](Call& call) {
    const Tensor& tensor = known(call.s.tensors, desc, "tensor descriptor");
    require(tensor.set, kBAD_PARAM, "tensor descriptor must be set");
    const Int extents[] = {n, c, h, w}, strides[] = {sn, sc, sh, sw};
    put(type, tensor.type);
    for (int axis = 0; axis < 4; ++axis) {
      put(extents[axis], tensor.extents[axis]);
      put(strides[axis], int(tensor.strides[axis]));
    }
  });
}

Status cudnnSetFilter4dDescriptor(FilterDescriptor desc, Enum type, Enum format, int k, int c, int h, int w) {
  return entry("cudnnSetFilter4dDescriptor", [&](Call& call) {
    Filter& filter = known(call.s.filters, desc, "filter descriptor");
    require_type(type);
    require_format(format);
    require_positive({k, c, h, w});
    set_dense(filter, type, format, {k, c, h, w});
    filter.format = format;
    filter.set = true;
  });
}

Status cudnnGetFilter4dDescriptor(FilterDescriptor desc, Enum* type, Enum* format, Int k, Int c, Int h, Int w) {
  return entry("cudnnGetFilter4dDescriptor", [&](Call& call) {
    const Filter& filter = known(call.s.filters, desc, "filter descriptor");
    require(filter.set, kBAD_PARAM, "filter descriptor must be set");
    const Int extents[] = {k, c, h, w};
    put(type, filter.type);
    put(format, filter.format);
    for (int axis = 0; axis < 4; ++axis) put(extents[axis], filter.extents[axis]);
  });
}

Status cudnnSetConvolution2dDescriptor(ConvolutionDescriptor desc, int pad_h, int pad_w, int stride_h, int stride_w,
                                       int dilation_h, int dilation_w, Enum mode, Enum compute) {
  return entry("cudnnSetConvolution2dDescriptor", [&](Call& call) {
    Convolution& made = known(call.s.convolutions, desc, "convolution descriptor");
    require(pad_h >= 0 && pad_w >= 0, kBAD_PARAM, "padding must not be negative");
    require(stride_h > 0 && stride_w > 0, kBAD_PARAM, "stride must be positive");
    require(dilation_h > 0 && dilation_w > 0, kBAD_PARAM, "dilation must be positive");
    require(mode == kConvolve || mode == kCrossCorrelate, kBAD_PARAM, "mode must be 0 or 1, got " + shown(mode));
    require(compute == kFloat || compute == kDouble, kNOT_SUPPORTED_DATA_TYPE,
            "compute type must be float (0) or double (1) here, got " + shown(compute));
    made.pad[0] = pad_h, made.pad[1] = pad_w;
    made.stride[0] = stride_h, made.stride[1] = stride_w;
    made.dilation[0] = dilation_h, made.dilation[1] = dilation_w;
    made.mode = mode;
    made.compute = compute;
    made.set = true;
  });
}

Status cudnnGetConvolution2dDescriptor(ConvolutionDescriptor desc, Int pad_h, Int pad_w, Int stride_h, Int stride_w,
                                       Int dilation_h, Int dilation_w, Enum* mode, Enum* compute) {
  return entry("cudnnGetConvolution2dDescriptor", [&](Call& call) {
    const Convolution& made = known(call.s.convolutions, desc, "convolution descriptor");
    require(made.set, kBAD_PARAM, "convolution descriptor must be set");
    put(pad_h, made.pad[0]), put(pad_w, made.pad[1]);
    put(stride_h, made.stride[0]), put(stride_w, made.stride[1]);
    put(dilation_h, made.dilation[0]), put(dilation_w, made.dilation[1]);
    put(mode, made.mode), put(compute, made.compute);
  });
}

Status cudnnSetConvolutionGroupCount(ConvolutionDescriptor desc, int groups) {
  return entry("cudnnSetConvolutionGroupCount", [&](Call& call) {
    Convolution& made = known(call.s.convolutions, desc, "convolution descriptor");
    require(groups > 0, kBAD_PARAM, "groups must be positive, got " + shown(groups));
    made.groups = groups;
  });
}

Status cudnnGetConvolutionGroupCount(ConvolutionDescriptor desc, Int groups) {
  return entry("cudnnGetConvolutionGroupCount", [&](Call& call) {
    require_pointer(groups, "groups");
    *groups = known(call.s.convolutions, desc, "convolution descriptor").groups;
  });
}

Status cudnnSetConvolutionMathType(ConvolutionDescriptor desc, Enum math) {
  return entry("cudnnSetConvolutionMathType", [&](Call& call) {
    Convolution& made = known(call.s.convolutions, desc, "convolution descriptor");
    require(math >= kDefaultMath && math <= kFma, kBAD_PARAM, "math type must be 0 to 3, got " + shown(math));
    made.math = math;
  });
}

Status cudnnGetConvolutionMathType(ConvolutionDescriptor desc, Enum* math) {
  return entry("cudnnGetConvolutionMathType", [&](Call& call) {
    require_pointer(math, "math type");
    *math = known(call.s.convolutions, desc, "convolution descriptor").math;
  });
}

}  // extern "C"

}  // namespace simulator::cudnn
