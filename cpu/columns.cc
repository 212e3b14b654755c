#include "columns.h"

#include <algorithm>
#include <cstring>

#include "conv_plan.h"
#include "team.h"

namespace fracstride {
namespace {

// Most bytes of planes, a part of a second-level cache, and positions that blocks have if only one channel's are.
constexpr int64_t MOST_BYTES = 512 * 1024, LEAST_POSITIONS = 64;
// Bytes of the rows that are asked for before they are copied.
constexpr int64_t AHEAD_BYTES = 4096;

}  // namespace

Columns::Columns(const ConvShape& shape, const Pitches& large, const ColumnsEngine& engine, int64_t depth,
                 int64_t together)
    : s_(shape), large_(large), e_(engine), cl_(shape.cl / shape.groups) {
  cut(depth);
  while ((!fits() || together * channel_bytes() > MOST_BYTES) && depth > LEAST_POSITIONS) cut(depth /= 2);
  while (!fits() && depth > 1) cut(depth /= 2);
  if (!fits()) return;
  for (int64_t k = 0; k < cl_; k++)
    for (int64_t r = 0; r < s_.r; r++)
      for (int64_t s = 0; s < s_.s; s++) {
        const int64_t h = r * s_.dh, w = s * s_.dw, plane = h % s_.sh * s_.sw + w % s_.sw;
        at_.push_back(k * pitch_k_ + plane * pitch_plane_ + h / s_.sh * plane_w_ + w / s_.sw);
      }
}

void Columns::cut(int64_t depth) {
  const int64_t width = std::max<int64_t>(s_.ws, 1);
  pieces_ = divide_up(width, depth);
  width_ = divide_up(width, pieces_);
  rows_ = std::min(std::max<int64_t>(1, s_.hs), std::max<int64_t>(1, depth / width_));
  in_image_ = divide_up(s_.hs, rows_);
  blocks_ = s_.n * in_image_ * pieces_;
  plane_h_ = rows_ + (s_.r - 1) * s_.dh / s_.sh;
  plane_w_ = width_ + (s_.s - 1) * s_.dw / s_.sw;
  // A vector may reach behind the last row, and channels should not share the sets of a cache.
  pitch_plane_ = divide_up(plane_h_ * plane_w_, e_.width) * e_.width + e_.width;
  const int64_t vectors = s_.sh * s_.sw * pitch_plane_ / e_.width;
  pitch_k_ = (vectors + 1 - vectors % 2) * e_.width;
}

ColumnsBlock Columns::block(int64_t i) const {
  const int64_t piece = i % pieces_, row = i / pieces_ % in_image_;
  return {i / pieces_ / in_image_, row * rows_, std::min(s_.hs, (row + 1) * rows_), s_.ws * piece / pieces_,
          s_.ws * (piece + 1) / pieces_};
}

bool Columns::fits() const {
  return plane_h_ <= MOST_BYTES / e_.accumulator_bytes / plane_w_ && channel_bytes() <= MOST_BYTES;
}

const char* Columns::stage(const void* large, int64_t group, const ColumnsBlock& block, int64_t k0,
                           int64_t channels) const {
  static thread_local std::vector<Residue> residues;
  const int64_t bytes = (channels * pitch_k_ + 2 * e_.width) * e_.accumulator_bytes;
  char* const planes = static_cast<char*>(scratch(SCRATCH_ITEM_C, bytes));
  std::memset(planes, 0, bytes);
  const int64_t h0 = block.i0 * s_.sh - s_.ph, begin = std::max<int64_t>(0, h0);
  const int64_t end = std::min(s_.hl, h0 + (block.rows() - 1) * s_.sh + (s_.r - 1) * s_.dh + 1);
  if (begin >= end) return planes;
  // Channels that are neighbours are turned together; else the rows of one follow each other.
  const int64_t together = large_.c == 1 ? std::max<int64_t>(1, channels) : 1;
  const int64_t row_bytes = s_.wl * (large_.c == 1 ? large_.w : 1) * e_.storage_bytes;
  const auto row = [&](int64_t k, int64_t h) {
    const int64_t from = block.n * large_.n + (group * cl_ + k0 + k) * large_.c + h * large_.h;
    return static_cast<const char*>(element(large, from, e_.storage_bytes));
  };
  int64_t next_k = 0, next_h = begin;
  const auto ask = [&] {
    if (next_k >= channels) return;
    ask_for(row(next_k, next_h), row_bytes);
    if (++next_h < end) return;
    next_h = begin;
    next_k += together;
  };
  for (int64_t i = divide_up(AHEAD_BYTES, std::max<int64_t>(1, row_bytes)); i > 0; i--) ask();
  list_residues(block, residues);
  for (int64_t k = 0; k < channels; k += together)
    for (int64_t h = begin; h < end; h++) {
      ask();
      const int64_t y = (h - h0) / s_.sh, to = k * pitch_k_ + (h - h0) % s_.sh * s_.sw * pitch_plane_ + y * plane_w_;
      stage_row(row(k, h), residues, together, planes + to * e_.accumulator_bytes);
    }
  return planes;
}

// What exists of the rows that the block meets: column first + t is residue (t mod stride).
void Columns::list_residues(const ColumnsBlock& block, std::vector<Residue>& residues) const {
  const int64_t w0 = block.j0 * s_.sw - s_.pw;
  const int64_t w1 = std::min(s_.wl, w0 + (block.width() - 1) * s_.sw + (s_.s - 1) * s_.dw + 1);
  residues.clear();
  for (int64_t residue = 0; residue < s_.sw; residue++) {
    const int64_t skipped = w0 + residue < 0 ? divide_up(-(w0 + residue), s_.sw) : 0;
    const int64_t first = w0 + residue + skipped * s_.sw;
    if (first >= w1) continue;
    residues.push_back({first * large_.w, divide_up(w1 - first, s_.sw), residue * pitch_plane_ + skipped});
  }
}

void Columns::stage_row(const char* from, const std::vector<Residue>& residues, int64_t channels, char* to) const {
  for (const Residue& residue : residues) {
    const char* const line = from + residue.from * e_.storage_bytes;
    char* const plane = to + residue.to * e_.accumulator_bytes;
    if (channels > 1) {
      e_.turn_lines({line, s_.sw * large_.w, residue.count, channels, pitch_k_}, plane);
    } else {
      // Vectors that reach behind a row end in zeros, and what belongs there is written later.
      e_.load_line({line, s_.sw * large_.w, residue.count}, plane);
    }
  }
}

}  // namespace fracstride
