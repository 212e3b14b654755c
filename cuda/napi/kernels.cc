// Kernels: loading, launching, waiting.

#include <cmath>

#include "../error.h"
#include "verbs.h"

namespace fracstride {

namespace {

LaunchShape read_shape(Call& call, const uint32_t* grid) {
  static const char* const names[] = {"grid x", "grid y", "grid z", "block x", "block y", "block z"};
  constexpr uint32_t most = 2147483647;
  LaunchShape shape;
  for (size_t i = 0; i < 6; ++i) {
    if (grid[i] < 1 || grid[i] > most) call.refuse(names[i], "an integer from 1 to 2147483647", show(grid[i]));
    (i < 3 ? shape.grid[i] : shape.block[i - 3]) = grid[i];
  }
  shape.shared_bytes = grid[6];
  if (grid[6] > most) call.refuse("shared bytes", "an integer from 0 to 2147483647", show(grid[6]));
  return shape;
}

}  // namespace

Napi::Value kernel_names(Call& call) {
  return js(call.env(), call.device(0).device.kernel_names());
}

Napi::Value load(Call& call) {
  const double number = call.number(0, "device");
  Place& at = place(number, call.where);
  const std::string name = call.text(1, "name", 512);
  const std::string kinds = call.text(2, "kinds", 8 * kMostParameters);
  std::vector<Parameter> parameters = read_kinds(kinds);
  const bool compiled_in = call.info[3].IsNull() || call.info[3].IsUndefined();
  const Image image = compiled_in ? Image{} : call.bytes(3, "image");
  const std::string key = show(number) + ' ' + kinds + ' ' + name;
  Environment& self = call.self;
  if (compiled_in) {
    const auto known = self.by_name.find(key);
    if (known != self.by_name.end()) return Napi::Number::New(call.env(), known->second);
  }
  self.kernels.push_back({number, &at, at.device.load(name, kinds, image), std::move(parameters)});
  const uint32_t handle = uint32_t(self.kernels.size());
  if (compiled_in) self.by_name[key] = handle;
  return Napi::Number::New(call.env(), handle);
}

Napi::Value launch(Call& call) {
  const double number = call.number(0, "device");
  Environment& self = call.self;
  const double handle = call.number(1, "kernel");
  const bool known = handle >= 1 && handle <= double(self.kernels.size()) && handle == std::floor(handle);
  if (!known || self.kernels[size_t(handle) - 1].device != number) {
    call.refuse("kernel", "a handle that load returned for this device", show(handle));
  }
  Loaded& loaded = self.kernels[size_t(handle) - 1];
  refuse_in_other_capture(call, loaded.place);
  const double* const slots = call.staged();
  Arguments arguments;
  read_arguments(*loaded.kernel, loaded.parameters, *loaded.place, self.owner, slots, kStaging, arguments);
  const LaunchShape shape = read_shape(call, reinterpret_cast<const uint32_t*>(slots + kStaging));
  loaded.place->device.launch(*loaded.kernel, shape, arguments.params);
  return call.env().Undefined();
}

Napi::Value sync(Call& call) {
  Place& at = call.device(0);
  refuse_in_capture(call, at, "waiting for the device");
  at.device.sync();
  return call.env().Undefined();
}

}  // namespace fracstride
