#include "ptx_tokens.h"

#include <cctype>
#include <cstdlib>
#include <cstring>

#include "ptx_text.h"

namespace simulator {

namespace {

bool starts_word(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' || c == '.';
}
bool in_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' || c == '.';
}

struct Cutter {
  const char* at;
  const char* end;
  int line = 1;
  std::vector<Token> tokens;

  char next(size_t n = 0) const { return at + n < end ? at[n] : '\0'; }

  void skip_line() {
    while (at < end && *at != '\n') at++;
  }

  void skip_comment() {
    const int from = line;
    for (at += 2; at < end && !(next() == '*' && next(1) == '/'); at++) line += *at == '\n';
    if (at >= end) throw PtxError{from, "a comment must end before the text does"};
    at += 2;
  }

  // From the word .section to the brace that closes it.
  void skip_section() {
    while (at < end && *at != '}') line += *at++ == '\n';
    if (at < end) at++;
  }

  void word() {
    const char* from = at;
    while (at < end && (in_word(*at) || (*at == ':' && next(1) == ':' && in_word(next(2))))) at += *at == ':' ? 2 : 1;
    std::string text(from, at);
    if (text == ".loc" || text == ".file") return skip_line();
    if (text == ".section") return skip_section();
    push(Token::kWord).text = std::move(text);
  }

  void number() {
    const char kind = next() == '0' ? static_cast<char>(std::tolower(next(1))) : '\0';
    if (kind == 'f' || kind == 'd') {
      const std::string digits(at + 2, kind == 'f' ? 8 : 16);
      at += 2 + digits.size();
      push(kind == 'f' ? Token::kFloat : Token::kDouble).value = std::strtoull(digits.c_str(), nullptr, 16);
      return;
    }
    const char* from = at;
    while (at < end && (in_word(*at) || ((*at == '+' || *at == '-') && kind != 'x' && std::tolower(at[-1]) == 'e')))
      at++;
    std::string text(from, at);
    while (text.size() > 1 && text.back() == 'U') text.pop_back();
    if (kind != 'x' && text.find_first_of(".eE") != std::string::npos) {
      const double value = std::strtod(text.c_str(), nullptr);
      std::memcpy(&push(Token::kDouble).value, &value, 8);
    } else if (kind == 'b') {
      push(Token::kInteger).value = std::strtoull(text.c_str() + 2, nullptr, 2);
    } else {
      push(Token::kInteger).value = std::strtoull(text.c_str(), nullptr, 0);
    }
  }

  void quoted() {
    const char* from = ++at;
    while (at < end && *at != '"' && *at != '\n') at++;
    if (next() != '"') throw PtxError{line, "a string must end on its line"};
    push(Token::kString).text.assign(from, at++);
  }

  Token& push(Token::Form form) {
    tokens.emplace_back();
    tokens.back().form = form;
    tokens.back().line = line;
    return tokens.back();
  }

  void run() {
    while (at < end && *at != '\0') {
      const char c = *at;
      if (c == '\n') line++;
      if (std::isspace(static_cast<unsigned char>(c))) {
        at++;
      } else if (c == '/' && next(1) == '/') {
        skip_line();
      } else if (c == '/' && next(1) == '*') {
        skip_comment();
      } else if (starts_word(c) && !(c == '.' && std::isdigit(static_cast<unsigned char>(next(1))))) {
        word();
      } else if (std::isdigit(static_cast<unsigned char>(c)) || c == '.') {
        number();
      } else if (c == '"') {
        quoted();
      } else if (std::strchr("@!{}[]()<>,;:+-=|*", c) != nullptr) {
        push(Token::kMark).mark = c;
        at++;
      } else {
        throw PtxError{line, std::string("text must be PTX, got the character '") + c + "'"};
      }
    }
    push(Token::kEnd);
  }
};

}  // namespace

std::vector<Token> ptx_tokens(const char* text, size_t size) {
  Cutter cutter{text, text + size, 1, {}};
  cutter.run();
  return std::move(cutter.tokens);
}

}  // namespace simulator
