// What lanes of a warp do together: shfl, vote, match, redux, activemask, elect, bar.warp.sync.
#include "decode.h"
#include "lanes.h"
#include "schedule.h"

namespace simulator {

namespace {

// Code::more: the cells of the members' mask. The members are those of the lowest executing lane. False when the
// operation cannot go on now: other lanes have to come here first.
bool together(Warp& w, const Op& op, uint32_t mask_at, uint32_t& members) {
  members = cells<uint32_t>(w, mask_at)[std::countr_zero(w.mask)];
  return gather(w, op, members & w.present & ~w.exited);
}

enum Mode : uint8_t { kUp, kDown, kButterfly, kIndex };

// Code::more: mask, clamp; op.small: mode; op.target: the predicate, or kNone.
void shuffle(Warp& w, const Op& op) {
  uint32_t members;
  const uint32_t* more = w.code->more.data() + op.more;
  if (!together(w, op, more[0], members)) return;
  const uint32_t *a = cells<uint32_t>(w, op.a), *b = cells<uint32_t>(w, op.b), *c = cells<uint32_t>(w, more[1]);
  uint32_t made[32], in_range = 0;
  for (int i = 0; i < 32; i++) {
    const int by = static_cast<int>(b[i] & 31), clamp = static_cast<int>(c[i] & 31),
              segment = static_cast<int>(c[i] >> 8 & 31);
    const int top = (i & segment) | (clamp & ~segment), bottom = i & segment;
    int from = i;
    bool good = true;
    switch (op.small) {
      case kUp:
        from = i - by, good = from >= top;
        break;
      case kDown:
        from = i + by, good = from <= top;
        break;
      case kButterfly:
        from = i ^ by, good = from <= top;
        break;
      default:
        from = bottom | (by & ~segment), good = from <= top;
        break;
    }
    if (!good) from = i;
    in_range |= static_cast<uint32_t>(good) << i;
    // What a lane that does not take part holds is not defined; a marked value shows where it is used.
    made[i] = (w.mask >> from & 1) != 0 ? a[from] : 0xcbcbcbcbu;
  }
  each<uint32_t>(w, op.d, [&](int i) { return made[i]; });
  if (op.target != kNone) set_predicate(w, op.target, in_range);
}

void lower_shfl(Build& b) {
  if (!b.has("sync")) b.refuse("it must be .sync");
  const uint8_t mode = b.has("up") ? kUp : b.has("down") ? kDown : b.has("bfly") ? kButterfly : kIndex;
  b.has("idx");
  if (b.type() != Type::kB32) b.refuse("the type must be .b32");
  const Operand& target = b.operand(0);
  const uint32_t a = b.source(1, Type::kB32), by = b.source(2, Type::kB32), c = b.source(3, Type::kB32),
                 mask = b.source(4, Type::kB32);
  const uint32_t d = b.result(target, Type::kB32), p = target.second ? b.predicate_result(*target.second) : kNone;
  const uint32_t more = b.more({mask, c});
  Op& op = b.emit(shuffle, kShuffle);
  op.d = d, op.a = a, op.b = by, op.target = p, op.small = mode, op.more = more;
}

enum Vote : uint8_t { kAllOf, kAnyOf, kUniform, kBallot };

void vote(Warp& w, const Op& op) {
  uint32_t members;
  if (!together(w, op, op.more, members)) return;
  const uint32_t p = predicate(w, op.a) & w.mask;
  if (op.small == kBallot) return each<uint32_t>(w, op.d, [=](int) { return p; });
  const bool r = op.small == kAllOf ? p == w.mask : op.small == kAnyOf ? p != 0 : p == 0 || p == w.mask;
  set_predicate(w, op.d, r ? kAll : 0);
}

void lower_vote(Build& b) {
  if (!b.has("sync")) b.refuse("it must be .sync");
  const uint8_t what = b.has("all") ? kAllOf : b.has("any") ? kAnyOf : b.has("uni") ? kUniform : kBallot;
  if (what == kBallot && !b.has("ballot")) b.refuse("it must be .all, .any, .uni or .ballot");
  const uint32_t a = b.predicate_source(b.operand(1)), mask = b.source(2, Type::kB32);
  const uint32_t d = what == kBallot ? b.result(0, Type::kB32) : b.predicate_result(b.operand(0));
  Op& op = b.emit(vote, kShuffle);
  op.d = d, op.a = a, op.small = what, op.more = mask;
}

template <class T, bool kEvery>
void match(Warp& w, const Op& op) {
  uint32_t members;
  if (!together(w, op, op.more, members)) return;
  const Cell<T>* a = cells<T>(w, op.a);
  uint32_t made[32] = {};
  lanes(w.mask, [&](int i) { lanes(w.mask, [&](int k) { made[i] |= static_cast<uint32_t>(a[i] == a[k]) << k; }); });
  if (!kEvery) return each<uint32_t>(w, op.d, [&](int i) { return made[i]; });
  const bool same = made[std::countr_zero(w.mask)] == w.mask;
  const uint32_t all = same ? w.mask : 0;
  each<uint32_t>(w, op.d, [=](int) { return all; });
  if (op.target != kNone) set_predicate(w, op.target, same ? kAll : 0);
}

void lower_match(Build& b) {
  if (!b.has("sync")) b.refuse("it must be .sync");
  const bool every = b.has("all"), wide = b.type() == Type::kB64;
  if (!every && !b.has("any")) b.refuse("it must be .any or .all");
  const Operand& target = b.operand(0);
  const uint32_t a = b.source(1, b.type()), mask = b.source(2, Type::kB32), d = b.result(target, Type::kB32);
  const uint32_t p = target.second ? b.predicate_result(*target.second) : kNone;
  Op& op = b.emit(wide ? (every ? match<uint64_t, true> : match<uint64_t, false>)
                       : (every ? match<uint32_t, true> : match<uint32_t, false>),
                  kShuffle);
  op.d = d, op.a = a, op.more = mask, op.target = p;
}

const char* const kReductions[] = {"add", "min", "max", "and", "or", "xor"};

template <class T>
void reduce(Warp& w, const Op& op) {
  uint32_t members;
  if (!together(w, op, op.more, members)) return;
  const uint32_t* a = cells<uint32_t>(w, op.a);
  T sum = from_cell<T>(a[std::countr_zero(w.mask)]);
  lanes(w.mask & (w.mask - 1), [&](int i) {
    const T x = from_cell<T>(a[i]);
    switch (op.small) {
      case 0:
        sum = static_cast<T>(static_cast<uint32_t>(sum) + static_cast<uint32_t>(x));
        break;
      case 1:
        sum = x < sum ? x : sum;
        break;
      case 2:
        sum = x > sum ? x : sum;
        break;
      case 3:
        sum &= x;
        break;
      case 4:
        sum |= x;
        break;
      default:
        sum ^= x;
        break;
    }
  });
  each<T>(w, op.d, [=](int) { return sum; });
}

void lower_redux(Build& b) {
  if (!b.has("sync")) b.refuse("it must be .sync");
  uint8_t what = 0;
  while (what < 6 && !b.has(kReductions[what])) what++;
  const Type type = b.type();
  if (what == 6 || bytes_of(type) != 4 || type == Type::kF32) b.refuse("the operation is not one of its type");
  const uint32_t a = b.source(1, type), mask = b.source(2, Type::kB32), d = b.result(0, type);
  Op& op = b.emit(type == Type::kS32 ? reduce<int32_t> : reduce<uint32_t>, kShuffle);
  op.d = d, op.a = a, op.small = what, op.more = mask;
}

void lower_activemask(Build& b) {
  b.type();
  const uint32_t d = b.result(0, Type::kB32);
  b.emit(
       [](Warp& w, const Op& op) {
         const uint32_t mask = w.mask;
         each<uint32_t>(w, op.d, [=](int) { return mask; });
       },
       kShuffle)
      .d = d;
}

// elect.sync d|p, mask: the lowest lane leads.
void lower_elect(Build& b) {
  if (!b.has("sync")) b.refuse("it must be .sync");
  const Operand& target = b.operand(0);
  const uint32_t mask = b.source(1, Type::kB32), d = b.result(target, Type::kB32);
  const uint32_t p = target.second ? b.predicate_result(*target.second) : b.temporary_predicate();
  Op& op = b.emit(
      [](Warp& w, const Op& op) {
        uint32_t members;
        if (!together(w, op, op.more, members)) return;
        const auto leader = static_cast<uint32_t>(std::countr_zero(w.mask));
        each<uint32_t>(w, op.d, [=](int) { return leader; });
        set_predicate(w, op.target, 1u << leader);
      },
      kShuffle);
  op.d = d, op.more = mask, op.target = p;
}

}  // namespace

void lower_warp_barrier(Build& b) {
  b.has("warp"), b.has("sync");
  const uint32_t mask = b.source(b.operand(0), Type::kB32);
  b.emit(
       [](Warp& w, const Op& op) {
         uint32_t members;
         together(w, op, op.more, members);
       },
       kBarrier)
      .more = mask;
}

void add_warp_operations() {
  add_lowering("shfl", lower_shfl);
  add_lowering("vote", lower_vote);
  add_lowering("match", lower_match);
  add_lowering("redux", lower_redux);
  add_lowering("activemask", lower_activemask);
  add_lowering("elect", lower_elect);
}

}  // namespace simulator
