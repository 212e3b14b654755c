// The convolution engine, as its drivers (cpu/conv_*.cc) and the generated files of one instruction set see each other:
// plain data and function pointers only. Sums run in the accumulator type T (float, or double for double).
//
// Every contraction is a matrix product of *rows* (broadcast operand A) and *lanes* (vector operand B),
// C[row][lane] = Σ_k A[k][row] · B[k][lane]; A is packed [k][a_pitch] or [row][k_pitch], B [k][lanes], C [rows][lanes].
#pragma once

#include <stdint.h>

namespace fracstride {

constexpr int MAX_TILE_ROWS = 16;
constexpr int MAX_TILE_LANES = 32;

enum ConvLayout : int { NCHW, NHWC };
enum ConvLanes : int { LANES_PX, LANES_CH };

// The bilinear form of codegen/problem.ts.
struct ConvShape {
  int64_t n, cs, hs, ws, cl, hl, wl, r, s, sh, sw, ph, pw, dh, dw, groups;
};

// `count` positions of one row (n, qh) from qw on, packed from index `at` on.
struct Run {
  int64_t at, count, n, qh, qw;
};

struct Runs {
  const Run* run;
  int64_t count;
};

// A tensor that is read: element (n, c, h, w) at data[n·pitch_n + c·pitch_c + h·pitch_h + w·pitch_w]. Position q of an
// axis with tap offset d is index q·step + d, and reads nothing when that is outside [0, h) or [0, w).
struct Source {
  const void* data;
  int64_t pitch_n, pitch_c, pitch_h, pitch_w, h, w, step_h, step_w;
};

struct Tap {
  int64_t dh, dw;
};

// What to pack: channels [c0, c0 + channels) of the positions of `runs` under one tap, to
// to[channel · pitch_channel + position · pitch_position]; one of the two pitches is 1, and along it `fill` elements
// are defined. What does not exist is 0; with `mask`, so is what does not exist in that tensor under that tap.
// With pitch_panel, positions are neighbours and follow each other in panels of `fill`, which lie so far apart; then of
// `taps` neighbouring taps of a row, which exist for the same positions, the next one is packed pitch_tap further on.
struct PackInput {
  Source source;
  Runs runs;
  Tap tap;
  int64_t c0, channels, positions, pitch_channel, pitch_position, fill;
  const Source* mask;
  Tap mask_tap;
  int64_t pitch_panel = 0;
  int64_t taps = 1, pitch_tap = 0;
};

// Packs a weight: element (c, lane, tap) from data[c · pitch_c + lane · pitch_lane + tap], where taps are neighbours,
// to to[tap][c · pitch + lane · lane_step]; taps whose `to` is null are left out. Lanes from `lanes` to pitch are 0,
// but with a lane_step above 1 they are left alone.
struct PackWeight {
  const void* data;
  int64_t pitch_c, pitch_lane, channels, lanes, pitch, taps;
  void* const* to;
  int64_t lane_step = 1;
};

// A tensor that is written: position q of the phase is (q · step); `data` has the phase's first position and the
// group's first channel. `bias` may be null.
struct Sink {
  void* data;
  const void* bias;
  int64_t pitch_n, pitch_c, pitch_h, pitch_w;
  int activation;
  double slope;
  // A channel has `interleave` rows of a tile, one for each of the columns pitch_column apart that follow a position.
  int64_t interleave = 1, pitch_column = 0;
  // Whether whole lines are written past the caches; stream_fence then ends a task.
  bool stream = false;
};

// Rows of C are c_pitch apart, in elements, and begin at multiples of a vector. `ahead` is what the caller reads next:
// `depth` lines of it are asked for while this product is summed.
using Micro = void (*)(int64_t depth, const void* a, const void* b, void* c, int64_t c_pitch, int64_t accumulate,
                       const void* ahead);

// B where it lies, in elements of T: row k at b + k · pitch, of which lanes [first, last) exist and the rest counts as
// 0. Always adds to C; A by k.
using DirectMicro = void (*)(int64_t depth, const void* a, const void* b, int64_t pitch, int64_t first, int64_t last,
                             void* c);

// What is done with sums that are stored by lines. `stream`: past the caches.
struct LineFinish {
  const void* bias;
  int activation;
  double slope;
  bool stream;
};

// The generated part for one instruction set and element type.
struct ConvEngine {
  int storage_bytes, accumulator_bytes;
  // The register tile: rows × lanes, lanes a multiple of half_lanes; packed pitches of A.
  int rows, lanes, half_lanes, a_pitch, k_pitch;
  // [A by k | A by rows][half | all lanes][rows − 1]
  Micro micro[2][2][MAX_TILE_ROWS];
  // [half | all lanes][rows − 1], and whether loads of some lanes are as fast as of all.
  DirectMicro direct[2][MAX_TILE_ROWS];
  bool masked_loads;
  void (*pack_input)(const PackInput& what, void* to);
  // Whether all of it is finite.
  bool (*pack_weight)(const PackWeight& what);
  bool (*all_finite)(const void* packed, int64_t count);
  // C tile, activated, to channels [c0, c0 + channels) of the positions of `runs`: channels are the rows or the lanes.
  void (*store_channel_rows)(const void* tile, const Runs& runs, int64_t c0, int64_t channels, const Sink& sink);
  void (*store_channel_lanes)(const void* tile, const Runs& runs, int64_t c0, int64_t channels, const Sink& sink);
  // Rows of lanes `pitch_row` apart, one for each of the run's neighbouring positions, activated, to channels
  // [c0, c0 + channels); with a sink whose positions of a run are pitch_w apart.
  void (*store_plane)(const void* rows, int64_t pitch_row, const Run& run, int64_t c0, int64_t channels,
                      const Sink& sink);
  // Sums of `count` vectors of `width` neighbouring elements, `pitch` apart: to[width], in double.
  void (*sum_columns)(const void* data, int64_t count, int64_t pitch, int64_t width, double* to);
  void (*store_sums)(const double* sums, int64_t count, void* to);
  // After stores past the caches: what this thread does next comes after them for other threads too.
  void (*stream_fence)();
  // to[i] += from[i] for i < count, both T.
  void (*add)(const void* from, int64_t count, void* to);
};

// Kernel entries: params as codegen/passes.ts lists the `general` arguments of each contraction.
void conv_expand(void** params, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes);
void conv_contract(void** params, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes);
void conv_tapwise_expand(void** params, const ConvEngine& engine, ConvLayout layout);
void conv_tapwise_contract(void** params, const ConvEngine& engine, ConvLayout layout);
void conv_gemm_expand(void** params, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes);
void conv_gemm_contract(void** params, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes);
void conv_bgrad(void** params, const ConvEngine& engine, ConvLayout layout);

}  // namespace fracstride
