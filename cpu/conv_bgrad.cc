// The bias gradient: grad [n, c, hw] summed over n and hw. Pieces of fixed size are summed in double by many threads,
// then the sums of pieces pairwise in a fixed order.
#include <cstring>
#include <vector>

#include "conv_args.h"
#include "conv_plan.h"
#include "team.h"

namespace fracstride {
namespace {

constexpr int64_t PIECE = 4096;
constexpr int64_t COLUMNS = 16;
// Most positions of an image, and channels of one task of the least that there are, for sums over images first.
constexpr int64_t FEW_POSITIONS = 64, TASK_CHANNELS = 16, LEAST_CHANNELS = 8 * TASK_CHANNELS;

// Sum of the `count` neighbours from `data` on.
double sum_line(const ConvEngine& engine, const void* data, int64_t count) {
  double sums[COLUMNS], rest[COLUMNS];
  const int64_t whole = count / COLUMNS;
  engine.sum_columns(data, whole, COLUMNS, COLUMNS, sums);
  engine.sum_columns(element(data, whole * COLUMNS, engine.storage_bytes), 1, 0, count % COLUMNS, rest);
  for (int64_t i = 0; i < count % COLUMNS; i++) sums[i] += rest[i];
  for (int64_t half = COLUMNS / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; i++) sums[i] += sums[i + half];
  return sums[0];
}

double sum_pairwise(const double* x, int64_t count, int64_t pitch) {
  if (count == 0) return 0;
  if (count == 1) return x[0];
  return sum_pairwise(x, count / 2, pitch) + sum_pairwise(x + count / 2 * pitch, count - count / 2, pitch);
}

// Lines of few positions in NCHW: some channels' lines are summed over all images as columns, then each line.
void sum_short_lines(const ConvEngine& engine, const void* grad, void* bias, int64_t n, int64_t c, int64_t hw) {
  parallel_for(divide_up(c, TASK_CHANNELS), [&](int64_t i) {
    const int64_t first = i * TASK_CHANNELS, channels = c - first < TASK_CHANNELS ? c - first : TASK_CHANNELS;
    double sums[TASK_CHANNELS * FEW_POSITIONS];
    engine.sum_columns(element(grad, first * hw, engine.storage_bytes), n, c * hw, channels * hw, sums);
    for (int64_t k = 0; k < channels; k++) {
      const double sum = sum_pairwise(sums + k * hw, hw, 1);
      engine.store_sums(&sum, 1, element(bias, first + k, engine.storage_bytes));
    }
  });
}

}  // namespace

void conv_bgrad(void** params, const ConvEngine& engine, ConvLayout layout) {
  const void* grad;
  void* bias;
  int32_t sizes[3];
  std::memcpy(&grad, params[0], sizeof grad);
  std::memcpy(&bias, params[1], sizeof bias);
  for (int i = 0; i < 3; i++) std::memcpy(&sizes[i], params[2 + i], sizeof(int32_t));
  const int64_t n = sizes[0], c = sizes[1], hw = sizes[2];
  if (layout == NCHW && n > 1 && hw > 0 && hw <= FEW_POSITIONS && c >= LEAST_CHANNELS) {
    return sum_short_lines(engine, grad, bias, n, c, hw);
  }
  const int64_t columns_piece = 256, plane_pieces = divide_up(hw, PIECE);
  const int64_t pieces = layout == NCHW ? n * plane_pieces : divide_up(n * hw, columns_piece);
  // [piece][channel]
  std::vector<double> sums(pieces * c);
  if (layout == NCHW) {
    parallel_ranges(pieces * c, divide_up(PIECE, hw == 0 ? 1 : hw), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) {
        const int64_t piece = i / c, first = piece % plane_pieces * PIECE;
        const int64_t at = (piece / plane_pieces * c + i % c) * hw + first;
        sums[i] = sum_line(engine, element(grad, at, engine.storage_bytes), hw - first < PIECE ? hw - first : PIECE);
      }
    });
  } else {
    parallel_for(pieces, [&](int64_t piece) {
      const int64_t first = piece * columns_piece, rest = n * hw - first;
      engine.sum_columns(element(grad, first * c, engine.storage_bytes), rest < columns_piece ? rest : columns_piece, c,
                         c, sums.data() + piece * c);
    });
  }
  parallel_ranges(c, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const double sum = sum_pairwise(sums.data() + i, pieces, c);
      engine.store_sums(&sum, 1, element(bias, i, engine.storage_bytes));
    }
  });
}

}  // namespace fracstride
