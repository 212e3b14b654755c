// From words to functions, variables and instructions (ptx_text.h).
#include <algorithm>
#include <cstring>

#include "ptx_text.h"
#include "ptx_tokens.h"

namespace simulator {

namespace {

const struct {
  const char* name;
  Type type;
  unsigned bytes;
} kTypes[] = {
    {"pred", Type::kPred, 0}, {"b8", Type::kB8, 1},         {"b16", Type::kB16, 2},   {"b32", Type::kB32, 4},
    {"b64", Type::kB64, 8},   {"b128", Type::kB128, 16},    {"u8", Type::kU8, 1},     {"u16", Type::kU16, 2},
    {"u32", Type::kU32, 4},   {"u64", Type::kU64, 8},       {"s8", Type::kS8, 1},     {"s16", Type::kS16, 2},
    {"s32", Type::kS32, 4},   {"s64", Type::kS64, 8},       {"f16", Type::kF16, 2},   {"f16x2", Type::kF16x2, 4},
    {"bf16", Type::kBf16, 2}, {"bf16x2", Type::kBf16x2, 4}, {"tf32", Type::kTf32, 4}, {"f32", Type::kF32, 4},
    {"f64", Type::kF64, 8},
};

bool space_named(const std::string& word, Space& space) {
  if (word == ".global")
    space = Space::kGlobal;
  else if (word == ".const")
    space = Space::kConstant;
  else if (word == ".shared")
    space = Space::kShared;
  else if (word == ".local")
    space = Space::kLocal;
  else if (word == ".param")
    space = Space::kParameter;
  else
    return false;
  return true;
}

std::vector<std::string> split(const std::string& opcode) {
  std::vector<std::string> words;
  size_t from = 0;
  while (from <= opcode.size()) {
    const size_t to = std::min(opcode.find('.', from), opcode.size());
    words.push_back(opcode.substr(from, to - from));
    from = to + 1;
  }
  return words;
}

// The name without the number it ends in; -1 for the number when there is none.
std::pair<std::string, int> numbered(const std::string& name) {
  size_t end = name.size();
  while (end > 0 && name[end - 1] >= '0' && name[end - 1] <= '9') end--;
  if (end == name.size() || name.size() - end > 8) return {name, -1};
  return {name.substr(0, end), std::stoi(name.substr(end))};
}

class Parser {
 public:
  Parser(const char* text, size_t size) : tokens_(ptx_tokens(text, size)) {}

  ModuleText run() {
    while (peek().form != Token::kEnd) statement();
    if (module_.version == 0) fail(peek(), "a module must begin with .version");
    return std::move(module_);
  }

 private:
  struct Registers {
    int first;
    int count;  // 0: the name itself, without a number
  };

  const Token& peek(size_t n = 0) const { return tokens_[std::min(at_ + n, tokens_.size() - 1)]; }
  const Token& take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool mark(char c, size_t n = 0) const { return peek(n).form == Token::kMark && peek(n).mark == c; }
  bool accept(char c) { return mark(c) && (take(), true); }
  bool word(const char* text) const { return peek().form == Token::kWord && peek().text == text; }
  bool accept(const char* text) { return word(text) && (take(), true); }
  void expect(char c) {
    if (!accept(c)) fail(peek(), std::string("a '") + c + "' must stand before " + shown(peek()));
  }
  std::string name() {
    if (peek().form != Token::kWord) fail(peek(), "a name must stand where " + shown(peek()) + " does");
    return take().text;
  }
  uint64_t integer() {
    const bool minus = accept('-');
    if (peek().form != Token::kInteger) fail(peek(), "a whole number must stand where " + shown(peek()) + " does");
    return minus ? -take().value : take().value;
  }
  static std::string shown(const Token& token) {
    switch (token.form) {
      case Token::kWord:
        return "'" + token.text + "'";
      case Token::kMark:
        return std::string("'") + token.mark + "'";
      case Token::kEnd:
        return "the end of the text";
      default:
        return "a literal";
    }
  }
  [[noreturn]] static void fail(const Token& token, const std::string& sentence) {
    throw PtxError{token.line, sentence};
  }

  void skip_statement() {
    while (!mark(';') && peek().form != Token::kEnd) take();
    expect(';');
  }

  // ---- the module ----

  void statement() {
    const Token& token = peek();
    if (accept(".version")) {
      const Token& number = take();  // 9.0 reads as a double
      double value = static_cast<double>(number.value);
      if (number.form == Token::kDouble) std::memcpy(&value, &number.value, 8);
      module_.version = static_cast<unsigned>(value * 10 + 0.5);
    } else if (accept(".target")) {
      do {
        const std::string target = name();
        if (target.compare(0, 3, "sm_") != 0) continue;
        module_.target = static_cast<unsigned>(std::atoi(target.c_str() + 3));
        module_.specific = !(target.back() >= '0' && target.back() <= '9');
      } while (accept(','));
    } else if (accept(".address_size")) {
      if (integer() != 64) fail(token, ".address_size must be 64");
    } else if (accept(".pragma") || accept(".alias")) {
      skip_statement();
    } else {
      declaration();
    }
  }

  void declaration() {
    bool external = false;
    for (;;) {
      if (accept(".extern"))
        external = true;
      else if (!accept(".visible") && !accept(".weak") && !accept(".common"))
        break;
    }
    const Token& token = peek();
    Space space;
    if (word(".entry") || word(".func")) {
      function();
    } else if (token.form == Token::kWord && space_named(token.text, space)) {
      take();
      for (Variable& v : variables(space, external)) module_.variables.push_back(std::move(v));
      expect(';');
    } else {
      fail(token, "a statement of a module must be a directive known here, got " + shown(token));
    }
  }

  // After the space: .align 4 .b8 x[16] = {...}, y
  std::vector<Variable> variables(Space space, bool external, bool one = false) {
    std::vector<Variable> list;
    Variable shape;
    shape.space = space;
    shape.scope = scope_;
    bool aligned = false;
    unsigned vector = 1;
    while (peek().form == Token::kWord && peek().text[0] == '.') {
      const Token& token = take();
      if (token.text == ".align") {
        shape.alignment = static_cast<uint32_t>(integer());
        aligned = true;
      } else if (token.text == ".v2" || token.text == ".v4") {
        vector = token.text == ".v2" ? 2 : 4;
      } else if (token.text == ".ptr") {
        Space ignored;
        while (peek().form == Token::kWord && space_named(peek().text, ignored)) take();
        if (accept(".align")) integer();
      } else if (token.text == ".attribute") {
        while (!accept(')')) take();
      } else {
        shape.type = type_named(token.text.substr(1));
        if (bytes_of(shape.type) == 0) fail(token, "a variable must have a type known here, got " + token.text);
      }
    }
    do {
      Variable v = shape;
      v.line = peek().line;
      v.name = name();
      v.bytes = bytes_of(v.type) * vector;
      if (!aligned) v.alignment = static_cast<uint32_t>(v.bytes);
      bool open = false, array = false;
      for (; accept('['); expect(']')) {
        array = true;
        if (mark(']'))
          open = true;
        else
          v.bytes *= integer();
      }
      if (accept('='))
        initialise(v, open);
      else if (open && array)
        v.bytes = 0;
      v.external = external || (open && v.initial.empty());
      list.push_back(std::move(v));
    } while (!one && accept(','));
    return list;
  }

  void initialise(Variable& v, bool open) {
    std::vector<uint8_t> data;
    element(v, data);
    if (open) v.bytes = data.size();
    if (data.size() > v.bytes)
      fail(peek(), "initial values of " + v.name + " must fit into its " + std::to_string(v.bytes) + " bytes");
    data.resize(v.bytes);
    v.initial = std::move(data);
  }

  void element(Variable& v, std::vector<uint8_t>& data) {
    if (accept('{')) {
      while (!accept('}')) {
        element(v, data);
        accept(',');
      }
      return;
    }
    uint64_t bits = 0;
    unsigned bytes = bytes_of(v.type);
    if (peek().form == Token::kWord) {
      std::string symbol = name();
      const bool generic = symbol == "generic" && accept('(');
      if (generic) {
        symbol = name();
        expect(')');
      }
      int64_t offset = 0;
      if (accept('+')) offset = static_cast<int64_t>(integer());
      if (bytes != 8) fail(peek(), "an address in " + v.name + " must be initialised as 64 bits");
      v.addresses.push_back({data.size(), symbol, offset});
    } else {
      const bool minus = accept('-');
      bits = literal(v.type, take(), minus);
    }
    const auto* raw = reinterpret_cast<const uint8_t*>(&bits);
    data.insert(data.end(), raw, raw + bytes);
  }

  // The bits of a literal in a variable of this type.
  static uint64_t literal(Type type, const Token& token, bool minus) {
    double value = 0;
    float single = 0;
    if (token.form == Token::kInteger) {
      if (type != Type::kF32 && type != Type::kF64) return minus ? -token.value : token.value;
      value = static_cast<double>(token.value);
    } else if (token.form == Token::kFloat) {
      const auto bits = static_cast<uint32_t>(token.value);
      std::memcpy(&single, &bits, 4);
      value = single;
    } else if (token.form == Token::kDouble) {
      std::memcpy(&value, &token.value, 8);
    } else {
      fail(token, "an initial value must be a number or an address, got " + shown(token));
    }
    if (minus) value = -value;
    uint64_t bits = 0;
    single = static_cast<float>(value);
    if (type == Type::kF64)
      std::memcpy(&bits, &value, 8);
    else
      std::memcpy(&bits, &single, 4);
    return bits;
  }

  // ---- functions ----

  void function() {
    FunctionText f;
    f.entry = take().text == ".entry";
    f.line = peek().line;
    f.scopes.push_back(-1);
    function_ = &f;
    scope_ = 0;
    names_.assign(1, {});
    if (accept('(')) f.results = parameters();
    f.name = name();
    if (accept('(')) f.parameters = parameters();
    while (peek().form == Token::kWord) attribute(f);
    if (accept('{')) {
      f.body = true;
      body(f);
    } else {
      expect(';');
    }
    function_ = nullptr;
    scope_ = 0;
    FunctionText& known = module_.functions[f.name];
    if (f.body || !known.body) known = std::move(f);
  }

  std::vector<Variable> parameters() {
    std::vector<Variable> list;
    while (!accept(')')) {
      const Token& token = take();
      if (token.text == ".reg") fail(token, "a parameter must be in .param space, got .reg");
      if (token.text != ".param") fail(token, "a parameter must begin with .param, got " + shown(token));
      list.push_back(std::move(variables(Space::kParameter, false, true)[0]));
      accept(',');
    }
    return list;
  }

  void attribute(FunctionText& f) {
    const Token& token = take();
    uint32_t n[3] = {1, 1, 1};
    if (token.text == ".noreturn") return;
    if (token.text == ".pragma") return skip_statement();
    int count = 0;
    do {
      if (peek().form == Token::kInteger && count < 3)
        n[count++] = static_cast<uint32_t>(integer());
      else
        break;
    } while (accept(','));
    if (token.text == ".maxntid" || token.text == ".reqntid") f.max_threads = n[0] * n[1] * n[2];
    if (token.text == ".reqntid") std::copy(n, n + 3, f.required_block);
    if (token.text.find("cluster") != std::string::npos)
      fail(token, "a function must be without clusters, got " + token.text);
  }

  void body(FunctionText& f) {
    for (int depth = 1; depth > 0;) {
      const Token& token = peek();
      if (token.form == Token::kEnd) fail(token, "the body of " + f.name + " must end with '}'");
      Space space;
      if (accept('{')) {
        depth++;
        f.scopes.push_back(scope_);
        scope_ = static_cast<int>(f.scopes.size()) - 1;
        names_.resize(f.scopes.size());
      } else if (accept('}')) {
        depth--;
        if (depth > 0) scope_ = f.scopes[scope_];
      } else if (accept(';')) {
      } else if (accept(".reg")) {
        registers(f);
      } else if (accept(".pragma")) {
        skip_statement();
      } else if (token.form == Token::kWord && space_named(token.text, space)) {
        take();
        for (Variable& v : variables(space, false)) f.variables.push_back(std::move(v));
        expect(';');
      } else if (token.form == Token::kWord && mark(':', 1)) {
        const std::string label = take().text;
        take();
        if (word(".branchtargets")) {
          take();
          auto& list = f.targets[{scope_, label}];
          do list.push_back(name());
          while (accept(','));
          expect(';');
        } else if (word(".callprototype") || word(".calltargets")) {
          skip_statement();
        } else {
          f.labels[{scope_, label}] = static_cast<uint32_t>(f.instructions.size());
        }
      } else {
        instruction(f);
      }
    }
  }

  void registers(FunctionText& f) {
    const Token& token = take();
    const Type type = type_named(token.text.substr(1));
    if (type == Type::kNone || token.text[0] != '.')
      fail(token, "a register must have a type known here, got " + shown(token));
    do {
      const std::string prefix = name();
      Registers r{static_cast<int>(f.registers.size()), 0};
      if (accept('<')) {
        r.count = static_cast<int>(integer());
        expect('>');
      }
      if (r.count < 0 || r.count > 1 << 20) fail(token, "a function must have fewer than 2^20 registers of a name");
      f.registers.insert(f.registers.end(), r.count == 0 ? 1 : r.count, type);
      names_[scope_][prefix] = r;
    } while (accept(','));
    expect(';');
  }

  int register_named(const std::string& name) const {
    const auto [prefix, number] = numbered(name);
    for (int scope = scope_; scope >= 0; scope = function_->scopes[scope]) {
      const auto& names = names_[scope];
      if (const auto exact = names.find(name); exact != names.end() && exact->second.count == 0)
        return exact->second.first;
      if (const auto many = names.find(prefix); number >= 0 && many != names.end() && number < many->second.count)
        return many->second.first + number;
    }
    return -1;
  }

  void instruction(FunctionText& f) {
    Instruction in;
    const size_t from = at_;
    in.line = peek().line;
    in.scope = scope_;
    if (accept('@')) {
      in.guard_negated = accept('!');
      const Token& token = peek();
      in.guard = register_named(name());
      if (in.guard < 0 || f.registers[in.guard] != Type::kPred)
        fail(token, "a guard must be a predicate, got " + shown(token));
    }
    in.words = split(name());
    while (!accept(';')) {
      in.operands.push_back(operand());
      if (!accept(',') && !mark(';') && !mark('|')) {
        if (mark('(') || peek(0).form == Token::kWord) continue;  // call.uni (r), f, (a); some writers leave commas out
        fail(peek(), "an operand must end with ',' or ';', got " + shown(peek()));
      }
    }
    in.text = written(from, at_ - 1);
    f.instructions.push_back(std::move(in));
  }

  Operand operand() {
    Operand o = single();
    if (accept('|')) o.second = std::make_shared<Operand>(single());
    return o;
  }

  Operand single() {
    Operand o;
    const Token& token = peek();
    if (accept('[')) {
      o = single();
      while (mark(',')) fail(token, "an address must be a register or a name with an offset");
      expect(']');
      o.address = true;
    } else if (accept('{') || accept('(')) {
      o.form = token.mark == '{' ? Operand::kVector : Operand::kList;
      const char close = token.mark == '{' ? '}' : ')';
      while (!accept(close)) {
        o.parts.push_back(single());
        accept(',');
      }
    } else if (accept('!')) {
      o = single();
      o.negated = true;
    } else if (accept('-')) {
      o = single();
      if (o.form == Operand::kFloat)
        o.value ^= 0x80000000u;
      else if (o.form == Operand::kDouble)
        o.value ^= 0x8000000000000000u;
      else
        o.value = -o.value;
    } else if (token.form == Token::kWord) {
      take();
      named(o, token.text);
    } else {
      take();
      o.value = token.value;
      if (token.form == Token::kInteger)
        o.form = Operand::kInteger;
      else if (token.form == Token::kFloat)
        o.form = Operand::kFloat;
      else if (token.form == Token::kDouble)
        o.form = Operand::kDouble;
      else
        fail(token, "an operand must be a register, a literal, a name or an address, got " + shown(token));
    }
    if (mark('+') || (mark('-') && (o.form == Operand::kRegister || o.form == Operand::kSymbol))) {
      const bool minus = take().mark == '-';
      const auto offset = static_cast<int64_t>(integer());
      o.offset += minus ? -offset : offset;
    }
    return o;
  }

  void named(Operand& o, const std::string& text) const {
    o.name = text;
    if (text == "_") {
      o.form = Operand::kSink;
    } else if ((o.reg = register_named(text)) >= 0) {
      o.form = Operand::kRegister;
    } else if (text[0] == '%' || text == "WARP_SZ") {
      o.form = Operand::kSpecial;
    } else {
      o.form = Operand::kSymbol;
    }
  }

  // Words stand one space apart, other marks close; a space follows the opcode and each comma.
  std::string written(size_t from, size_t to) const {
    std::string text;
    size_t opcode = from;
    if (mark_at(from, '@')) opcode += mark_at(from + 1, '!') ? 3 : 2;
    for (size_t i = from; i < to; i++) {
      const Token& t = tokens_[i];
      char number[32];
      switch (t.form) {
        case Token::kWord:
          text += t.text;
          break;
        case Token::kMark:
          text += t.mark;
          break;
        case Token::kInteger:
          text += std::to_string(static_cast<int64_t>(t.value));
          break;
        case Token::kFloat:
          snprintf(number, sizeof number, "0f%08X", static_cast<unsigned>(t.value));
          text += number;
          break;
        case Token::kDouble:
          snprintf(number, sizeof number, "0d%016llX", static_cast<unsigned long long>(t.value));
          text += number;
          break;
        default:
          break;
      }
      const bool two_words = t.form == Token::kWord && tokens_[i + 1].form == Token::kWord;
      if (i + 1 < to && (i == opcode || i + 1 == opcode || two_words || mark_at(i, ','))) text += ' ';
    }
    return text;
  }
  bool mark_at(size_t i, char c) const { return tokens_[i].form == Token::kMark && tokens_[i].mark == c; }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  ModuleText module_;
  FunctionText* function_ = nullptr;
  int scope_ = 0;
  std::vector<std::map<std::string, Registers>> names_;  // of each scope
};

}  // namespace

Type type_named(const std::string& name) {
  for (const auto& t : kTypes)
    if (name == t.name) return t.type;
  return Type::kNone;
}

unsigned bytes_of(Type type) {
  for (const auto& t : kTypes)
    if (type == t.type) return t.bytes;
  return 0;
}

int64_t FunctionText::label(int scope, const std::string& name) const {
  for (; scope >= 0; scope = scopes[scope])
    if (const auto found = labels.find({scope, name}); found != labels.end()) return found->second;
  return -1;
}

const Variable* FunctionText::variable(int scope, const std::string& name) const {
  for (; scope >= 0; scope = scopes[scope])
    for (const Variable& v : variables)
      if (v.scope == scope && v.name == name) return &v;
  return nullptr;
}

ModuleText parse_ptx(const char* text, size_t size) {
  return Parser(text, size).run();
}

}  // namespace simulator
