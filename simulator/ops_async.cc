// cp.async, its groups, ldmatrix and stmatrix. A copy is remembered and done when a thread waits for its group, not
// before, so that reading too early shows.
#include <algorithm>
#include <cstring>

#include "access.h"
#include "count.h"

namespace simulator {

namespace {

constexpr uint8_t kIgnorePredicate = 2;  // bits of Op::small beside kNarrow
constexpr uint8_t kHasSize = 4;

// op.a, op.value: the target in shared memory. op.b + op.more: the source, 64 bits, offset in Code::more. op.c: the
// bytes to copy, or the predicate that says to copy none. op.target: bytes.
void copy(Warp& w, const Op& op) {
  Places to, from;
  const unsigned bytes = op.target;
  Block& block = *w.block;
  if (!reach(w, op, Space::kShared, bytes, true, to)) return;
  const uint32_t ignored = (op.small & kIgnorePredicate) != 0 ? predicate(w, op.c) : 0;
  const uint32_t* sizes = (op.small & kHasSize) != 0 ? cells<uint32_t>(w, op.c) : nullptr;
  uint32_t reads = 0;  // lanes that read anything
  lanes(w.mask, [&](int i) {
    if ((ignored >> i & 1) == 0 && (sizes == nullptr || sizes[i] != 0)) reads |= 1u << i;
  });
  // The rest is the source's address, for those lanes that read.
  Op source = op;
  source.a = op.b;
  source.value = static_cast<int32_t>(w.code->more[op.more]);
  source.small = static_cast<uint8_t>(w.code->more[op.more + 1]);
  const uint32_t all = w.mask;
  w.mask = reads;
  // Checked with the whole size where the whole is read, else byte by byte.
  uint32_t whole = 0;
  lanes(reads, [&](int i) {
    if (sizes == nullptr || sizes[i] >= bytes) whole |= 1u << i;
    if (sizes != nullptr && sizes[i] > bytes)
      fail(w, op, kLaunchFailed, i, "copies " + std::to_string(sizes[i]) + " bytes into " + std::to_string(bytes));
  });
  bool good = block.result == kOk;
  w.mask = whole;
  if (good && whole != 0) good = reach(w, source, Space::kGlobal, bytes, false, from, &op);
  w.mask = reads & ~whole;
  if (good && w.mask != 0) {
    Places rest;
    lanes(reads & ~whole, [&](int i) {
      // A part is read from an address aligned to the whole.
      const uint64_t address = cells<uint64_t>(w, source.a)[i] + static_cast<uint64_t>(source.value);
      if (good && address % bytes != 0) {
        fail(w, op, kMisalignedAddress, i,
             "copies from an address which is not a multiple of " + std::to_string(bytes));
        good = false;
      }
      Op last = source;
      last.value += sizes[i] - 1;
      w.mask = 1u << i;
      good = good && reach(w, last, Space::kGlobal, 1, false, rest, &op);
      good = good && reach(w, source, Space::kGlobal, 1, false, rest, &op);
      if (good) from.at[i] = rest.at[i];
    });
  }
  w.mask = all;
  if (!good) return;
  lanes(all, [&](int i) {
    const bool any = (reads >> i & 1) != 0;
    const unsigned length = !any ? 0 : sizes != nullptr ? std::min(sizes[i], bytes) : bytes;
    w.copies.push_back({static_cast<uint32_t>(i), w.groups[i], static_cast<uint32_t>(to.at[i] - block.shared.data()),
                        static_cast<uint8_t>(bytes), static_cast<uint8_t>(length), any ? from.at[i] : nullptr});
  });
}

void lower_cp(Build& b) {
  if (!b.has("async")) b.refuse("only cp.async is");
  if (b.has("commit_group")) {
    b.emit([](Warp& w, const Op&) { lanes(w.mask, [&](int i) { w.groups[i]++; }); }, kCopyAsync);
    return;
  }
  const bool all = b.has("wait_all");
  if (all || b.has("wait_group")) {
    if (!all && b.operand(0).form != Operand::kInteger) b.refuse("the number of groups must be a literal");
    Op& op = b.emit(
        [](Warp& w, const Op& op) {
          auto& copies = w.copies;
          size_t kept = 0;
          for (const AsyncCopy& c : copies) {
            const bool waits = (w.mask >> c.lane & 1) != 0;
            if (waits && (op.value < 0 || c.group + static_cast<uint64_t>(op.value) < w.groups[c.lane])) {
              uint8_t* to = w.block->shared.data() + c.shared;
              std::memset(to, 0, c.bytes);
              if (c.source_bytes != 0) std::memcpy(to, c.source, c.source_bytes);
            } else {
              copies[kept++] = c;
            }
          }
          copies.resize(kept);
        },
        kCopyAsync);
    op.value = all ? -1 : static_cast<int64_t>(b.operand(0).value);
    return;
  }
  ignore_hints(b);
  if (!b.has("shared") && !b.has("shared::cta")) b.refuse("the target must be .shared");
  if (!b.has("global")) b.refuse("the source must be .global");
  const Build::Address to = b.address(b.operand(0)), from = b.address(b.operand(1));
  if (b.operand(2).form != Operand::kInteger) b.refuse("the size must be a literal");
  const uint64_t bytes = b.operand(2).value;
  if (bytes != 4 && bytes != 8 && bytes != 16) b.refuse("the size must be 4, 8 or 16");
  if (b.has("cg") && bytes != 16) b.refuse("the size of .cg must be 16");
  if (from.narrow) b.refuse("a global address must have 64 bits");
  uint32_t c = 0;
  uint8_t flags = 0;
  if (b.operands() > 3) {
    const Operand& o = b.operand(3);
    const bool is_predicate = o.form == Operand::kRegister && b.decoder().register_type(o.reg) == Type::kPred;
    const bool is_policy = o.form == Operand::kRegister && bytes_of(b.decoder().register_type(o.reg)) == 8;
    if (is_predicate)
      c = b.predicate_source(o), flags = kIgnorePredicate;
    else if (!is_policy)
      c = b.source(o, Type::kU32), flags = kHasSize;
  }
  const uint32_t more = b.more({static_cast<uint32_t>(from.offset), 0});
  Op& op = b.emit(copy, kCopyAsync);
  set_address(op, to);
  op.small |= flags;
  op.b = from.at, op.c = c, op.more = more;
  op.target = static_cast<uint32_t>(bytes);
}

// The rows of matrix j are at the addresses of lanes 8j to 8j+7.
bool rows(Warp& w, const Op& op, int matrices, bool write, Places& places) {
  if (w.mask != kAll) {
    fail(w, op, kLaunchFailed, -1, "is executed by part of its warp");
    return false;
  }
  const uint32_t used = matrices == 4 ? kAll : (1u << (8 * matrices)) - 1;
  w.mask = used;
  const bool good = reach(w, op, static_cast<Space>(op.target), 16, write, places);
  w.mask = kAll;
  return good;
}

// op.c: matrices; op.d: 1 for .trans; op.more: the registers.
void load_matrix(Warp& w, const Op& op) {
  Places places;
  const int matrices = static_cast<int>(op.c);
  if (!rows(w, op, matrices, false, places)) return;
  for (int j = 0; j < matrices; j++) {
    uint16_t row[8][8];
    for (int r = 0; r < 8; r++) std::memcpy(row[r], places.at[8 * j + r], 16);
    uint32_t* d = cells<uint32_t>(w, w.code->more[op.more + static_cast<unsigned>(j)]);
    for (int lane = 0; lane < 32; lane++) {
      const int g = lane >> 2, t = lane & 3;
      d[lane] = op.d != 0 ? row[2 * t][g] | static_cast<uint32_t>(row[2 * t + 1][g]) << 16
                          : row[g][2 * t] | static_cast<uint32_t>(row[g][2 * t + 1]) << 16;
    }
  }
}

void store_matrix(Warp& w, const Op& op) {
  Places places;
  const int matrices = static_cast<int>(op.c);
  if (!rows(w, op, matrices, true, places)) return;
  for (int j = 0; j < matrices; j++) {
    const uint32_t* s = cells<uint32_t>(w, w.code->more[op.more + static_cast<unsigned>(j)]);
    uint16_t row[8][8];
    for (int lane = 0; lane < 32; lane++) {
      const int g = lane >> 2, t = lane & 3;
      const auto low = static_cast<uint16_t>(s[lane]), high = static_cast<uint16_t>(s[lane] >> 16);
      if (op.d != 0)
        row[2 * t][g] = low, row[2 * t + 1][g] = high;
      else
        row[g][2 * t] = low, row[g][2 * t + 1] = high;
    }
    for (int r = 0; r < 8; r++) std::memcpy(places.at[8 * j + r], row[r], 16);
  }
}

void lower_matrix(Build& b) {
  const bool load = b.in.words[0] == "ldmatrix";
  b.has("sync"), b.has("aligned");
  if (!b.has("m8n8")) b.refuse("the shape must be .m8n8");
  if (b.type() != Type::kB16) b.refuse("the elements must be .b16");
  const bool transposed = b.has("trans");
  const uint32_t matrices = b.has("x4") ? 4 : b.has("x2") ? 2 : b.has("x1") ? 1 : 0;
  const Operand& registers = b.operand(load ? 0 : 1);
  std::vector<const Operand*> parts;
  if (registers.form == Operand::kVector)
    for (const Operand& part : registers.parts) parts.push_back(&part);
  else
    parts.push_back(&registers);
  if (matrices == 0 || parts.size() != matrices)
    b.refuse("there must be a register for each of .x1, .x2 or .x4 matrices");
  const Build::Address address = b.address(b.operand(load ? 1 : 0));
  std::vector<uint32_t> at;
  for (const Operand* part : parts) at.push_back(load ? b.result(*part, Type::kB32) : b.source(*part, Type::kB32));
  const Space space = space_of(b, &address);
  const uint32_t more = b.more(at);
  Op& op = b.emit(load ? load_matrix : store_matrix, load ? kLdmatrix : kStoreShared);
  set_address(op, address);
  op.c = matrices;
  op.d = transposed ? 1 : 0;
  op.more = more;
  op.target = static_cast<uint32_t>(space);
}

}  // namespace

void add_async_operations() {
  add_lowering("cp", lower_cp);
  add_lowering("ldmatrix", lower_matrix);
  add_lowering("stmatrix", lower_matrix);
}

}  // namespace simulator
