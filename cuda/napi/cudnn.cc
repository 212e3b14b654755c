// Plans of the library.

#include <cmath>
#include <cstring>

#include "../error.h"
#include "verbs.h"

namespace fracstride {

namespace {

CudnnProblem read_problem(Call& call) {
  CudnnProblem problem;
  problem.form = CudnnProblem::Form(call.integer(1, "form", 0, 3));
  int32_t* const sizes[] = {&problem.n,  &problem.cs, &problem.hs, &problem.ws,    &problem.cl, &problem.hl,
                            &problem.wl, &problem.r,  &problem.s,  &problem.sh,    &problem.sw, &problem.ph,
                            &problem.pw, &problem.dh, &problem.dw, &problem.groups};
  const bool whole =
      call.info[2].IsTypedArray() && call.info[2].As<Napi::TypedArray>().TypedArrayType() == napi_int32_array;
  const Image given = whole ? call.bytes(2, "problem") : Image{};
  if (given.size != sizeof(int32_t) * (sizeof sizes / sizeof *sizes)) {
    call.refuse("problem", "an Int32Array of 16 sizes", whole ? show_bytes(double(given.size)) : call.type_name(2));
  }
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    std::memcpy(sizes[i], static_cast<const int32_t*>(given.data) + i, sizeof(int32_t));
  }
  problem.dtype = CudnnProblem::Dtype(call.integer(3, "dtype", 0, 3));
  problem.nhwc = call.integer(4, "layout", 0, 1) == 1;
  problem.flags = uint32_t(call.integer(5, "flags", 0, 7));
  return problem;
}

Planned& planned(Call& call) {
  const double number = call.number(0, "device");
  const double handle = call.number(1, "plan");
  auto& plans = call.self.plans;
  const bool possible = handle >= 1 && handle <= kSafe && handle == std::floor(handle);
  const auto found = possible ? plans.find(uint64_t(handle)) : plans.end();
  if (found == plans.end() || found->second.device != number) {
    call.refuse("plan", "a handle that cudnnPlan returned for this device", show(handle));
  }
  return found->second;
}

// The operands of a plan, then its workspace.
CudnnOperands read_operands(Call& call, const Planned& planned) {
  const double* const slots = call.staged();
  const auto read = [&](size_t i, void*& pointer, uint64_t& bytes) {
    const double* const slot = slots + 3 * i;
    if (slot[0] == 0) return;
    pointer = planned.place->pool.at(call.self.owner, slot[0], slot[1], slot[2], call.where, int(i));
    bytes = uint64_t(slot[2]);
  };
  CudnnOperands operands;
  const size_t count = planned.plan->operands();
  for (size_t i = 0; i < count; ++i) read(i, operands.pointers[i], operands.bytes[i]);
  read(count, operands.workspace, operands.workspace_bytes);
  return operands;
}

Napi::Value js(Napi::Env env, const std::vector<CudnnAlgorithm>& algorithms) {
  Napi::Array list = Napi::Array::New(env, algorithms.size());
  for (size_t i = 0; i < algorithms.size(); ++i) {
    const CudnnAlgorithm& algorithm = algorithms[i];
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("algo", double(algorithm.algo));
    entry.Set("status", double(algorithm.status));
    entry.Set("time", double(algorithm.time));
    entry.Set("memory", double(algorithm.memory));
    entry.Set("deterministic", algorithm.deterministic);
    entry.Set("mathType", double(algorithm.math_type));
    list.Set(uint32_t(i), entry);
  }
  return list;
}

}  // namespace

Napi::Value cudnn_plan(Call& call) {
  Place& at = call.device(0);
  Environment& self = call.self;
  std::unique_ptr<CudnnPlan> plan = make_cudnn_plan(at.device, read_problem(call));
  self.plans[++self.last_plan] = {call.number(0, "device"), &at, std::move(plan)};
  return Napi::Number::New(call.env(), double(self.last_plan));
}

Napi::Value cudnn_algorithms(Call& call) {
  return js(call.env(), planned(call).plan->algorithms());
}

Napi::Value cudnn_find(Call& call) {
  Planned& found = planned(call);
  refuse_in_capture(call, *found.place, "measuring algorithms");
  return js(call.env(), found.plan->find(read_operands(call, found)));
}

Napi::Value cudnn_choose(Call& call) {
  CudnnPlan& plan = *planned(call).plan;
  const int algo = int(call.integer(2, "algorithm", 0, 255));
  const int math_type = int(call.integer(3, "math type", 0, 3));
  return Napi::Number::New(call.env(), double(plan.choose(algo, math_type, call.text(4, "name", 512))));
}

Napi::Value cudnn_run(Call& call) {
  Planned& found = planned(call);
  refuse_in_other_capture(call, found.place);
  found.plan->run(read_operands(call, found));
  return call.env().Undefined();
}

Napi::Value cudnn_free(Call& call) {
  const double handle = call.number(0, "plan");
  if (handle >= 1 && handle <= kSafe) call.self.plans.erase(uint64_t(handle));
  return call.env().Undefined();
}

}  // namespace fracstride
