// PTX text cut into words. Comments, .loc, .file and .section are gone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace simulator {

struct Token {
  enum Form : uint8_t { kWord, kInteger, kFloat, kDouble, kString, kMark, kEnd } form = kEnd;
  char mark = 0;  // kMark: one character
  int line = 0;
  uint64_t value = 0;  // numbers: the bits
  std::string text;
};

// Throws PtxError. The last token is kEnd.
std::vector<Token> ptx_tokens(const char* text, size_t size);

}  // namespace simulator
