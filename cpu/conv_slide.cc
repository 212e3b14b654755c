// expand with few output channels: see conv_slide.h. A task takes a band of one image from top to bottom, some rows at
// a time. Rows of S are copied, with zeros around, into a ring as [row][channel][position], so that all channels of a
// row are one stream; what the next rows need is asked for while these are multiplied.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "conv_plan.h"
#include "conv_slide_plan.h"
#include "team.h"

namespace fracstride {
namespace {

constexpr int64_t TASKS_A_THREAD = 4, LEAST_BAND = 8;
// An output that no cache keeps is written past them.
constexpr int64_t STREAM_BYTES = 16 * 1024 * 1024;

std::atomic<int64_t> calls{0};

class SlideRun : SlidePlan {
 public:
  SlideRun(const ConvCall& call, const SlideEngine& engine, ConvLayout layout) : SlidePlan(call, engine, layout) {}

  // False where a weight is not finite; then nothing was written.
  bool run() {
    if (empty()) return true;
    if (!pack_weights()) return false;
    finish_ = {nullptr, call_.activation, call_.slope, s_.n * s_.cl * s_.hl * s_.wl * e_.storage_bytes >= STREAM_BYTES};
    serial_ = ++calls;
    make_tasks();
    const int64_t count = static_cast<int64_t>(tasks_.size());
    // The tasks of several threads do not follow each other.
    const int64_t following = team_threads() == 1 ? 1 : count;
    parallel_for(count,
                 [&](int64_t i) { run_task(tasks_[i], i + following < count ? &tasks_[i + following] : nullptr); });
    return true;
  }

 private:
  // Positions [u0, u1) of the row phases of an image.
  struct Task {
    int64_t n, group, u0, u1;
  };

  // What a task works with: the ring, whose last slot stands for rows that do not exist, where in it the rows of S from
  // `first_row` on are, and lines of sums; what is asked for next, and where that ends.
  struct Work {
    const Task& task;
    const Task* next;
    char* ring;
    char* lines;
    std::vector<const char*>& rows;
    std::vector<SlideTap>& taps;
    int64_t first_row = 0;
    const char* ahead = nullptr;
    const char* ahead_end = nullptr;
    // Rows [loaded, end) are not in the ring yet; vectors that were copied of them.
    int64_t loaded = 0, end = 0, copied = 0;
  };

  // Where the sums of a block lie, in elements: [member][channel][phase], or where a pixel's channels are neighbours
  // [member][phase][channel].
  struct Places {
    int64_t member, channel, phase;
  };

  void make_tasks() {
    const int64_t rows = last_ - first_, threads = team_threads();
    const int64_t wanted = divide_up(threads == 1 ? 1 : TASKS_A_THREAD * threads, s_.n * s_.groups);
    const int64_t bands = std::min(wanted, std::max<int64_t>(1, rows / LEAST_BAND));
    for (int64_t n = 0; n < s_.n; n++)
      for (int64_t group = 0; group < s_.groups; group++)
        for (int64_t i = 0; i < bands; i++) {
          tasks_.push_back({n, group, first_ + rows * i / bands, first_ + rows * (i + 1) / bands});
        }
  }

  void run_task(const Task& task, const Task* next) const {
    static thread_local std::vector<const char*> rows;
    static thread_local std::vector<SlideTap> taps;
    const int64_t lines = MAX_SLIDE_ROWS * MAX_SLIDE_PHASES * chunk_ * line_ * e_.accumulator_bytes;
    Work work = {task, next, ring(), static_cast<char*>(scratch(SCRATCH_ITEM_B, lines)), rows, taps};
    work.loaded = first_row(task);
    work.end = has_taps_ ? std::clamp<int64_t>(task.u1 + high_h_, work.loaded, s_.hs) : work.loaded;
    for (int64_t u = task.u0; u < task.u1; u += chunk_) {
      const int64_t last = std::min(u + chunk_, task.u1);
      for (; work.loaded < std::min(last + high_h_, work.end); work.loaded++) load_row(work, work.loaded);
      list_rows(work, u + low_h_);
      work.copied = 0;
      work.ahead = static_cast<const char*>(input(task, work.loaded));
      work.ahead_end =
          work.ahead + (std::min(work.loaded + chunk_, work.end) - work.loaded) * from_.h * e_.storage_bytes;
      for (const Block& block : blocks_) {
        const int64_t u0 = std::max(u, block.h->first), u1 = std::min(last, block.h->last);
        if (u0 < u1) compute(work, block, u0, u1);
      }
      if (copies_) work.loaded = std::min({work.loaded + work.copied / row_vectors(), work.loaded + chunk_, work.end});
    }
    if (finish_.stream) e_.fence();
  }

  int64_t first_row(const Task& task) const { return std::clamp<int64_t>(task.u0 + low_h_, 0, s_.hs); }
  int64_t slot_bytes() const { return (gap_ + ci_ * pitch_) * e_.accumulator_bytes; }

  // A thread's ring is made zero once a call: its tasks write the same elements of it.
  char* ring() const {
    static thread_local int64_t zeroed = 0;
    const int64_t bytes = (slots_ + 1) * slot_bytes();
    char* const ring = static_cast<char*>(scratch(SCRATCH_ITEM_A, bytes));
    if (zeroed != serial_) std::memset(ring, 0, bytes);
    zeroed = serial_;
    return ring;
  }

  bool exists(int64_t i) const { return i >= 0 && i < s_.hs; }

  char* row_of(const Work& work, int64_t i) const {
    return work.ring + (exists(i) ? i % slots_ : slots_) * slot_bytes() + gap_ * e_.accumulator_bytes;
  }

  const void* input(const Task& task, int64_t i) const {
    return element(call_.first, task.n * from_.n + task.group * ci_ * from_.c + i * from_.h, e_.storage_bytes);
  }

  void load_row(const Work& work, int64_t i) const {
    e_.load_row({input(work.task, i), from_.c, from_.w, ci_, columns_, row_of(work, i), pitch_});
  }

  void list_rows(Work& work, int64_t first) const {
    work.first_row = first;
    work.rows.clear();
    for (int64_t i = first; i < first + chunk_ + high_h_ - low_h_; i++) work.rows.push_back(row_of(work, i));
  }

  // Rows [u0, u1) of a block, tile by tile of vectors.
  void compute(Work& work, const Block& block, int64_t u0, int64_t u1) const {
    const int64_t rows = block.rows(), tile = tile_of(block), count = (u1 - u0) * vectors_, line = chunk_ * line_;
    const Places places = {block.channels * pattern_->phases * line, (planes_ ? pattern_->phases : 1) * line,
                           (planes_ ? 1 : block.channels) * line};
    int64_t row_at[MAX_SLIDE_ROWS], at[MAX_SLIDE_VECTORS];
    for (int64_t r = 0; r < rows; r++) {
      row_at[r] = r / block.channels * places.member + r % block.channels * places.channel;
    }
    const ChunkVector* vectors[MAX_SLIDE_VECTORS];
    for (int64_t v = 0; v < count; v += tile) {
      // Vectors behind the last one are the last one again.
      for (int64_t i = 0; i < tile; i++) {
        vectors[i] = &chunk_vectors_[std::min(v + i, count - 1)];
        at[i] = vectors[i]->at;
      }
      const int64_t taps = select_taps(work, block, u0, vectors, tile);
      pattern_->micro[rows - 1]({work.taps.data(), taps, ci_, pitch_, work.lines, row_at, at, places.phase});
    }
    if (call_.bias != nullptr || call_.activation != 0) finish(work, block, places, (u1 - u0) * line_);
    for (int64_t m = 0; m < block.members; m++)
      for (int64_t u = u0; u < u1; u++) store(work, block, m, u, places, m * places.member + (u - u0) * line_);
  }

  // The taps along h that some vector of a tile has inputs for; how many.
  int64_t select_taps(Work& work, const Block& block, int64_t u0, const ChunkVector* const* vectors,
                      int64_t tile) const {
    work.taps.resize(block.taps());
    int64_t count = 0;
    for (int64_t t = 0; t < block.taps(); t++) {
      const int64_t row = u0 + block.h->deltas[t];
      // Rows of a tile follow each other.
      if (row + vectors[tile - 1]->row < 0 || row + vectors[0]->row >= s_.hs) continue;
      const char* const* const rows = &work.rows[row - work.first_row];
      SlideTap& tap = work.taps[count++];
      for (int64_t i = 0; i < tile; i++) tap.from[i] = rows[vectors[i]->row] + vectors[i]->from;
      tap.weights = weight_of(block, work.task.group, t);
      set_ahead(work, tap);
    }
    return count;
  }

  int64_t row_vectors() const { return columns_ / e_.width; }

  // A line of each channel, or where channels are neighbours as many lines as there are channels.
  void set_ahead(Work& work, SlideTap& tap) const {
    tap.ahead = static_cast<const char*>(tap.weights);
    tap.ahead_step = 0;
    tap.copy_to = nullptr;
    if (copies_) return set_copy(work, tap);
    if (work.ahead >= work.ahead_end) return;
    tap.ahead = work.ahead;
    tap.ahead_step = planes_ ? from_.c * e_.storage_bytes : LINE_BYTES;
    work.ahead += planes_ ? LINE_BYTES : LINE_BYTES * ci_;
  }

  // A vector of the rows that follow is copied, and the same one of those behind them, or of the next task's first
  // ones, is asked for.
  void set_copy(Work& work, SlideTap& tap) const {
    const int64_t row = work.loaded + work.copied / row_vectors(), column = work.copied % row_vectors() * e_.width;
    if (row >= work.loaded + chunk_) return;
    work.copied++;
    tap.ahead_step = from_.c * e_.storage_bytes;
    const auto at = [&](const Task& task, int64_t i) {
      return static_cast<const char*>(element(input(task, i), column, e_.storage_bytes));
    };
    const int64_t behind = row + chunk_ - work.end;
    if (behind < 0) {
      tap.ahead = at(work.task, row + chunk_);
    } else if (work.next != nullptr) {
      tap.ahead = at(*work.next, std::min(first_row(*work.next) + behind, s_.hs - 1));
    } else {
      tap.ahead_step = row < work.end ? tap.ahead_step : 0;
    }
    if (row >= work.end) return;
    tap.copy_from = at(work.task, row);
    tap.copy_to = row_of(work, row) + column * e_.accumulator_bytes;
  }

  void finish(const Work& work, const Block& block, const Places& places, int64_t count) const {
    for (int64_t c = 0; c < block.channels; c++) {
      LineFinish what = finish_;
      what.bias = element(call_.bias, work.task.group * co_ + block.c0 + c, e_.storage_bytes);
      for (int64_t m = 0; m < block.members; m++)
        for (int64_t f = 0; f < pattern_->phases; f++) {
          const int64_t at = m * places.member + c * places.channel + f * places.phase;
          e_.finish(work.lines + at * e_.accumulator_bytes, count, what);
        }
    }
  }

  // Row u of a member, whose sums begin at `from`.
  void store(const Work& work, const Block& block, int64_t m, int64_t u, const Places& places, int64_t from) const {
    const Merged::Member& member = block.h->members[block.m0 + m];
    const int64_t q = u - member.shift;
    if (q < 0 || q >= member.phase->count) return;
    const int64_t to =
        work.task.n * to_.n + (work.task.group * co_ + block.c0) * to_.c + (member.phase->first + q * s_.sh) * to_.h;
    void* const spare = planes_ ? nullptr : scratch(SCRATCH_ITEM_C, block.channels * s_.wl * e_.accumulator_bytes);
    e_.store({work.lines + from * e_.accumulator_bytes, places.channel, places.phase, block.channels, pattern_->phases,
              s_.wl, element(call_.output, to, e_.storage_bytes), to_.c, to_.w, spare, finish_.stream});
  }

  LineFinish finish_ = {};
  int64_t serial_ = 0;
  std::vector<Task> tasks_;
};

}  // namespace

void slide_expand(void** params, const SlideEngine& engine, ConvLayout layout) {
  const ConvCall call = read_product_call(params);
  if (!SlideRun(call, engine, layout).run()) expand_product(call, *engine.exact, layout, LANES_PX);
}

}  // namespace fracstride
