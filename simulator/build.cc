// Build: one instruction while it is lowered (decode.h).
#include <algorithm>
#include <cstring>

#include "decode.h"
#include "lanes.h"

namespace simulator {

namespace {

void narrow(Warp& w, const Op& op) {
  const uint64_t* a = cells<uint64_t>(w, op.a);
  each<uint32_t>(w, op.d, [=](int i) { return static_cast<uint32_t>(a[i]); });
}

template <class T>
void widen(Warp& w, const Op& op) {
  const uint32_t* a = cells<T>(w, op.a);
  each<uint64_t>(w, op.d, [=](int i) {
    if constexpr (std::is_signed_v<T>)
      return static_cast<uint64_t>(static_cast<int64_t>(from_cell<T>(a[i])));
    else
      return static_cast<uint64_t>(from_cell<T>(a[i]));
  });
}

Run widening(Type type) {
  switch (type) {
    case Type::kS8:
      return widen<int8_t>;
    case Type::kS16:
      return widen<int16_t>;
    case Type::kS32:
      return widen<int32_t>;
    case Type::kB8:
    case Type::kU8:
      return widen<uint8_t>;
    case Type::kB16:
    case Type::kU16:
    case Type::kF16:
    case Type::kBf16:
      return widen<uint16_t>;
    default:
      return widen<uint32_t>;
  }
}

void read_clock(Warp& w, const Op& op) {
  const uint64_t now = w.steps;
  if (op.small != 0)
    each<uint64_t>(w, op.d, [=](int) { return now; });
  else
    each<uint32_t>(w, op.d, [=](int) { return static_cast<uint32_t>(now); });
}

const struct {
  const char* name;
  Special which;
} kSpecials[] = {
    {"%tid.x", Special::kTidX},
    {"%tid.y", Special::kTidY},
    {"%tid.z", Special::kTidZ},
    {"%ntid.x", Special::kNtidX},
    {"%ntid.y", Special::kNtidY},
    {"%ntid.z", Special::kNtidZ},
    {"%ctaid.x", Special::kCtaidX},
    {"%ctaid.y", Special::kCtaidY},
    {"%ctaid.z", Special::kCtaidZ},
    {"%nctaid.x", Special::kNctaidX},
    {"%nctaid.y", Special::kNctaidY},
    {"%nctaid.z", Special::kNctaidZ},
    {"%laneid", Special::kLane},
    {"%warpid", Special::kWarp},
    {"%nwarpid", Special::kWarps},
    {"%lanemask_eq", Special::kMaskEq},
    {"%lanemask_le", Special::kMaskLe},
    {"%lanemask_lt", Special::kMaskLt},
    {"%lanemask_ge", Special::kMaskGe},
    {"%lanemask_gt", Special::kMaskGt},
    {"%dynamic_smem_size", Special::kDynamicShared},
    {"%total_smem_size", Special::kTotalShared},
    {"%gridid", Special::kGridId},
    {"%smid", Special::kSm},
    {"%nsmid", Special::kSms},
};

}  // namespace

Build::Build(Decoder& decoder, const Instruction& instruction)
    : in(instruction), decoder_(decoder), known_(instruction.words.size(), false) {
  known_[0] = true;
  for (size_t i = 1; i < in.words.size(); i++) {
    const Type type = type_named(in.words[i]);
    if (type == Type::kNone) continue;
    types_.push_back(type);
    known_[i] = true;
  }
}

bool Build::has(const char* word) {
  bool found = false;
  for (size_t i = 1; i < in.words.size(); i++) {
    if (in.words[i] != word) continue;
    known_[i] = true;
    found = true;
  }
  return found;
}

Type Build::type(size_t n) {
  if (n >= types_.size()) refuse("a type is missing");
  return types_[n];
}

std::string Build::word(size_t n) {
  if (n >= in.words.size()) return "";
  known_[n] = true;
  return in.words[n];
}

const Operand& Build::operand(size_t n) const {
  if (n >= in.operands.size()) refuse("an operand is missing");
  return in.operands[n];
}

uint32_t Build::literal(uint64_t value, bool wide) {
  return decoder_.literal(value, wide);
}
uint32_t Build::temporary(bool wide) {
  return decoder_.cell(wide);
}
uint32_t Build::temporary_predicate() {
  return decoder_.predicate_cell();
}

uint32_t Build::source(const Operand& o, Type type) {
  const bool wide = bytes_of(type) == 8;
  if (o.address || o.negated) refuse("an operand has a form that this instruction does not take");
  switch (o.form) {
    case Operand::kRegister: {
      const Type held = decoder_.register_type(o.reg);
      if (held == Type::kPred) refuse("a predicate is no number");
      const bool held_wide = bytes_of(held) == 8;
      if (o.offset != 0) refuse("only an address has an offset");
      if (held_wide == wide) return decoder_.slot(o.reg);
      if (wide) refuse("a register is narrower than its type");
      const uint32_t low = temporary(false);
      Op& op = emit_hidden(narrow);
      op.d = low;
      op.a = decoder_.slot(o.reg);
      return low;
    }
    case Operand::kInteger:
      return literal(o.value, wide);
    case Operand::kFloat: {
      if (!wide) return literal(o.value, false);
      const double value = std::bit_cast<float>(static_cast<uint32_t>(o.value));
      return literal(std::bit_cast<uint64_t>(value), true);
    }
    case Operand::kDouble: {
      if (wide) return literal(o.value, true);
      const auto value = static_cast<float>(std::bit_cast<double>(o.value));
      return literal(std::bit_cast<uint32_t>(value), false);
    }
    case Operand::kSymbol: {
      Named named;
      if (!decoder_.resolve(in, o.name, named)) refuse("nothing is called " + o.name);
      uint64_t address = named.address + static_cast<uint64_t>(o.offset);
      if (named.space == Space::kParameter) address += kParameterWindow;
      return literal(address, wide);
    }
    case Operand::kSpecial: {
      if (o.name == "WARP_SZ") return literal(32, wide);
      if (o.name.rfind("%clock", 0) == 0 || o.name.rfind("%globaltimer", 0) == 0) {
        const uint32_t now = temporary(wide);
        Op& op = emit_hidden(read_clock);
        op.d = now;
        op.small = wide ? 1 : 0;
        return now;
      }
      for (const auto& s : kSpecials)
        if (o.name == s.name) return decoder_.special(s.which, wide);
      refuse("a register is not declared, or a special register that is not known here");
    }
    default:
      refuse("an operand has a form that this instruction does not take");
  }
}

uint32_t Build::result(const Operand& o, Type type) {
  const bool wide = bytes_of(type) == 8;
  if (o.form == Operand::kSink) return temporary(wide);
  if (o.form != Operand::kRegister || o.address || decoder_.register_type(o.reg) == Type::kPred)
    refuse("a result must be a register of its type");
  const bool held_wide = bytes_of(decoder_.register_type(o.reg)) == 8;
  if (held_wide == wide) return decoder_.slot(o.reg);
  if (wide) refuse("a register is narrower than its type");
  const uint32_t made = temporary(false);
  Op op;
  op.run = widening(type);
  op.hidden = true;
  op.d = decoder_.slot(o.reg);
  op.a = made;
  after_.push_back(op);
  return made;
}

uint32_t Build::predicate_source(const Operand& o) {
  if (o.form == Operand::kInteger) {
    const uint32_t at = decoder_.literal(o.value != 0 ? kAll : 0, false);
    return at;
  }
  if (o.form != Operand::kRegister || o.address || decoder_.register_type(o.reg) != Type::kPred)
    refuse("an operand must be a predicate");
  const uint32_t at = decoder_.slot(o.reg);
  if (!o.negated) return at;
  const uint32_t opposite = temporary_predicate();
  Op& op = emit_hidden([](Warp& w, const Op& op) { set_predicate(w, op.d, ~predicate(w, op.a)); });
  op.d = opposite;
  op.a = at;
  return opposite;
}

uint32_t Build::predicate_result(const Operand& o) {
  if (o.form == Operand::kSink) return temporary_predicate();
  if (o.form != Operand::kRegister || o.address || decoder_.register_type(o.reg) != Type::kPred)
    refuse("a result must be a predicate");
  return decoder_.slot(o.reg);
}

Build::Address Build::address(const Operand& o) {
  if (!o.address) refuse("an address must be written in [ ]");
  if (o.form == Operand::kRegister) {
    const Type held = decoder_.register_type(o.reg);
    if (bytes_of(held) < 4) refuse("an address must be a register of 32 or 64 bits");
    return {decoder_.slot(o.reg), o.offset, bytes_of(held) == 4, Space::kGeneric};
  }
  if (o.form == Operand::kInteger) return {literal(o.value, true), o.offset, false, Space::kGeneric};
  if (o.form != Operand::kSymbol) refuse("an address must be a register, a number or a name");
  Named named;
  if (!decoder_.resolve(in, o.name, named)) refuse("nothing is called " + o.name);
  return {literal(named.address, true), o.offset, false, named.space};
}

void Build::require_parameter(int64_t offset, int64_t bytes) const {
  if (offset < 0 || offset + bytes > decoder_.code().parameter_bytes) refuse("it reads outside the parameters");
}

uint32_t Build::more(const std::vector<uint32_t>& list) {
  auto& more = decoder_.code().more;
  more.insert(more.end(), list.begin(), list.end());
  return static_cast<uint32_t>(more.size() - list.size());
}

Op& Build::emit(Run run, Kind kind) {
  auto& ops = decoder_.code().ops;
  Op& op = ops.emplace_back();
  op.run = run;
  op.kind = kind;
  op.instruction = static_cast<uint32_t>(decoder_.code().instructions.size()) - 1;
  if (in.guard >= 0) {
    op.guard = decoder_.slot(in.guard);
    op.guard_negated = in.guard_negated;
  }
  return op;
}

Op& Build::emit_hidden(Run run) {
  Op& op = emit(run, kOther);
  op.hidden = true;
  return op;
}

Op& Build::simple(Run run, Kind kind, Type result_type, Type source_type) {
  if (run == nullptr) refuse("the type is not one of this instruction");
  uint32_t at[3] = {};
  if (operands() < 2 || operands() > 4) refuse("the operands are not those of this instruction");
  for (size_t i = 1; i < operands(); i++) at[i - 1] = source(i, source_type);
  const uint32_t d = result(0, result_type);
  Op& op = emit(run, kind);
  op.d = d;
  op.a = at[0];
  op.b = at[1];
  op.c = at[2];
  return op;
}

void Build::refuse(const std::string& why) const {
  throw PtxError{in.line, "an instruction must be one that is known here, got '" + in.text + "' (" + why + ")"};
}

void Build::finish() {
  for (size_t i = 1; i < in.words.size(); i++)
    if (!known_[i]) refuse("." + in.words[i] + " is not known for it");
  for (Op& op : after_) {
    op.instruction = static_cast<uint32_t>(decoder_.code().instructions.size()) - 1;
    if (in.guard >= 0) {
      op.guard = decoder_.slot(in.guard);
      op.guard_negated = in.guard_negated;
    }
    decoder_.code().ops.push_back(op);
  }
}

}  // namespace simulator
