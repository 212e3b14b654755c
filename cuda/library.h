// Shared libraries that are opened at run time.
#pragma once

#include <string>

namespace fracstride {

// Null when it cannot be opened; `library_problem` then says why.
void* open_library(const char* name);
void* find_symbol(void* library, const char* name);
std::string library_problem();

}  // namespace fracstride
