// Lowering of instructions to micro-operations. A file of operations registers one function for each opcode it knows.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "code.h"
#include "ptx_text.h"

namespace simulator {

class Decoder;

constexpr uint8_t kNarrow = 1;

// One instruction while it is being lowered.
class Build {
 public:
  Build(Decoder& decoder, const Instruction& instruction);

  const Instruction& in;

  // Whether the opcode has this word; asking makes the word known. A word that nobody asked for is refused.
  bool has(const char* word);
  // The words that are types, in order; the n-th one must be there.
  Type type(size_t n = 0);
  size_t types() const { return types_.size(); }
  // The word after the opcode's name at `n` (1 is the first), made known; empty when there is none.
  std::string word(size_t n);

  size_t operands() const { return in.operands.size(); }
  const Operand& operand(size_t n) const;
  // Where the lanes of a source lie. Literals are bits of `type`.
  uint32_t source(const Operand& operand, Type type);
  uint32_t source(size_t n, Type type) { return source(operand(n), type); }
  // Where a result goes; a register wider than `type` is extended as `type` says.
  uint32_t result(const Operand& operand, Type type);
  uint32_t result(size_t n, Type type) { return result(operand(n), type); }
  uint32_t predicate_source(const Operand& operand);
  uint32_t predicate_result(const Operand& operand);
  uint32_t literal(uint64_t value, bool wide);
  uint32_t temporary(bool wide);
  uint32_t temporary_predicate();
  // Puts an address into op.a, op.value (what is to be added) and op.small (kNarrow: the base has 32 bits).
  struct Address {
    uint32_t at;
    int64_t offset;
    bool narrow;
    Space space;  // of a name: where it lies; else kGeneric
  };
  Address address(const Operand& operand);

  // Kernel parameters must be read inside of them; the text says where.
  void require_parameter(int64_t offset, int64_t bytes) const;

  uint32_t more(const std::vector<uint32_t>& list);
  // The operation, guarded as the instruction is.
  Op& emit(Run run, Kind kind);
  // Beside it, not counted.
  Op& emit_hidden(Run run);
  // d = run(operands 1, 2, 3), all of this type but the result.
  Op& simple(Run run, Kind kind, Type result_type, Type source_type);

  [[noreturn]] void refuse(const std::string& why) const;
  void finish();
  Decoder& decoder() { return decoder_; }

 private:
  Decoder& decoder_;
  std::vector<bool> known_;
  std::vector<Type> types_;
  std::vector<Op> after_;
};

using Lower = void (*)(Build& build);
void add_lowering(const char* opcode, Lower lower);
Lower lowering(const std::string& opcode);

// Opcodes that integers and floating point share go by the type.
void add_arithmetic_operations();
void lower_integer(Build& build);
void lower_float(Build& build);
void lower_half(Build& build);
void add_integer_operations();
void add_bit_operations();
void add_approximate_operations();
void add_convert_operations();
void add_compare_operations();
void add_move_operations();
void add_memory_operations();
void add_atomic_operations();
void add_async_operations();
void add_matrix_operations();
void add_warp_operations();
void add_control_operations();

struct ModuleNames {
  struct Place {
    Space space;
    uint64_t address;  // of global and constant
    const Variable* variable;
  };
  const ModuleText* text;
  std::map<std::string, Place> places;
};

// What an operand that is a name stands for: the space and the address in it.
struct Named {
  Space space;
  uint64_t address;
};

// Lowers one kernel. Device functions are lowered where they are called, each time anew, so that a call is no more than
// a jump and registers need no stack; recursion and calls through pointers are refused.
class Decoder {
 public:
  explicit Decoder(const ModuleNames& names) : names_(names), code_(std::make_shared<Code>()) {}
  std::shared_ptr<Code> run(const FunctionText& kernel);

  Code& code() { return *code_; }
  uint32_t cell(bool wide) { return allocate(wide ? 256 : 128); }
  uint32_t predicate_cell();
  uint32_t literal(uint64_t value, bool wide);
  uint32_t special(Special which, bool wide);
  uint32_t slot(int reg) const { return frame_->slots[reg]; }
  Type register_type(int reg) const { return frame_->text->registers[reg]; }
  // False when nothing has this name.
  bool resolve(const Instruction& in, const std::string& name, Named& named);

  // Control: where the last operation made goes.
  void branch_to(const Instruction& in, const std::string& label);
  std::vector<std::string> branch_targets(const Instruction& in, const std::string& list) const;
  // Code::more[at] will hold where the label is.
  void table_entry(const Instruction& in, const std::string& label, uint32_t at);
  void branch_to_end() { frame_->fixes.push_back({false, static_cast<uint32_t>(code_->ops.size() - 1), kNone}); }
  // The carry flag of the function being lowered.
  uint32_t carry();
  bool in_kernel() const { return frame_->caller == nullptr; }
  // False when the module has no body for this function.
  bool call(const Instruction& in, const std::string& function, const std::vector<Operand>& results,
            const std::vector<Operand>& arguments);

 private:
  struct Fix {
    bool in_table;
    uint32_t at;           // op, or index into Code::more
    uint32_t instruction;  // of the label; kNone: the end
  };
  struct Frame {
    const FunctionText* text = nullptr;
    Frame* caller = nullptr;
    std::vector<uint32_t> slots;
    std::map<const Variable*, Named> variables;
    std::map<std::string, Named> formals;
    std::vector<uint32_t> starts;
    std::vector<Fix> fixes;
    uint32_t carry = kNone;
  };
  uint32_t allocate(uint32_t bytes);
  void lower(Frame& frame);
  Named place(const Variable& v);

  const ModuleNames& names_;
  std::shared_ptr<Code> code_;
  Frame* frame_ = nullptr;
  std::map<std::pair<uint64_t, bool>, uint32_t> literals_;
  std::map<std::pair<Special, bool>, uint32_t> specials_;
  std::map<const Variable*, Named> shared_;
  uint32_t predicate_next_ = 0, predicate_left_ = 0;
  int depth_ = 0;
};

// The micro-operations of a kernel. Throws PtxError.
std::shared_ptr<Code> decode(const FunctionText& kernel, const ModuleNames& names);

}  // namespace simulator
