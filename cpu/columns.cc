#include "columns.h"

#include <algorithm>
#include <cstring>

#include "conv_plan.h"
#include "team.h"

namespace fracstride {
namespace {

// Most elements of the planes of a channel, which lie far apart when taps do.
constexpr int64_t MOST_PLANE = 1 << 15;

}  // namespace

Columns::Columns(const ConvShape& shape, const Pitches& large, const ColumnsEngine& engine, int64_t depth)
    : s_(shape), large_(large), e_(engine), cl_(shape.cl / shape.groups) {
  const int64_t width = std::max<int64_t>(s_.ws, 1);
  pieces_ = divide_up(width, depth);
  width_ = divide_up(width, pieces_);
  rows_ = std::min(std::max<int64_t>(1, s_.hs), std::max<int64_t>(1, depth / width_));
  in_image_ = divide_up(s_.hs, rows_);
  blocks_ = s_.n * in_image_ * pieces_;
  plane_h_ = (rows_ - 1) * s_.sh + (s_.r - 1) * s_.dh + 1;
  plane_w_ = width_ + (s_.s - 1) * s_.dw / s_.sw;
  for (int64_t k = 0; k < cl_; k++)
    for (int64_t r = 0; r < s_.r; r++)
      for (int64_t s = 0; s < s_.s; s++) {
        const int64_t row = (k * plane_h_ + r * s_.dh) * s_.sw + s * s_.dw % s_.sw;
        at_.push_back(row * plane_w_ + s * s_.dw / s_.sw);
      }
}

ColumnsBlock Columns::block(int64_t i) const {
  const int64_t piece = i % pieces_, row = i / pieces_ % in_image_;
  return {i / pieces_ / in_image_, row * rows_, std::min(s_.hs, (row + 1) * rows_), s_.ws * piece / pieces_,
          s_.ws * (piece + 1) / pieces_};
}

int64_t Columns::pitch() const {
  const int64_t pair = 2 * e_.width, padded = divide_up(rows_ * width_, pair) * pair;
  return padded + (padded / e_.width % 2 == 0 ? e_.width : pair);
}

bool Columns::fits() const {
  return plane_h_ <= MOST_PLANE / (plane_w_ * s_.sw);
}

void Columns::gather(const void* large, int64_t group, const ColumnsBlock& block, void* to, int64_t pitch) const {
  const int64_t elements = cl_ * plane_h_ * s_.sw * plane_w_;
  char* const planes = static_cast<char*>(scratch(SCRATCH_ITEM_C, (elements + e_.width) * e_.accumulator_bytes));
  std::memset(planes, 0, elements * e_.accumulator_bytes);
  copy_planes(large, group, block, planes);
  e_.gather({planes, at_.data(), count(), block.i1 - block.i0, block.width(), s_.sh * s_.sw * plane_w_, pitch}, to);
}

// What exists of the rows and columns of L that the block meets: column first + t, which is residue (t mod stride).
void Columns::copy_planes(const void* large, int64_t group, const ColumnsBlock& block, char* planes) const {
  const int64_t h0 = block.i0 * s_.sh - s_.ph, w0 = block.j0 * s_.sw - s_.pw;
  const int64_t h1 = std::min(s_.hl, h0 + (block.i1 - block.i0 - 1) * s_.sh + (s_.r - 1) * s_.dh + 1);
  const int64_t w1 = std::min(s_.wl, w0 + (block.width() - 1) * s_.sw + (s_.s - 1) * s_.dw + 1);
  for (int64_t k = 0; k < cl_; k++)
    for (int64_t h = std::max<int64_t>(0, h0); h < h1; h++)
      for (int64_t residue = 0; residue < s_.sw; residue++) {
        const int64_t skipped = w0 + residue < 0 ? divide_up(-(w0 + residue), s_.sw) : 0;
        const int64_t first = w0 + residue + skipped * s_.sw;
        if (first >= w1) continue;
        const int64_t from = block.n * large_.n + (group * cl_ + k) * large_.c + h * large_.h + first * large_.w;
        char* const to =
            planes + (((k * plane_h_ + h - h0) * s_.sw + residue) * plane_w_ + skipped) * e_.accumulator_bytes;
        // Vectors that reach behind a line end in zeros, and what belongs there is written later.
        e_.load_line({element(large, from, e_.storage_bytes), s_.sw * large_.w, divide_up(w1 - first, s_.sw)}, to);
      }
}

}  // namespace fracstride
