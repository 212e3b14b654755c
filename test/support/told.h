// What a check of C++ prints for the test that runs it.
#pragma once

#include <cstdio>
#include <string>

#include "cuda/error.h"

// The code and the sentence of the error that `call` throws.
template <class Call>
std::string refusal(Call call) {
  try {
    call();
    return "nothing";
  } catch (const fracstride::Error& error) {
    return std::string(error.code()) + ' ' + error.what();
  }
}

inline void say(const std::string& text) {
  std::printf("%s\n", text.c_str());
}

inline void say(const char* what, long long value) {
  std::printf("%s %lld\n", what, value);
}
