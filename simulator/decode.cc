#include "decode.h"

#include <algorithm>
#include <unordered_map>

#include "lanes.h"

namespace simulator {

namespace {

std::unordered_map<std::string, Lower>& table() {
  static std::unordered_map<std::string, Lower> lowerings;
  return lowerings;
}

void fill_table() {
  add_arithmetic_operations();
  add_integer_operations();
  add_bit_operations();
  add_approximate_operations();
  add_convert_operations();
  add_compare_operations();
  add_move_operations();
  add_memory_operations();
  add_atomic_operations();
  add_async_operations();
  add_matrix_operations();
  add_warp_operations();
  add_control_operations();
}

uint32_t aligned(uint32_t n, uint32_t to) {
  return to == 0 ? n : (n + to - 1) / to * to;
}

}  // namespace

void add_lowering(const char* opcode, Lower lower) {
  table()[opcode] = lower;
}

Lower lowering(const std::string& opcode) {
  static const bool filled = (fill_table(), true);
  (void)filled;
  const auto found = table().find(opcode);
  return found == table().end() ? nullptr : found->second;
}

uint32_t Decoder::allocate(uint32_t bytes) {
  const uint32_t at = code_->register_bytes;
  code_->register_bytes += bytes;
  return at;
}

uint32_t Decoder::predicate_cell() {
  if (predicate_left_ == 0) {
    predicate_next_ = allocate(128);
    predicate_left_ = 32;
  }
  predicate_left_--;
  predicate_next_ += 4;
  return predicate_next_ - 4;
}

uint32_t Decoder::carry() {
  if (frame_->carry == kNone) frame_->carry = predicate_cell();
  return frame_->carry;
}

uint32_t Decoder::literal(uint64_t value, bool wide) {
  if (!wide) value = static_cast<uint32_t>(value);
  const auto [place, fresh] = literals_.try_emplace({value, wide}, 0);
  if (fresh) {
    place->second = cell(wide);
    code_->literals.push_back({place->second, wide, value});
  }
  return place->second;
}

uint32_t Decoder::special(Special which, bool wide) {
  const auto [place, fresh] = specials_.try_emplace({which, wide}, 0);
  if (fresh) {
    place->second = cell(wide);
    code_->specials.push_back({place->second, wide, which});
  }
  return place->second;
}

Named Decoder::place(const Variable& v) {
  Code& code = *code_;
  if (v.space == Space::kShared) {
    const auto known = shared_.find(&v);
    if (known != shared_.end()) return known->second;
    if (v.external) {
      // The static variables are placed by now: see run().
      return shared_[&v] = {Space::kShared, aligned(code.shared_bytes, code.dynamic_alignment)};
    }
    const uint32_t at = aligned(code.shared_bytes, v.alignment);
    code.shared_bytes = at + static_cast<uint32_t>(v.bytes);
    return shared_[&v] = {Space::kShared, at};
  }
  const uint32_t at = aligned(code.local_bytes, std::max(v.alignment, 8u));
  code.local_bytes = at + static_cast<uint32_t>(v.bytes);
  return {Space::kLocal, at};
}

bool Decoder::resolve(const Instruction& in, const std::string& name, Named& named) {
  if (const Variable* v = frame_->text->variable(in.scope, name)) {
    named = frame_->variables.at(v);
    return true;
  }
  if (const auto formal = frame_->formals.find(name); formal != frame_->formals.end()) {
    named = formal->second;
    return true;
  }
  const auto global = names_.places.find(name);
  if (global == names_.places.end()) return false;
  const ModuleNames::Place& p = global->second;
  named = p.space == Space::kShared ? place(*p.variable) : Named{p.space, p.address};
  return true;
}

void Decoder::branch_to(const Instruction& in, const std::string& label) {
  const int64_t to = frame_->text->label(in.scope, label);
  if (to < 0) throw PtxError{in.line, "a branch must go to a label of its function, got " + label};
  frame_->fixes.push_back({false, static_cast<uint32_t>(code_->ops.size() - 1), static_cast<uint32_t>(to)});
}

std::vector<std::string> Decoder::branch_targets(const Instruction& in, const std::string& list) const {
  for (int scope = in.scope; scope >= 0; scope = frame_->text->scopes[scope])
    if (const auto found = frame_->text->targets.find({scope, list}); found != frame_->text->targets.end())
      return found->second;
  throw PtxError{in.line, "brx.idx must name a .branchtargets list, got " + list};
}

void Decoder::table_entry(const Instruction& in, const std::string& label, uint32_t at) {
  branch_to(in, label);
  frame_->fixes.back().in_table = true;
  frame_->fixes.back().at = at;
}

bool Decoder::call(const Instruction& in, const std::string& function, const std::vector<Operand>& results,
                   const std::vector<Operand>& arguments) {
  const auto found = names_.text->functions.find(function);
  if (found == names_.text->functions.end()) throw PtxError{in.line, "a call must name a function, got " + function};
  const FunctionText& text = found->second;
  if (!text.body) return false;
  for (const Frame* f = frame_; f != nullptr; f = f->caller)
    if (f->text == &text) throw PtxError{in.line, "a function must not call itself, got " + function};
  if (results.size() != text.results.size() || arguments.size() != text.parameters.size())
    throw PtxError{in.line, "a call must have the arguments of " + function};
  Frame callee;
  callee.text = &text;
  callee.caller = frame_;
  const auto bind = [&](const std::vector<Variable>& formals, const std::vector<Operand>& actuals) {
    for (size_t i = 0; i < formals.size(); i++) {
      Named named;
      if (actuals[i].form != Operand::kSymbol || !resolve(in, actuals[i].name, named))
        throw PtxError{in.line, "an argument of " + function + " must be a .param variable"};
      callee.formals[formals[i].name] = named;
    }
  };
  bind(text.results, results);
  bind(text.parameters, arguments);
  Frame* const caller = frame_;
  lower(callee);
  frame_ = caller;
  return true;
}

void Decoder::lower(Frame& frame) {
  frame_ = &frame;
  const FunctionText& text = *frame.text;
  for (const Type type : text.registers) {
    if (type == Type::kB128) throw PtxError{text.line, "registers must have up to 64 bits, got .b128"};
    frame.slots.push_back(type == Type::kPred ? predicate_cell() : cell(bytes_of(type) == 8));
  }
  for (const Variable& v : text.variables) frame.variables[&v] = place(v);
  for (const Instruction& in : text.instructions) {
    frame.starts.push_back(static_cast<uint32_t>(code_->ops.size()));
    const Lower lower = lowering(in.words[0]);
    if (lower == nullptr)
      throw PtxError{in.line, "an instruction must be one that is known here, got '" + in.text + "'"};
    code_->instructions.push_back({in.line, in.text});
    Build build(*this, in);
    lower(build);
    build.finish();
  }
  frame.starts.push_back(static_cast<uint32_t>(code_->ops.size()));
  for (const Fix& fix : frame.fixes) {
    const uint32_t to = frame.starts[fix.instruction == kNone ? text.instructions.size() : fix.instruction];
    (fix.in_table ? code_->more[fix.at] : code_->ops[fix.at].target) = to;
  }
}

std::shared_ptr<Code> Decoder::run(const FunctionText& kernel) {
  code_->name = kernel.name;
  // Static shared variables of the module that the kernel (or what it calls) may name come before the dynamic memory.
  for (const auto& [name, p] : names_.places) {
    if (p.space != Space::kShared) continue;
    if (p.variable->external)
      code_->dynamic_alignment = std::max(code_->dynamic_alignment, p.variable->alignment);
    else
      place(*p.variable);
  }
  for (const Variable& v : kernel.variables)
    if (v.space == Space::kShared && !v.external) place(v);
  Frame frame;
  frame.text = &kernel;
  uint32_t offset = 0;
  for (const Variable& v : kernel.parameters) {
    offset = aligned(offset, v.alignment);
    frame.formals[v.name] = {Space::kParameter, offset};
    offset += static_cast<uint32_t>(v.bytes);
  }
  code_->parameter_bytes = offset;
  const uint32_t before = code_->shared_bytes;
  lower(frame);
  if (code_->shared_bytes != before)
    for (const auto& [v, named] : shared_)
      if (v->external)
        throw PtxError{v->line, "static shared variables of called functions must not mix with extern ones"};
  code_->ops.emplace_back();
  code_->ops.back().instruction = static_cast<uint32_t>(code_->instructions.size());
  code_->instructions.push_back({0, "end of the kernel"});
  code_->ops.back().hidden = true;
  code_->ops.back().run = [](Warp& w, const Op&) {
    w.exited |= w.mask;
    w.active &= ~w.mask;
    w.event = true;
  };
  code_->register_bytes = aligned(code_->register_bytes, 256);
  code_->local_bytes = aligned(code_->local_bytes, 16);
  return code_;
}

std::shared_ptr<Code> decode(const FunctionText& kernel, const ModuleNames& names) {
  return Decoder(names).run(kernel);
}

}  // namespace simulator
