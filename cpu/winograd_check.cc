#include <algorithm>
#include <stdexcept>
#include <string>

#include "conv_plan.h"
#include "winograd.h"

namespace fracstride {
namespace {

struct CheckedAxis {
  int64_t kernel, stride, dilation, padding, small, large;
};

void check_axis(const WinogradEngine& engine, int64_t outputs, const CheckedAxis& axis) {
  const int64_t kernel = axis.kernel, stride = axis.stride, d = axis.dilation;
  const int64_t taps = divide_up(kernel, stride);
  const bool alike = stride == 1 && axis.padding % d == 0 && axis.small % d == 0 && axis.large % d == 0;
  need_of_winograd(d == 1 || kernel == 1 || alike, "a dilation that its padding and sizes are multiples of, or none");
  need_of_winograd(stride <= kernel, "no stride larger than the kernel");
  need_of_winograd(taps <= MAX_TAPS && engine.input[outputs - MIN_OUTPUTS][taps - 1][taps - 1] != nullptr,
                   "fewer taps a phase");
}

}  // namespace

void need_of_winograd(bool holds, const char* rule) {
  if (!holds)
    throw std::invalid_argument(std::string("a problem of a Winograd kernel must have ") + rule +
                                ", got one that has not");
}

void check_winograd_shape(const WinogradEngine& engine, const ConvShape& s, int64_t outputs) {
  check_axis(engine, outputs, {s.r, s.sh, s.dh, s.ph, s.hs, s.hl});
  check_axis(engine, outputs, {s.s, s.sw, s.dw, s.pw, s.ws, s.wl});
  need_of_winograd(std::min({s.n, s.cs, s.hs, s.ws, s.cl, s.hl, s.wl}) > 0, "no empty tensor");
}

}  // namespace fracstride
