
#include "call.h"

#include <cmath>

#include "../device_cuda.h"
#include "../error.h"

namespace fracstride {

std::string Call::type_name(size_t i) const {
  static const char* const names[] = {"undefined", "null",      "a boolean",  "a number",          "a string",
                                      "a symbol",  "an object", "a function", "an external value", "a bigint"};
  return names[info[i].Type()];
}

void Call::refuse(const char* what, const char* rule, const std::string& got) const {
  throw Error("ERR_ARGUMENT", std::string(where) + ": " + what + " must be " + rule + ", got " + got);
}

double Call::number(size_t i, const char* what) const {
  double value = 0;
  if (napi_get_value_double(env(), info[i], &value) != napi_ok) refuse(what, "a number", type_name(i));
  return value;
}

double Call::integer(size_t i, const char* what, double low, double high) const {
  const double value = number(i, what);
  if (!(value >= low && value <= high) || value != std::floor(value)) {
    refuse(what, ("an integer from " + show(low) + " to " + show(high)).c_str(), show(value));
  }
  return value;
}

bool Call::boolean(size_t i, const char* what) const {
  if (!info[i].IsBoolean()) refuse(what, "true or false", type_name(i));
  return info[i].As<Napi::Boolean>().Value();
}

std::string Call::text(size_t i, const char* what, size_t longest) const {
  if (!info[i].IsString()) refuse(what, "a string", type_name(i));
  size_t length = 0;
  napi_get_value_string_utf8(env(), info[i], nullptr, 0, &length);
  if (length > longest) refuse(what, ("at most " + show(double(longest)) + " bytes").c_str(), show(double(length)));
  return info[i].As<Napi::String>().Utf8Value();
}

// By the C functions: node-addon-api's views want an ArrayBuffer behind them, and these may lie on a SharedArrayBuffer.
Image Call::bytes(size_t i, const char* what) const {
  Image image;
  void* data = nullptr;
  napi_status status = napi_ok;
  if (info[i].IsTypedArray()) {
    static const size_t sizes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 2};
    napi_typedarray_type type;
    size_t length = 0;
    status = napi_get_typedarray_info(env(), info[i], &type, &length, &data, nullptr, nullptr);
    if (status == napi_ok && size_t(type) >= sizeof sizes / sizeof *sizes)
      refuse(what, "a typed array of a known type", "another");
    if (status == napi_ok) image = {data, length * sizes[type]};
  } else if (info[i].IsDataView()) {
    status = napi_get_dataview_info(env(), info[i], &image.size, &data, nullptr, nullptr);
    image.data = data;
  } else {
    refuse(what, "a typed array or a DataView", type_name(i));
  }
  if (status != napi_ok) refuse(what, "usable", "none");
  if (image.data == nullptr) image.size = 0;
  return image;
}

const double* Call::staged() const {
  void* area = nullptr;
  size_t bytes = 0;
  napi_get_arraybuffer_info(env(), self.staging.Value(), &area, &bytes);
  if (bytes != kStagingBytes) refuse("the staging area", "as the addon made it", show_bytes(double(bytes)));
  return static_cast<const double*>(area);
}

Napi::Error with_code(Napi::Env env, const char* code, const std::string& sentence) {
  Napi::Error error = Napi::Error::New(env, sentence);
  error.Set("code", code);
  return error;
}

Napi::Array js(Napi::Env env, const std::vector<std::string>& values) {
  Napi::Array list = Napi::Array::New(env, values.size());
  for (size_t i = 0; i < values.size(); ++i) list.Set(uint32_t(i), values[i]);
  return list;
}

void refuse_in_capture(Call& call, Place& at, const char* what) {
  if (!at.device.capturing()) return;
  throw Error("ERR_ARGUMENT", std::string(call.where) + ": " + what +
                                  " must be done outside of cuda.graph, got it while a graph is recorded");
}

void refuse_in_other_capture(Call& call, const Place* at) {
  if (call.self.capturing == nullptr || call.self.capturing == at) return;
  call.refuse("kernels of a graph", "of the device that records it", "one of another");
}

void* copy_target(Call& call, Place& at, size_t bytes) {
  const double handle = call.number(1, "handle");
  const double offset = call.number(2, "byte offset");
  return at.pool.at(call.self.owner, handle, offset, double(bytes), call.where, -1);
}

}  // namespace fracstride
