// What `direct` works out of a problem before it computes (cpu/conv_direct.cc): tiles of rows, the blocks of channels
// whose outputs are stored together, and the weights in the order in which they are read.
#pragma once

#include <cstdint>
#include <vector>

#include "conv_direct.h"
#include "conv_direct_merge.h"
#include "conv_form.h"

namespace fracstride {

class DirectPlan {
 protected:
  // A register tile of rows: its weights begin at `packed`, its rows belong at `at[row]` of the tile of outputs.
  struct RowTile {
    int64_t packed, rows, at[MAX_PIXEL_ROWS];
  };

  // One product: merged phases of columns under merged phases of rows. Rows are (co, phase of h, phase of w).
  struct Part {
    const Merged* w;
    int64_t taps;
    std::vector<RowTile> tiles;
  };

  // Channels [first, first + count) of every phase of a block, whose outputs are stored together.
  struct Channels {
    int64_t first, count;
    std::vector<Part> parts;
  };

  struct Block {
    const Merged* h;
    int log_vectors;
    // Register tiles of positions whose outputs are stored together, and the pitch of their rows.
    int64_t tiles, pitch;
    std::vector<Channels> channels;
  };

  DirectPlan(const ConvForm& form, const PixelEngine& engine);

  bool empty() const { return p_.n == 0 || p_.co == 0 || positions_w_ == 0; }
  int64_t phases_w() const { return static_cast<int64_t>(p_.w.phases.size()); }
  int64_t lanes(const Block& block) const { return static_cast<int64_t>(e_.width) << block.log_vectors; }
  // Rows of a channel in the tile of outputs.
  int64_t rows_each(const Block& block) const { return block.h->size() * phases_w(); }
  char* packed_at(const Part& part, const RowTile& tile, int64_t group) const;
  // Weights in the order in which they are read: of each tile of rows and group, [tap][ci][row].
  bool pack_weights() const;

  const ConvForm& p_;
  const PixelEngine& e_;
  int64_t positions_w_ = 0, pitch_ = 0, packed_elements_ = 0;
  bool in_place_ = false, stream_ = false;
  char* packed_ = nullptr;
  std::vector<Merged> merged_h_, merged_w_;
  std::vector<Block> blocks_;

 private:
  void make_blocks();
  int64_t channels_at_once(const Merged& h, int64_t row_bytes) const;
  // The widest tile with the fewest loads: an input vector costs about four products, a weight one for each row.
  int vectors_for(const Merged& h) const;
  Channels make_channels(const Block& block, int64_t first, int64_t count);
  void pack_part(const Block& block, const Channels& channels, const Part& part, int64_t group) const;
};

}  // namespace fracstride
