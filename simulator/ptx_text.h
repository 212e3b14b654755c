// PTX text as parsed: functions, variables and instructions whose registers and labels are resolved, before anything
// is known about what an instruction means.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace simulator {

enum class Type : uint8_t {
  kNone,
  kPred,
  kB8,
  kB16,
  kB32,
  kB64,
  kB128,
  kU8,
  kU16,
  kU32,
  kU64,
  kS8,
  kS16,
  kS32,
  kS64,
  kF16,
  kF16x2,
  kBf16,
  kBf16x2,
  kTf32,
  kF32,
  kF64,
};
// kNone when `name` (without its dot) is no type.
Type type_named(const std::string& name);
unsigned bytes_of(Type type);  // 0 for kNone and kPred

// What stops the reading of a text; `line` is counted from 1.
struct PtxError {
  int line;
  std::string sentence;
  bool version = false;  // the text is for a newer .version
};

struct Operand {
  enum Form { kRegister, kSpecial, kInteger, kFloat, kDouble, kSymbol, kVector, kList, kSink } form = kSink;
  bool address = false;             // written in [ ]
  bool negated = false;             // !%p
  int reg = -1;                     // kRegister: index into the function's registers
  uint64_t value = 0;               // literals: the bits
  int64_t offset = 0;               // of an address, or of symbol+offset
  std::string name;                 // kSpecial, kSymbol
  std::vector<Operand> parts;       // kVector {a, b}, kList (a, b)
  std::shared_ptr<Operand> second;  // d|p
};

struct Instruction {
  int line = 0;
  int scope = 0;
  std::string text;                // as written, one space between words
  std::vector<std::string> words;  // the opcode split at its dots: ld, global, v4, f32
  int guard = -1;
  bool guard_negated = false;
  std::vector<Operand> operands;
};

enum class Space : uint8_t { kGeneric, kGlobal, kShared, kLocal, kConstant, kParameter };

struct Variable {
  std::string name;
  Space space = Space::kGlobal;
  Type type = Type::kB8;
  uint32_t alignment = 1;
  uint64_t bytes = 0;
  bool external = false;  // extern .shared x[]: the dynamic shared memory
  int line = 0;
  std::vector<uint8_t> initial;
  struct Address {
    uint64_t at;
    std::string symbol;
    int64_t offset;
  };
  std::vector<Address> addresses;  // initialisers that are addresses of other variables
  int scope = 0;
};

struct FunctionText {
  std::string name;
  int line = 0;
  bool entry = false, body = false;
  std::vector<Variable> parameters, results;
  std::vector<Type> registers;
  std::vector<int> scopes;  // parent of each scope; scope 0 has -1
  std::vector<Variable> variables;
  std::vector<Instruction> instructions;
  std::map<std::pair<int, std::string>, uint32_t> labels;  // (scope, name) -> index of the instruction after it
  std::map<std::pair<int, std::string>, std::vector<std::string>> targets;  // .branchtargets lists
  uint32_t max_threads = 0;
  uint32_t required_block[3] = {0, 0, 0};

  // Where a name written in `scope` leads, or -1 / null.
  int64_t label(int scope, const std::string& name) const;
  const Variable* variable(int scope, const std::string& name) const;
};

struct ModuleText {
  unsigned version = 0, target = 0;
  bool specific = false;
  std::vector<Variable> variables;
  std::map<std::string, FunctionText> functions;
};

// Throws PtxError.
ModuleText parse_ptx(const char* text, size_t size);

}  // namespace simulator
