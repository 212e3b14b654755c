// ld and st in every space, prefetches.
#include <cstring>

#include "access.h"

namespace simulator {

namespace {

Space space_in(const Op& op) {
  return static_cast<Space>(op.target);
}

// op.more: where Code::more lists the N registers.
template <class T, int kCount>
void load(Warp& w, const Op& op) {
  Places p;
  if (!reach(w, op, space_in(op), sizeof(T) * kCount, false, p)) return;
  const uint32_t* targets = w.code->more.data() + op.more;
  for (int k = 0; k < kCount; k++) {
    Cell<T>* d = cells<T>(w, targets[k]);
    if (p.uniform) {
      T value;
      std::memcpy(&value, p.at[std::countr_zero(w.mask) & 31] + k * sizeof(T), sizeof(T));
      const Cell<T> cell = to_cell<T>(value);
      each<Cell<T>>(w, targets[k], [=](int) { return cell; });
    } else if (sizeof(T) >= 4 && kCount == 1 && p.adjacent) {
      std::memcpy(d, p.at[0], sizeof(T) * 32);
    } else if (w.mask == kAll) {
      for (int i = 0; i < 32; i++) {
        T value;
        std::memcpy(&value, p.at[i] + k * sizeof(T), sizeof(T));
        d[i] = to_cell<T>(value);
      }
    } else {
      lanes(w.mask, [&](int i) {
        T value;
        std::memcpy(&value, p.at[i] + k * sizeof(T), sizeof(T));
        d[i] = to_cell<T>(value);
      });
    }
  }
}

template <class T, int kCount>
void store(Warp& w, const Op& op) {
  Places p;
  if (!reach(w, op, space_in(op), sizeof(T) * kCount, true, p)) return;
  const uint32_t* sources = w.code->more.data() + op.more;
  if (sizeof(T) >= 4 && kCount == 1 && p.adjacent) {
    std::memcpy(p.at[0], cells<T>(w, sources[0]), sizeof(T) * 32);
    return;
  }
  lanes(w.mask, [&](int i) {
    for (int k = 0; k < kCount; k++) {
      const T value = from_cell<T>(cells<T>(w, sources[k])[i]);
      std::memcpy(p.at[i] + k * sizeof(T), &value, sizeof(T));
    }
  });
}

// A kernel parameter named in the address: the same for all threads.
template <class T, int kCount>
void load_parameter(Warp& w, const Op& op) {
  const auto* from = static_cast<const uint8_t*>(w.block->launch->parameters) + op.value;
  for (int k = 0; k < kCount; k++) {
    T value;
    std::memcpy(&value, from + k * sizeof(T), sizeof(T));
    const Cell<T> cell = to_cell<T>(value);
    each<Cell<T>>(w, w.code->more[op.more + static_cast<unsigned>(k)], [=](int) { return cell; });
  }
}

template <class F>
Run by_element(Type type, F f) {
  switch (type) {
    case Type::kS8:
      return f(int8_t{});
    case Type::kB8:
    case Type::kU8:
      return f(uint8_t{});
    case Type::kS16:
      return f(int16_t{});
    case Type::kB16:
    case Type::kU16:
    case Type::kF16:
    case Type::kBf16:
      return f(uint16_t{});
    case Type::kB64:
    case Type::kU64:
    case Type::kS64:
    case Type::kF64:
      return f(uint64_t{});
    case Type::kB32:
    case Type::kU32:
    case Type::kS32:
    case Type::kF32:
    case Type::kF16x2:
    case Type::kBf16x2:
      return f(uint32_t{});
    default:
      return nullptr;
  }
}

template <template <class, int> class Table>
Run by_count(Type type, size_t count) {
  return by_element(type, [=](auto t) -> Run {
    using T = decltype(t);
    switch (count) {
      case 1:
        return Table<T, 1>::run;
      case 2:
        return Table<T, 2>::run;
      case 4:
        return Table<T, 4>::run;
      case 8:
        return sizeof(T) == 4 ? Table<T, 8>::run : nullptr;
      default:
        return nullptr;
    }
  });
}

template <class T, int kCount>
struct Load {
  static constexpr Run run = load<T, kCount>;
};
template <class T, int kCount>
struct Store {
  static constexpr Run run = store<T, kCount>;
};
template <class T, int kCount>
struct LoadParameter {
  static constexpr Run run = load_parameter<T, kCount>;
};

std::vector<const Operand*> elements(Build& b, const Operand& o) {
  const bool v2 = b.has("v2"), v4 = b.has("v4"), v8 = b.has("v8");
  const size_t count = v2 ? 2 : v4 ? 4 : v8 ? 8 : 1;
  std::vector<const Operand*> list;
  if (o.form == Operand::kVector)
    for (const Operand& part : o.parts) list.push_back(&part);
  else
    list.push_back(&o);
  if (list.size() != count) b.refuse("the operand must have as many parts as the vector");
  return list;
}

Kind kind_of(Space space, bool write) {
  switch (space) {
    case Space::kShared:
      return write ? kStoreShared : kLoadShared;
    case Space::kLocal:
      return kLocal;
    case Space::kConstant:
    case Space::kParameter:
      return kConstant;
    default:
      return write ? kStoreGlobal : kLoadGlobal;
  }
}

void lower_load(Build& b) {
  ignore_hints(b);
  const Type type = b.type();
  const auto parts = elements(b, b.operand(0));
  const Build::Address address = b.address(b.operand(1));
  const Space space = space_of(b, &address);
  const bool parameter = space == Space::kParameter && address.space == Space::kParameter;
  const Run run = parameter ? by_count<LoadParameter>(type, parts.size()) : by_count<Load>(type, parts.size());
  if (run == nullptr) b.refuse("the type is not one of this instruction");
  std::vector<uint32_t> targets;
  for (const Operand* part : parts) targets.push_back(b.result(*part, type));
  const uint32_t more = b.more(targets);
  Op& op = b.emit(run, kind_of(space, false));
  set_address(op, address);
  op.target = static_cast<uint32_t>(space);
  op.more = more;
  if (!parameter) return;
  for (const auto& literal : b.decoder().code().literals)
    if (literal.at == address.at) op.value += static_cast<int64_t>(literal.value);
  const auto bytes = static_cast<int64_t>(bytes_of(type) * parts.size());
  b.require_parameter(op.value, bytes);
}

void lower_store(Build& b) {
  ignore_hints(b);
  const Type type = b.type();
  const Build::Address address = b.address(b.operand(0));
  const auto parts = elements(b, b.operand(1));
  const Space space = space_of(b, &address);
  const Run run = by_count<Store>(type, parts.size());
  if (run == nullptr) b.refuse("the type is not one of this instruction");
  std::vector<uint32_t> sources;
  for (const Operand* part : parts) sources.push_back(b.source(*part, type));
  const uint32_t more = b.more(sources);
  Op& op = b.emit(run, kind_of(space, true));
  set_address(op, address);
  op.target = static_cast<uint32_t>(space);
  op.more = more;
}

// Prefetches, and cache policies made for them, change nothing here.
void lower_nothing(Build& b) {
  for (size_t i = 1; i < b.in.words.size(); i++) b.word(i);
  b.emit([](Warp&, const Op&) {}, kOther);
}

}  // namespace

void add_memory_operations() {
  add_lowering("ld", lower_load);
  add_lowering("ldu", lower_load);
  add_lowering("st", lower_store);
  for (const char* name :
       {"prefetch", "prefetchu", "createpolicy", "applypriority", "discard", "pmevent", "griddepcontrol"})
    add_lowering(name, lower_nothing);
}

}  // namespace simulator
