// mov, with packing and unpacking; isspacep.
#include "decode.h"
#include "lanes.h"

namespace simulator {

namespace {

template <class T>
void move(Warp& w, const Op& op) {
  const Cell<T>* a = cells<T>(w, op.a);
  each<T>(w, op.d, [=](int i) { return a[i]; });
}

// op.a = the cells of a part, of op.small bytes, to be placed at bit op.more of op.d.
template <class D, class A>
void place(Warp& w, const Op& op) {
  const Cell<A>* a = cells<A>(w, op.a);
  const Cell<D>* old = cells<D>(w, op.d);
  const uint32_t shift = op.more;
  const auto field = static_cast<D>((op.small == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * op.small)) - 1) << shift);
  each<D>(w, op.d,
          [=](int i) { return static_cast<D>((old[i] & ~field) | ((static_cast<D>(a[i]) << shift) & field)); });
}

template <class D, class A>
void take(Warp& w, const Op& op) {
  const Cell<A>* a = cells<A>(w, op.a);
  const uint32_t shift = op.more;
  const auto field = static_cast<D>(op.small == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * op.small)) - 1);
  each<D>(w, op.d, [=](int i) { return static_cast<D>(a[i] >> shift) & field; });
}

Type bits_type(unsigned bytes) {
  return bytes == 8 ? Type::kB64 : bytes == 4 ? Type::kB32 : bytes == 2 ? Type::kB16 : Type::kB8;
}

// mov.b64 d, {a, b}: parts are put together in a temporary, as a source may be the result.
void lower_pack(Build& b, Type type) {
  const auto& parts = b.operand(1).parts;
  const unsigned bytes = bytes_of(type) / static_cast<unsigned>(parts.size());
  const bool wide = bytes_of(type) == 8;
  const uint32_t whole = b.temporary(wide);
  for (size_t k = 0; k < parts.size(); k++) {
    const uint32_t a = b.source(parts[k], bits_type(bytes));
    Op& op = b.emit_hidden(wide ? place<uint64_t, uint32_t> : place<uint32_t, uint32_t>);
    op.d = whole, op.a = a;
    op.small = static_cast<uint8_t>(bytes);
    op.more = static_cast<uint32_t>(8 * bytes * k);
  }
  const uint32_t d = b.result(0, type);
  Op& op = b.emit(wide ? move<uint64_t> : move<uint32_t>, kMove);
  op.d = d, op.a = whole;
}

void lower_unpack(Build& b, Type type) {
  const auto& parts = b.operand(0).parts;
  const unsigned bytes = bytes_of(type) / static_cast<unsigned>(parts.size());
  const bool wide = bytes_of(type) == 8;
  const uint32_t a = b.source(1, type), whole = b.temporary(wide);
  Op& op = b.emit(wide ? move<uint64_t> : move<uint32_t>, kMove);
  op.d = whole, op.a = a;
  for (size_t k = 0; k < parts.size(); k++) {
    if (parts[k].form == Operand::kSink) continue;
    const uint32_t d = b.result(parts[k], bits_type(bytes));
    Op& part = b.emit_hidden(wide ? take<uint32_t, uint64_t> : take<uint32_t, uint32_t>);
    part.d = d, part.a = whole;
    part.small = static_cast<uint8_t>(bytes);
    part.more = static_cast<uint32_t>(8 * bytes * k);
  }
}

void lower_mov(Build& b) {
  const Type type = b.type();
  if (b.operand(1).form == Operand::kVector || b.operand(0).form == Operand::kVector) {
    const bool pack = b.operand(1).form == Operand::kVector;
    const size_t parts = b.operand(pack ? 1 : 0).parts.size();
    if ((parts != 2 && parts != 4) || bytes_of(type) > 8 || bytes_of(type) < parts)
      b.refuse("2 or 4 parts must make up to 64 bits");
    return pack ? lower_pack(b, type) : lower_unpack(b, type);
  }
  if (type == Type::kPred) {
    const uint32_t a = b.predicate_source(b.operand(1)), d = b.predicate_result(b.operand(0));
    Op& op = b.emit([](Warp& w, const Op& op) { set_predicate(w, op.d, predicate(w, op.a)); }, kMove);
    op.d = d, op.a = a;
    return;
  }
  b.simple(bytes_of(type) == 8 ? move<uint64_t> : move<uint32_t>, kMove, type, type);
}

void lower_isspacep(Build& b) {
  uint64_t window = 0;
  if (b.has("shared") || b.has("shared::cta"))
    window = kSharedWindow;
  else if (b.has("local"))
    window = kLocalWindow;
  else if (b.has("param"))
    window = kParameterWindow;
  else if (!b.has("global") && !b.has("const"))
    b.refuse("the space is not known");
  const bool constant = b.has("const");
  const uint32_t a = b.source(1, Type::kU64), d = b.predicate_result(b.operand(0));
  Op& op = b.emit(
      [](Warp& w, const Op& op) {
        const uint64_t* a = cells<uint64_t>(w, op.a);
        const auto window = static_cast<uint64_t>(op.value);
        each_predicate(w, op.d, [=](int i) {
          if (op.small != 0) return false;
          if (window != 0) return a[i] - window < kWindowBytes;
          return a[i] - kSharedWindow >= kWindowBytes && a[i] - kLocalWindow >= kWindowBytes &&
                 a[i] - kParameterWindow >= kWindowBytes;
        });
      },
      kInteger);
  op.d = d, op.a = a;
  op.value = static_cast<int64_t>(window);
  op.small = constant ? 1 : 0;
}

}  // namespace

void add_move_operations() {
  add_lowering("mov", lower_mov);
  add_lowering("isspacep", lower_isspacep);
}

}  // namespace simulator
