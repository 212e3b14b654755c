// oneDNN beside this package: reads the commands of pytorch.py from stdin, one JSON object a line, and answers on stdout.
// Transposed convolution as a deconvolution primitive, data in NCHW or in the layout it prefers (`preferred`), weights in
// its own layout, packed beforehand; forward, or backward data and backward weights with the bias.
#include <dnnl.hpp>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <unordered_map>
#include <vector>

using namespace dnnl;
using Tag = memory::format_tag;
using Dims = memory::dims;

namespace {

const engine& cpu() {
  static const engine one(engine::kind::cpu, 0);
  return one;
}

stream& queue() {
  static stream one(cpu());
  return one;
}

// The numbers behind "name":, in the flat JSON that the commands are.
Dims numbers(const std::string& line, const std::string& name) {
  Dims found;
  size_t at = line.find("\"" + name + "\":");
  if (at == std::string::npos) return found;
  at = line.find(':', at) + 1;
  const bool list = line[at] == '[';
  for (at += list; at < line.size() && (std::isdigit(line[at]) || line[at] == ','); at++) {
    if (line[at] == ',' && !list) break;
    if (line[at] == ',') continue;
    size_t used = 0;
    found.push_back(std::stoll(line.substr(at), &used));
    at += used - 1;
  }
  return found;
}

bool is_true(const std::string& line, const std::string& name) { return line.find("\"" + name + "\":true") != std::string::npos; }

memory plain(const Dims& dims, Tag tag) { return memory({dims, memory::data_type::f32, tag}, cpu()); }

// ((7919 i) mod 1009) / 1009 - 1/2
memory pattern(const Dims& dims, Tag tag) {
  memory made = plain(dims, tag);
  float* const data = static_cast<float*>(made.get_data_handle());
  for (size_t i = 0, count = made.get_desc().get_size() / sizeof(float); i < count; i++)
    data[i] = static_cast<float>((i * 7919) % 1009) / 1009 - 0.5f;
  return made;
}

memory in_layout(memory from, const memory::desc& desc) {
  if (from.get_desc() == desc) return from;
  memory to(desc, cpu());
  reorder(from, to).execute(queue(), from, to);
  queue().wait();
  return to;
}

double checksum(memory from, Tag tag) {
  const Dims dims = from.get_desc().dims();
  const memory to = in_layout(from, {dims, memory::data_type::f32, tag});
  const float* const data = static_cast<const float*>(to.get_data_handle());
  double sum = 0;
  for (size_t i = 0, count = to.get_desc().get_size() / sizeof(float); i < count; i++) sum += std::fabs(data[i]);
  return sum;
}

struct Step {
  primitive work;
  std::unordered_map<int, memory> operands;
};

struct Layer {
  std::vector<Step> steps;
  std::string kernels;

  void run() {
    for (Step& step : steps) step.work.execute(queue(), step.operands);
    queue().wait();
  }
};

// Weights come as [C, K / G, R, S]; oneDNN wants [K, C, R, S], with groups [G, K / G, C / G, R, S]: a matter of strides.
memory turned_weight(const Dims& w, int64_t groups) {
  memory given = pattern(w, Tag::abcd);
  const int64_t c = w[0], k = w[1], r = w[2], s = w[3];
  const Dims strides = {k * r * s, r * s, s, 1};
  const Dims dims = groups == 1 ? Dims{k, c, r, s} : Dims{groups, k, c / groups, r, s};
  const Dims turned = groups == 1 ? Dims{strides[1], strides[0], s, 1} : Dims{c / groups * strides[0], strides[1], strides[0], s, 1};
  memory view(memory::desc(dims, memory::data_type::f32, turned), cpu(), given.get_data_handle());
  memory own = plain(dims, groups == 1 ? Tag::abcd : Tag::abcde);
  reorder(view, own).execute(queue(), view, own);
  queue().wait();
  return own;
}

double prepare(Layer& layer, const std::string& line) {
  const Dims x = numbers(line, "x"), w = numbers(line, "weight"), y = numbers(line, "y");
  const Dims stride = numbers(line, "stride"), begin = numbers(line, "padding");
  const int64_t groups = numbers(line, "groups")[0];
  Dims dilation = numbers(line, "dilation"), end(2);
  for (int axis = 0; axis < 2; axis++) {
    const int64_t full = (x[2 + axis] - 1) * stride[axis] + dilation[axis] * (w[2 + axis] - 1) + 1;
    end[axis] = full - begin[axis] - y[2 + axis];
    dilation[axis]--;
  }
  const bool preferred = is_true(line, "preferred");
  const Tag tag = preferred ? Tag::any : Tag::nchw;
  const memory small = pattern(x, Tag::nchw), weight = turned_weight(w, groups);
  const Dims bias_dims = {y[1]};
  const auto f32 = memory::data_type::f32;
  const memory::desc xd(x, f32, tag), wd(weight.get_desc().dims(), f32, Tag::any), bd(bias_dims, f32, Tag::a), yd(y, f32, tag);
  const auto deconvolution = algorithm::deconvolution_direct;
  const bool backward = is_true(line, "backward");
  const deconvolution_forward::primitive_desc fwd(
      {backward ? prop_kind::forward_training : prop_kind::forward_inference, deconvolution, xd, wd, bd, yd, stride, dilation, begin, end},
      cpu());
  memory bias = plain(bias_dims, Tag::a), out(fwd.dst_desc(), cpu());
  std::fill_n(static_cast<float*>(bias.get_data_handle()), y[1], 0.0f);
  layer.steps.push_back({deconvolution_forward(fwd),
                         {{DNNL_ARG_SRC, in_layout(small, fwd.src_desc())},
                          {DNNL_ARG_WEIGHTS, in_layout(weight, fwd.weights_desc())},
                          {DNNL_ARG_BIAS, bias},
                          {DNNL_ARG_DST, out}}});
  layer.kernels = fwd.impl_info_str();
  if (!backward) {
    layer.run();
    return checksum(out, Tag::nchw);
  }
  const deconvolution_backward_data::primitive_desc data({deconvolution, xd, wd, yd, stride, dilation, begin, end}, cpu(), fwd);
  const deconvolution_backward_weights::primitive_desc both({deconvolution, xd, wd, bd, yd, stride, dilation, begin, end}, cpu(), fwd);
  const memory gradient = pattern(y, Tag::nchw);
  layer.steps.push_back({deconvolution_backward_data(data),
                         {{DNNL_ARG_DIFF_DST, in_layout(gradient, data.diff_dst_desc())},
                          {DNNL_ARG_WEIGHTS, in_layout(weight, data.weights_desc())},
                          {DNNL_ARG_DIFF_SRC, memory(data.diff_src_desc(), cpu())}}});
  memory diff(both.diff_weights_desc(), cpu());
  layer.steps.push_back({deconvolution_backward_weights(both),
                         {{DNNL_ARG_SRC, in_layout(small, both.src_desc())},
                          {DNNL_ARG_DIFF_DST, in_layout(gradient, both.diff_dst_desc())},
                          {DNNL_ARG_DIFF_WEIGHTS, diff},
                          {DNNL_ARG_DIFF_BIAS, memory(both.diff_bias_desc(), cpu())}}});
  layer.kernels += std::string(" ") + data.impl_info_str() + " " + both.impl_info_str();
  layer.run();
  return checksum(diff, groups == 1 ? Tag::abcd : Tag::abcde);
}

void answer(Layer& layer, const std::string& line) {
  if (line.find("\"versions\"") != std::string::npos) {
    const version_t* const v = version();
    printf("{\"version\":\"%d.%d.%d\"}\n", v->major, v->minor, v->patch);
  } else if (line.find("\"do\":\"layer\"") != std::string::npos) {
    layer = Layer();
    const double sum = prepare(layer, line);
    printf("{\"checksum\":%.17g,\"kernels\":\"%s\"}\n", sum, layer.kernels.c_str());
  } else {
    printf("{\"times\":[");
    for (int64_t i = 0, calls = numbers(line, "calls")[0]; i < calls; i++) {
      const auto start = std::chrono::steady_clock::now();
      layer.run();
      const std::chrono::duration<double, std::micro> passed = std::chrono::steady_clock::now() - start;
      printf("%s%.3f", i == 0 ? "" : ",", passed.count());
    }
    printf("]}\n");
  }
}

}  // namespace

int main() {
  Layer layer;
  for (std::string line; std::getline(std::cin, line);) {
    try {
      answer(layer, line);
    } catch (const std::exception& error) {
      printf("{\"error\":\"%s\"}\n", error.what());
    }
    fflush(stdout);
  }
}
