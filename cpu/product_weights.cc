// The weights of a matrix product, in the order in which they are multiplied: of each phase, group and tile of output
// channels the blocks of K.
#include <algorithm>
#include <atomic>

#include "conv_args.h"
#include "product_plan.h"
#include "team.h"

namespace fracstride {
namespace {

// Channels of a weight that are packed by one item of work.
constexpr int64_t PART_CHANNELS = 64;

class WeightPacking {
 public:
  WeightPacking(const Product& product, const std::vector<Phase>& phases, char* packed)
      : p_(product), e_(product.engine), phases_(phases), packed_(packed) {}

  // True when every weight is finite.
  bool run() const {
    const std::vector<Place> places = place_taps();
    std::atomic<bool> finite{true};
    for (const Phase& phase : phases_) {
      const auto same = [&](const Phase& other) { return other.tiling.interleave == phase.tiling.interleave; };
      if (&*std::find_if(phases_.begin(), phases_.end(), same) == &phase && !pack_tiles(places, phase.tiling)) {
        finite = false;
      }
    }
    return finite;
  }

 private:
  // Where tap number `tap` of the kernel lies: in no phase when nothing is written by it.
  struct Place {
    const Phase* phase;
    int64_t row, column, tap;
  };

  std::vector<Place> place_taps() const {
    std::vector<Place> places(p_.kernel_area, Place{nullptr, 0, 0, 0});
    for (const Phase& phase : phases_)
      for (int64_t row = 0; row < phase.rows; row++)
        for (int64_t column = 0; column < phase.columns; column++) {
          int64_t t = 0;
          for (const AxisTap& h : phase.h[row].taps)
            for (const AxisTap& w : phase.w[column].taps) {
              places[h.k * p_.kernel_w + w.k] = {&phase, row, column, t++};
            }
        }
    return places;
  }

  // The weights of every phase of this tiling.
  bool pack_tiles(const std::vector<Place>& places, const Tiling& tiling) const {
    const int64_t parts = divide_up(p_.ci, PART_CHANNELS);
    std::atomic<bool> finite{true};
    parallel_for(p_.groups * tiling.tiles * parts, [&](int64_t i) {
      const int64_t part = i % parts, tile = i / parts % tiling.tiles, group = i / parts / tiling.tiles;
      const int64_t end = p_.ci * (part + 1) / parts;
      for (int64_t c = p_.ci * part / parts; c < end;) {
        const int64_t next = std::min(end, next_block(c));
        if (!pack_weight_part(places, tiling, group, tile, c, next - c)) finite = false;
        c = next;
      }
    });
    return finite;
  }

  // The first channel after c where a block of some phase begins.
  int64_t next_block(int64_t c) const {
    int64_t next = p_.ci;
    for (const Phase& phase : phases_) {
      next = std::min(next, (c / phase.depth.channel_block + 1) * phase.depth.channel_block);
    }
    return next;
  }

  // Channels [c, c + channels), which lie in one block of each phase, of one tile in each row and column.
  bool pack_weight_part(const std::vector<Place>& places, const Tiling& tiling, int64_t group, int64_t tile, int64_t c,
                        int64_t channels) const {
    std::vector<void*> to;
    for (const Place& place : places) {
      if (place.phase == nullptr || place.phase->tiling.interleave != tiling.interleave) {
        to.push_back(nullptr);
        continue;
      }
      const Phase& phase = *place.phase;
      const Depth& depth = phase.depth;
      const int64_t first = c / depth.channel_block * depth.channel_block;
      const int64_t block = std::min(depth.channel_block, p_.ci - first);
      const int64_t k = first * depth.taps + place.tap * block + c - first;
      const int64_t across = phase.columns / tiling.interleave;
      const int64_t member = place.row * across + place.column / tiling.interleave;
      const int64_t lane = k * p_.weight_pitch() + place.column % tiling.interleave;
      const int64_t at = p_.packed_begin(phase, group, member * tiling.tiles + tile) + lane;
      to.push_back(packed_ + at * e_.accumulator_bytes);
    }
    const int64_t co = p_.channel_begin(tiling, tile), lanes = p_.channel_begin(tiling, tile + 1) - co;
    const int64_t from = group * p_.ci * p_.co * p_.kernel_area + co * p_.weight_pitch_co + c * p_.weight_pitch_c;
    return e_.pack_weight({element(p_.weight, from, e_.storage_bytes), p_.weight_pitch_c, p_.weight_pitch_co, channels,
                           lanes, p_.weight_pitch(), p_.kernel_area, to.data(), tiling.interleave});
  }

  const Product& p_;
  const ConvEngine& e_;
  const std::vector<Phase>& phases_;
  char* const packed_;
};

}  // namespace

bool pack_product_weights(const Product& product, const ProductPlan& plan, char* packed) {
  return WeightPacking(product, plan.phases(), packed).run();
}

}  // namespace fracstride
