#include "patches.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "conv_plan.h"
#include "team.h"

namespace fracstride {
namespace {

// Channels up to which a patch is one slab; else slabs are the rows of taps where channels are neighbours, and one
// channel each where positions are.
constexpr int64_t FEW_CHANNELS = 5;
// Most bytes of the rows of a slab, a part of a second-level cache.
constexpr int64_t MOST_BYTES = 512 * 1024;
// Bytes of the rows that are asked for before they are copied.
constexpr int64_t AHEAD_BYTES = 4096;

}  // namespace

Patches::Patches(const ConvShape& shape, const Pitches& large, const PatchEngine& engine, int64_t depth)
    : s_(shape), large_(large), e_(engine), cl_(shape.cl / shape.groups) {
  const bool few = cl_ <= FEW_CHANNELS, pixels = large_.c == 1;
  slabs_ = few ? 1 : pixels ? s_.r : cl_;
  taps_ = !few && pixels ? 1 : s_.r;
  channels_ = few || pixels ? cl_ : 1;
  piece_ = (s_.dw == 1 ? s_.s : 1) * channels_;
  do cut(depth);
  while (!fits() && (depth /= 2) > 0);
}

void Patches::cut(int64_t depth) {
  const int64_t width = std::max<int64_t>(s_.ws, 1), vector = e_.lines.width;
  pieces_ = divide_up(width, depth);
  width_ = divide_up(width, pieces_);
  rows_ = std::min(std::max<int64_t>(1, s_.hs), std::max<int64_t>(1, depth / width_));
  in_image_ = divide_up(s_.hs, rows_);
  blocks_ = s_.n * in_image_ * pieces_;
  pixels_ = (width_ - 1) * s_.sw + (s_.s - 1) * s_.dw + 1;
  staged_rows_ = row_of(rows_ - 1, taps_ - 1) + 1;
  // Copies of pieces may reach a vector behind a row, and so may those of lines.
  row_pitch_ = (divide_up(pixels_ * channels_, vector) + 1) * vector;
  line_pitch_ = (divide_up(pixels_, vector) + 1) * vector;
}

bool Patches::fits() const {
  return staged_rows_ <= MOST_BYTES / e_.lines.accumulator_bytes / row_pitch_;
}

Slab Patches::slab(int64_t i) const {
  if (slabs_ == 1) return {0, taps_, 0, channels_};
  return large_.c == 1 ? Slab{i, 1, 0, channels_} : Slab{0, taps_, i, 1};
}

ColumnsBlock Patches::block(int64_t i) const {
  const int64_t piece = i % pieces_, row = i / pieces_ % in_image_;
  return {i / pieces_ / in_image_, row * rows_, std::min(s_.hs, (row + 1) * rows_), s_.ws * piece / pieces_,
          s_.ws * (piece + 1) / pieces_};
}

const char* Patches::stage(const void* large, int64_t group, const ColumnsBlock& block, const Slab& slab) const {
  const int64_t bytes = e_.lines.accumulator_bytes, rows = row_of(block.rows() - 1, taps_ - 1) + 1;
  char* const staged =
      static_cast<char*>(scratch(SCRATCH_ITEM_C, (staged_rows_ * row_pitch_ + channels_ * line_pitch_) * bytes));
  const int64_t h0 = block.i0 * s_.sh + slab.r0 * s_.dh - s_.ph, apart = s_.sh / rows_apart();
  const int64_t first = block.n * large_.n + (group * cl_ + slab.k0) * large_.c;
  const int64_t row_bytes = s_.wl * large_.w * e_.lines.storage_bytes;
  const int64_t ahead = divide_up(AHEAD_BYTES, std::max<int64_t>(1, row_bytes));
  const auto row = [&](int64_t y) {
    return static_cast<const char*>(element(large, first + (h0 + y * apart) * large_.h, e_.lines.storage_bytes));
  };
  const auto exists = [&](int64_t y) { return h0 + y * apart >= 0 && h0 + y * apart < s_.hl; };
  // Rows behind the last one belong to the next block.
  const int64_t lines = large_.c == 1 ? 1 : slab.channels;
  for (int64_t y = 0; y < rows; y++) {
    for (int64_t k = 0; exists(y + ahead) && k < lines; k++) {
      ask_for(row(y + ahead) + k * large_.c * e_.lines.storage_bytes, row_bytes);
    }
    char* const to = staged + y * row_pitch_ * bytes;
    if (exists(y)) {
      stage_row(row(y), block, slab.channels, to, staged + staged_rows_ * row_pitch_ * bytes);
    } else {
      std::memset(to, 0, row_pitch_ * bytes);
    }
  }
  return staged;
}

// What exists of a row, and zeros around.
void Patches::stage_row(const char* from, const ColumnsBlock& block, int64_t channels, char* to, char* lines) const {
  const int64_t w0 = block.j0 * s_.sw - s_.pw, bytes = e_.lines.accumulator_bytes;
  const int64_t begin = std::min(pixels_, std::max<int64_t>(0, -w0));
  const int64_t count = std::max<int64_t>(0, std::min(pixels_, s_.wl - w0) - begin);
  const char* const pixels = static_cast<const char*>(element(from, (w0 + begin) * large_.w, e_.lines.storage_bytes));
  char* const first = to + begin * channels * bytes;
  if (begin > 0) std::memset(to, 0, begin * channels * bytes);
  if (channels == 1 || large_.w == channels) {
    e_.lines.load_line({pixels, channels == 1 ? large_.w : 1, count * channels}, first);
  } else {
    for (int64_t k = 0; k < channels; k++) {
      const StridedLine line = {pixels + k * large_.c * e_.lines.storage_bytes, large_.w, count};
      e_.lines.load_line(line, lines + k * line_pitch_ * bytes);
    }
    e_.interleave({lines, line_pitch_, channels, count}, first);
  }
  const int64_t end = (begin + count) * channels;
  std::memset(to + end * bytes, 0, (row_pitch_ - end) * bytes);
}

// Of an element of a slab, from the first one of its patch on.
int64_t Patches::offset(int64_t element) const {
  const int64_t piece = element / piece_, across = s_.s * channels_ / piece_;
  return row_of(0, piece / across) * row_pitch_ + piece % across * s_.dw * channels_ + element % piece_;
}

const char* Patches::at(const char* staged, int64_t i, int64_t first) const {
  return staged + (row_of(i, 0) * row_pitch_ + offset(first)) * e_.lines.accumulator_bytes;
}

int64_t Patches::apart(int64_t first, int64_t count) const {
  const int64_t vector = e_.lines.width, apart = offset(first + std::min(vector, count - 1)) - offset(first);
  for (int64_t q = first; q < first + count; q += vector) {
    if (q / piece_ != (std::min(q + vector, first + count) - 1) / piece_) return 0;
    if (q > first && offset(q) - offset(q - vector) != apart) return 0;
  }
  return std::max<int64_t>(apart, 1);
}

void Patches::copy(const char* staged, const ColumnsBlock& block, int64_t first, int64_t count, int64_t lanes,
                   char* to) const {
  static thread_local std::vector<PatchPart> parts;
  const int64_t bytes = e_.lines.accumulator_bytes, vector = e_.lines.width;
  for (int64_t lane = 0; lane < count; lane += vector) {
    parts.clear();
    const int64_t end = std::min(lane + vector, count);
    for (int64_t l = lane, last = 0; l < end; l = last) {
      last = std::min(end, l + piece_ - (first + l) % piece_);
      parts.push_back({at(staged, 0, first + l) - (l - lane) * bytes, l - lane, last - lane});
    }
    e_.copy_vector({parts.data(), static_cast<int64_t>(parts.size()), block.rows(), block.width(),
                    rows_apart() * row_pitch_, step(), lanes},
                   to + lane * bytes);
  }
}

}  // namespace fracstride
